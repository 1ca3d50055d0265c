"""Short ways to write series and to read them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

from tests.clock import ManualClock

Selected = dict[str, list[tuple[int, float]]]


@dataclass(frozen=True)
class Equal:
    """A matcher of one value."""

    name: str
    equal_to: str

    def matches(self, value: str) -> bool:
        return value == self.equal_to


@pytest.fixture
def equal() -> Callable[[str, str], Equal]:
    return Equal


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def selected() -> Callable[..., Selected]:
    """Reads the samples of a source, by name and labels as an exposition has them."""

    def run(source: Any, *matchers: Equal, start: int = 0, end: int = 2**62) -> Selected:
        found: Selected = {}
        for series in source.select(matchers, start, end):
            if series is not None:
                labels = dict(series.labels)
                name = labels.pop("__name__")
                key = name + "".join(f",{label}={value}" for label, value in labels.items())
                assert key not in found
                found[key] = list(zip(series.timestamps, series.values, strict=True))
        return found

    return run
