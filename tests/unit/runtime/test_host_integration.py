"""The part of a process that its application has: what a forked child has of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from fastapi import FastAPI


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
