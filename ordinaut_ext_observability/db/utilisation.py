"""How full connection pools are, read when the metrics are rendered."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any, NamedTuple

from ordinaut_ext_observability.metrics.family import Gauge

MAX_POOLS = 64
"""Pools watched at once; what a program has beyond is not read."""


class PoolUse(NamedTuple):
    """The connections of a pool."""

    idle: int
    used: int
    max: int | None
    """None where there is no limit."""


class _Watched(NamedTuple):
    name: str
    pool: weakref.ref[Any]
    read: Callable[[Any], PoolUse | None]


class PoolUtilisation:
    """Sets the gauges from the pools there are; those of one name are added up. Pools are not kept alive."""

    def __init__(self, gauge: Gauge, on_failure: Callable[[], None]) -> None:
        """`gauge` has the labels pool and state."""
        self._gauge = gauge
        self._on_failure = on_failure
        self._pools: dict[int, _Watched] = {}
        self._shown: set[tuple[str, str]] = set()

    def watches(self, pool: object) -> bool:
        """Whether this pool is watched."""
        return id(pool) in self._pools

    def watch(self, name: str, pool: object, read: Callable[[Any], PoolUse | None]) -> None:
        """Read this pool's use from now on; `read` must do no I/O."""
        if len(self._pools) < MAX_POOLS:
            key = id(pool)
            self._pools[key] = _Watched(name, weakref.ref(pool, lambda _: self._pools.pop(key, None)), read)

    def unwatch(self, read: Callable[[Any], PoolUse | None]) -> None:
        """Forget the pools that are read with this."""
        for key, watched in list(self._pools.items()):
            if watched.read == read:
                self._pools.pop(key, None)

    def refresh(self) -> None:
        """Set the gauges; the series of a name whose pools are gone go with them."""
        try:
            counts = self._counts()
            for series, count in counts.items():
                self._gauge.labels(*series).set(count)
            for series in self._shown - counts.keys():
                self._gauge.remove(*series)
            self._shown = set(counts)
        except Exception:  # noqa: BLE001 - a scrape is answered whatever a pool is up to
            self._on_failure()

    def _counts(self) -> dict[tuple[str, str], int]:
        counts: dict[tuple[str, str], int] = {}
        for watched in list(self._pools.values()):
            pool = watched.pool()
            use = watched.read(pool) if pool is not None else None
            if use is None:
                continue
            states = {"size": use.idle + use.used, "idle": use.idle, "used": use.used, "max": use.max}
            for state, count in states.items():
                if count is not None:
                    series = (watched.name, state)
                    counts[series] = counts.get(series, 0) + count
        return counts
