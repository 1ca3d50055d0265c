"""Getting around the host's application: outermost, without `add_middleware`, started and stopped with it.

When our lifespan begins, the built middleware stack is wrapped: before that, OpenTelemetry's instrumentation of the
application may rebuild it, and insists on finding Starlette's own outermost layer. An application that has started
already (the extension is loaded lazily) is wrapped at once. Where the server sends no lifespan, the stack is wrapped as
it is built, in a shape OpenTelemetry accepts.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from fastapi import FastAPI
from starlette.middleware.errors import ServerErrorMiddleware
from starlette.types import ASGIApp, Receive, Scope, Send


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
