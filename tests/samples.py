"""Samples in memory that the query API can be asked about."""

from __future__ import annotations

from array import array
from collections.abc import Collection, Iterator

from ordinaut_ext_observability.history.series import Matcher, Series, labels_of

FIRST = 1_435_781_400
"""Time of the first samples, in seconds since 1970: 2015-07-01T20:10:00Z."""


class Samples:
    """Three series, a sample every 15 s for ten minutes."""

    def __init__(self) -> None:
        self.kept_since_ms: int | None = FIRST * 1000
        times = array("q", range(FIRST * 1000, (FIRST + 600) * 1000, 15_000))
        self.series = [
            Series(labels_of(labels), times, array("d", map(value, range(len(times)))))
            for labels, value in (
                ({"__name__": "up", "job": "api", "host.name": "a"}, lambda number: 1.0),
                ({"__name__": "up", "job": "worker"}, lambda number: float(number % 2)),
                ({"__name__": "orders_total", "job": "api"}, lambda number: number * 1.5),
            )
        ]
        self.pauses: float = 0
        """Times that a selection pauses before it finds anything."""
        self.began = 0
        self.ended = 0

    def since_ms(self, names: Collection[str]) -> int | None:  # noqa: ARG002 - all are as old
        return self.kept_since_ms

    def select(self, matchers: Collection[Matcher], start_ms: int, end_ms: int) -> Iterator[Series | None]:
        self.began += 1
        try:
            number = 0
            while number < self.pauses:
                yield None
                number += 1
            for series in self.series:
                labels = dict(series.labels)
                if all(each.matches(labels.get(each.name, "")) for each in matchers):
                    kept = [at for at in series.timestamps if start_ms <= at <= end_ms]
                    first = series.timestamps.index(kept[0]) if kept else 0
                    if kept:
                        yield Series(series.labels, kept, series.values[first : first + len(kept)])
        finally:
            self.ended += 1
