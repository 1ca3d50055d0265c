"""The part of a process that its application has: its routes, and what a forked child has of it."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from operator import attrgetter
from typing import Any

import pytest
from fastapi import FastAPI

from ordinaut_ext_observability.extension import ObservabilityExtension


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork.*:DeprecationWarning")
def test_streams_and_connections_of_the_parent_are_not_open_in_a_forked_child(
    set_up: Callable[..., Any], in_forked_child: Callable[[Callable[[], bytes]], bytes]
) -> None:
    face, _ = set_up(FastAPI())
    metrics = face._runtime.metrics
    for gauge in (metrics.streams_open, metrics.websockets_open):
        gauge.labels("/events").inc(2)
        with gauge._lock, gauge._creation_lock:  # as another thread of the parent may hold them
            assert in_forked_child(lambda gauge=gauge: str(gauge.labels("/events").value).encode()) == b"0.0"
        assert gauge.labels("/events").value == 2.0


@pytest.mark.filterwarnings("ignore")  # FastAPI silences pydantic's for a moment, which is no thread's own
@pytest.mark.usefixtures("eager_switching")
def test_routes_of_ours_are_made_by_several_threads_at_once_from_what_was_set_before() -> None:
    router = ObservabilityExtension().setup(app=FastAPI(), mount_path="/ext/observability")
    assert router is not None
    for number, route in enumerate(router.routes):
        route.operation_id = f"number-{number}"  # type: ignore[attr-defined]
    with ThreadPoolExecutor(4) as threads:
        made = [list(each) for each in zip(*threads.map(_ids_of, [router.routes] * 4), strict=True)]
    assert made == [[f"number-{number}"] * 4 for number in range(len(router.routes))]
    assert not hasattr(router.routes[0], "unknown")


def _ids_of(routes: list[Any]) -> list[str]:
    return [attrgetter("dependant", "unique_id")(route)[1] for route in routes]
