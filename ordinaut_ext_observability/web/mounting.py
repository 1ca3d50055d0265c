"""Getting around the host's application: outermost, without `add_middleware`, started and stopped with it.

Three ways lead there, since each alone fails somewhere:
- when our lifespan begins, the built middleware stack is wrapped (before that, OpenTelemetry's instrumentation of the
  application may still want to rebuild it, and insists on finding Starlette's own outermost layer);
- when the application has already started (a lazily loaded extension), it is wrapped at once;
- where the server sends no lifespan, the stack is wrapped as it is built, in a shape OpenTelemetry accepts.
"""

from __future__ import annotations

from collections.abc import Callable

from fastapi import FastAPI
from starlette.middleware.errors import ServerErrorMiddleware
from starlette.types import ASGIApp, Receive, Scope, Send

Wrap = Callable[[ASGIApp], ASGIApp]


class _OutermostLayer(ServerErrorMiddleware):
    """Our layer as Starlette's outermost: OpenTelemetry takes that apart by its attributes and builds it anew."""

    def __init__(self, inner: ASGIApp, wrap: Wrap, is_needed: Callable[[], bool]) -> None:
        """`is_needed` is true while the application has no other layer of ours."""
        next_app = getattr(inner, "app", inner)
        super().__init__(
            _WhenNeeded(wrap(next_app), next_app, is_needed),
            getattr(inner, "handler", None),
            bool(getattr(inner, "debug", False)),
        )
        self.inner = inner
        self._ours = wrap(inner)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._ours(scope, receive, send)


class _WhenNeeded:
    """The rest of our layer once OpenTelemetry has taken it apart: it measures unless we are outermost again."""

    def __init__(self, ours: ASGIApp, inner: ASGIApp, is_needed: Callable[[], bool]) -> None:
        self.app = inner
        self._ours = ours
        self._is_needed = is_needed

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await (self._ours if self._is_needed() else self.app)(scope, receive, send)


class Mounting:
    """One application with our layer around its middleware stack."""

    def __init__(self, app: FastAPI, wrap: Wrap) -> None:
        """Nothing is changed yet."""
        self._app = app
        self._wrap = wrap
        self._layer: ASGIApp | None = None
        self.late = False
        """True: the application had started before `attach`, and its lifespan passed without us."""

    def attach(self) -> None:
        """Take our place, or make sure of it. Called once."""
        self.late = self._app.middleware_stack is not None
        if self.late:
            self.wrap_built_stack()
            return
        build = self._app.build_middleware_stack

        def build_wrapped() -> ASGIApp:
            return _OutermostLayer(build(), self._wrap, lambda: self._layer is None)

        self._app.build_middleware_stack = build_wrapped  # type: ignore[method-assign]

    def wrap_built_stack(self) -> None:
        """Be outermost again, whatever was put around the stack since it was built."""
        stack = self._app.middleware_stack
        if stack is not None and stack is not self._layer:
            # Where the stack was wrapped as it was built, OpenTelemetry may have taken our layer off again.
            inner = stack.inner if isinstance(stack, _OutermostLayer) else stack
            self._layer = self._wrap(inner)
            self._app.middleware_stack = self._layer
