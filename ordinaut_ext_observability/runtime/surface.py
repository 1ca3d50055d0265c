"""What endpoints answer from, put together from a runtime's parts."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from starlette.types import Scope

from ordinaut_ext_observability.metrics.registry import Registry
from ordinaut_ext_observability.runtime.process import Runtime
from ordinaut_ext_observability.web.access import AccessControl
from ordinaut_ext_observability.web.router import Surface
from ordinaut_ext_observability.web.scrape import ScrapeService


def make_surface(
    runtime: Runtime,
    access: AccessControl,
    shown: Callable[[], Awaitable[Registry]],
    overview: Callable[[Scope], dict[str, Any]] = lambda _: {},
) -> Surface:
    """A surface for one router: its scrapes, of the registry that `shown` gives, belong to the loop that serves it."""
    return Surface(
        lifecycle=runtime.lifecycle,
        scrapes=ScrapeService(runtime.metrics, runtime.foreign, runtime.executor, shown),
        access=access,
        monitor=runtime.health_monitor,
        config=runtime.config,
        overview=overview,
        on_error=lambda: runtime.metrics.count_internal_error("endpoint"),
    )
