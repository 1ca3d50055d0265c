"""`/metrics` at the host's root, where the host has nothing there.

The host's router is asked first, at each request. What it would answer with 404 for want of a route is answered by us,
everything else by the host: a route, a mount, a `Host` or a catch-all that takes the path keeps it, whenever it was
added and also where it answers 404 itself; so does a handler of 404 that answers something else.
"""

from __future__ import annotations

from collections.abc import Iterable

from fastapi import FastAPI
from starlette._exception_handler import wrap_app_handling_exceptions
from starlette.requests import Request
from starlette.routing import BaseRoute, Match, Route
from starlette.types import Message, Receive, Scope, Send


class RootMetrics:
    """Stands before the `default` of an application's router, which is asked where no route matched."""

    def __init__(self, app: FastAPI, route: Route) -> None:
        """The route is served from now on, until the host gives its router another `default`."""
        self.answered: bool | None = None
        """Whether the latest request for the path was answered by us; None before the first."""
        self._router = app.router
        self._route = route
        self._default = app.router.default
        app.router.default = self._answer

    def is_open(self) -> bool:
        """Whether the host leaves the path to us, as far as can be told without a request."""
        router = self._router
        if router.default != self._answer or self.answered is False:
            return False
        # Newer FastAPI asks these after all others: frontends, whose files lie anywhere below a path.
        last: Iterable[BaseRoute] = getattr(router, "_iter_low_priority_routes", tuple)()
        paths = (self._route.path, f"{self._route.path}/") if router.redirect_slashes else (self._route.path,)
        return not any(_takes(route, path) for route in (*router.routes, *last) for path in paths)

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        match, child_scope = self._route.matches(scope)
        if match is not Match.FULL:
            await self._default(scope, receive, send)
            return
        is_404 = False

        async def send_unless_404(message: Message) -> None:
            nonlocal is_404
            if message["type"] == "http.response.start":
                is_404 = message["status"] == 404
            if not is_404:
                await send(message)

        # With the host's handlers of exceptions, called as its middleware around the router would.
        answer_of_host = wrap_app_handling_exceptions(self._default, Request(scope, receive, send))
        await answer_of_host(scope, receive, send_unless_404)
        self.answered = is_404
        if is_404:
            scope.update(child_scope)
            await self._route.handle(scope, receive, send)


def _takes(route: BaseRoute, path: str) -> bool:
    """Whether the route takes such a request; one of the host's own kind may want more than we can make up."""
    scope = {"type": "http", "method": "GET", "path": path, "root_path": "", "headers": []}
    try:
        return route.matches(scope)[0] is not Match.NONE
    except Exception:  # noqa: BLE001 - a real request will tell; until then it does not
        return False
