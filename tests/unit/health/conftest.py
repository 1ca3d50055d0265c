"""Clocks that tests move, and what ends functions that hang."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest
from tests.clock import ManualClock


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def released() -> Iterator[threading.Event]:
    """Set at the end of the test: what hangs waits for it."""
    event = threading.Event()
    yield event
    event.set()
