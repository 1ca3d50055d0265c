"""Getting around the host's application: outermost, without `add_middleware`, started and stopped with it.

When our lifespan begins, the built middleware stack is wrapped: before that, OpenTelemetry's instrumentation of the
application may rebuild it, and insists on finding Starlette's own outermost layer. An application that has started
already (the extension is loaded lazily) is wrapped at once. Where the server sends no lifespan, the stack is wrapped as
it is built, in a shape OpenTelemetry accepts.

At the host's root, `/metrics` is ours where the host has nothing there. Its router is asked first, at each request.
What it would answer with 404 for want of a route is answered by us, everything else by the host: a route, a mount, a
`Host` or a catch-all that takes the path keeps it, whenever it was added and also where it answers 404 itself; so does
a handler of 404 that answers something else.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from fastapi import FastAPI, routing
from starlette._exception_handler import wrap_app_handling_exceptions
from starlette.middleware.errors import ServerErrorMiddleware
from starlette.requests import Request
from starlette.routing import BaseRoute, Match, Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ordinaut_ext_observability.web.route_templates import LEFT_BY_ROUTERS


class _OutermostLayer(ServerErrorMiddleware):
    """Our layer as Starlette's outermost: OpenTelemetry takes that apart by its attributes and builds it anew."""

    def __init__(self, inner: ASGIApp, mounting: Mounting) -> None:
        rest = getattr(inner, "app", inner)
        rest_measured = mounting.wrap(rest)

        async def measure_if_needed(scope: Scope, receive: Receive, send: Send) -> None:
            """Stands for the rest once OpenTelemetry has taken us apart: it measures unless we are outermost again."""
            await (rest_measured if mounting.layer is None else rest)(scope, receive, send)

        super().__init__(measure_if_needed, getattr(inner, "handler", None), bool(getattr(inner, "debug", False)))
        self.inner = inner
        self._ours = mounting.wrap(inner)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._ours(scope, receive, send)


@dataclass(eq=False)
class Mounting:
    """One application with our layer around its middleware stack. Nothing is changed before `attach`."""

    app: FastAPI
    wrap: Callable[[ASGIApp], ASGIApp]
    late: bool = field(default=False, init=False)
    """True: the application had started before `attach`, and its lifespan passed without us."""
    layer: ASGIApp | None = field(default=None, init=False)

    def attach(self) -> None:
        """Take our place, or make sure of it. Called once."""
        self.late = self.app.middleware_stack is not None
        if self.late:
            self.wrap_built_stack()
            return
        build = self.app.build_middleware_stack
        self.app.build_middleware_stack = lambda: _OutermostLayer(build(), self)  # type: ignore[method-assign]

    def wrap_built_stack(self) -> None:
        """Be outermost again, whatever was put around the stack since it was built."""
        stack = self.app.middleware_stack
        if stack is not None and stack is not self.layer:
            # Where the stack was wrapped as it was built, OpenTelemetry may have taken our layer off again.
            inner = stack.inner if isinstance(stack, _OutermostLayer) else stack
            self.layer = self.app.middleware_stack = self.wrap(inner)


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
        paths = (self._route.path, f"{self._route.path}/")[: 1 + router.redirect_slashes]
        # Newer FastAPI asks some last: frontends, whose files lie anywhere below a path.
        last: Iterable[BaseRoute] = getattr(router, "_iter_low_priority_routes", tuple)()
        base = {name: scope[name] for name in scope.keys() - LEFT_BY_ROUTERS}
        scopes = [{**base, "method": "GET", "path": f"{scope.get('root_path', '')}{path}"} for path in paths]
        return not any(
            route.matches(asked)[0] is not Match.NONE
            for route in (*router.routes, *last)
            # Most are of these kinds: with 500 routes, asking all that cannot match would take 2 ms.
            if type(route) not in (Route, routing.APIRoute) or any(map(route.path_regex.match, paths))  # type: ignore[attr-defined]
            for asked in scopes
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
