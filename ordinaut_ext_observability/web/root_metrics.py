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

from ordinaut_ext_observability.web.route_templates import LEFT_BY_ROUTERS


class RootMetrics:
    """Stands before the `default` of an application's router, which is asked where no route matched."""

    def __init__(self, app: FastAPI, route: Route) -> None:
        """The route is served from now on, until the host gives its router another `default`."""
        self.answered: bool | None = None
        """True where we answered the latest request for the path; None before the first."""
        self._router = app.router
        self._route = route
        self._default = app.router.default
        app.router.default = self._answer

    def is_open(self, scope: Scope) -> bool:
        """Tell if a GET of the path, asked as the request of this scope was, would come to us."""
        router = self._router
        if router.default != self._answer or self.answered is False:
            return False
        path = f"{scope.get('root_path', '')}{self._route.path}"
        paths = (path, f"{path}/") if router.redirect_slashes else (path,)
        # Newer FastAPI asks some last: frontends, whose files lie anywhere below a path.
        last: Iterable[BaseRoute] = getattr(router, "_iter_low_priority_routes", tuple)()
        base = {name: scope[name] for name in scope.keys() - LEFT_BY_ROUTERS}
        scopes = [{**base, "method": "GET", "path": path} for path in paths]
        return not any(
            route.matches(asked)[0] is not Match.NONE for route in (*router.routes, *last) for asked in scopes
        )

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        match, child_scope = self._route.matches(scope)
        if match is not Match.FULL:
            await self._default(scope, receive, send)
            return
        is_404 = False

        async def send_unless_404(message: Message) -> None:
            nonlocal is_404
            if message["type"] == "http.response.start":
                self.answered = is_404 = message["status"] == 404
            if not is_404:
                await send(message)

        # With the host's handlers of exceptions, called as its middleware around the router would.
        answer_of_host = wrap_app_handling_exceptions(self._default, Request(scope, receive, send))
        await answer_of_host(scope, receive, send_unless_404)
        if is_404:
            scope.update(child_scope)
            await self._route.handle(scope, receive, send)
