"""Series and their samples, as whoever keeps them hands them to whoever asks::

Series((("__name__", "up"), ("job", "api")), array("q", [1_000, 16_000]), array("d", [1.0, 0.0]))
"""

from __future__ import annotations

import struct
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import NamedTuple, Protocol

Labels = tuple[tuple[str, str], ...]
"""Pairs of name and value, sorted by name, without empty values. Equal labels are the same series."""

NAME = "__name__"
"""The label that has a metric's name."""

_STALE_BYTES = bytes.fromhex("020000000000f07f")
STALE: float = struct.unpack("<d", _STALE_BYTES)[0]
"""Prometheus's staleness marker, a NaN that no computation makes: the series ended before the next reading."""


def is_stale(value: float) -> bool:
    """Tell whether a sample is the staleness marker, and not a NaN that was measured."""
    return value != value and struct.pack("<d", value) == _STALE_BYTES  # noqa: PLR0124 - true of a NaN alone


def labels_of(pairs: Mapping[str, str]) -> Labels:
    """The labels that this mapping has, sorted, without empty ones."""
    return tuple(sorted(pair for pair in pairs.items() if pair[1]))


def value_of(labels: Labels, name: str) -> str:
    """The label's value, empty if there is none."""
    for label, value in labels:
        if label == name:
            return value
    return ""


class Series(NamedTuple):
    """A series and some of its samples."""

    labels: Labels
    timestamps: Sequence[int]
    """Milliseconds since 1970, ascending. Series that were read together may share one object."""
    values: Sequence[float]
    """A value for each time; `STALE` where the series ended."""


class Matcher(Protocol):
    """A condition on one label, as of a selector; a label that a series does not have is empty."""

    @property
    def name(self) -> str: ...

    @property
    def equal_to(self) -> str | None:
        """The value, where only one will do: a source can look it up."""

    def matches(self, value: str) -> bool: ...


class SampleSource(Protocol):
    """Samples that can be asked for: the history of this process, or the series of a test.

    ::

        for series in source.select([name_is_up], 0, 60_000):
            if series is not None: ...
    """

    def select(self, matchers: Collection[Matcher], start_ms: int, end_ms: int) -> Iterator[Series | None]:
        """The series that meet all conditions and have a sample from `start_ms` to `end_ms`, both included.

        Yields None now and then while it looks: whoever asks may pause there.
        """
