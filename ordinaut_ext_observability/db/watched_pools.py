"""Use of connection pools, read when the metrics are rendered."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

from ordinaut_ext_observability.metrics.family import Gauge

MAX_POOLS = 64
"""Pools watched at once; what a program has beyond is not read."""


class PoolUse(NamedTuple):
    """The connections of a pool."""

    idle: int
    used: int
    max: int | None
    """None where there is no limit."""


ReadUse = Callable[[Any], PoolUse | None]


class WatchedPools:
    """Sets the gauge from the pools there are; those of one name are added up. Pools are not kept alive."""

    def __init__(self, gauge: Gauge, on_failure: Callable[[], None]) -> None:
        """`gauge` has the labels pool and state."""
        self._gauge = gauge
        self._on_failure = on_failure
        self._pools: WeakKeyDictionary[Any, tuple[str, ReadUse]] = WeakKeyDictionary()

    def __contains__(self, pool: object) -> bool:
        return pool in self._pools

    def watch(self, name: str, pool: object, read: ReadUse) -> None:
        """Read this pool's use from now on; `read` must do no I/O."""
        if len(self._pools) < MAX_POOLS:
            self._pools[pool] = (name, read)

    def unwatch(self, read: ReadUse) -> None:
        """Leave the pools alone that are read with this."""
        for pool, (_, reads) in self._each():
            if reads == read:
                self._pools.pop(pool, None)

    def refresh(self) -> None:
        """Set the gauge; the series of a name whose pools are gone go with them."""
        try:
            counts: Counter[tuple[str, ...]] = Counter()
            for pool, (name, read) in self._each():
                if (use := read(pool)) is not None:
                    states = {"size": use.idle + use.used, "idle": use.idle, "used": use.used, "max": use.max}
                    counts.update({(name, state): count for state, count in states.items() if count is not None})
            self._gauge.replace(counts)
        except Exception:  # noqa: BLE001 - a scrape is answered whatever a pool is up to
            self._on_failure()

    def _each(self) -> list[tuple[Any, tuple[str, ReadUse]]]:
        # Not `items()`, which fails when another thread adds a pool meanwhile.
        pools = [reference() for reference in self._pools.keyrefs()]
        return [(pool, self._pools[pool]) for pool in pools if pool in self._pools]
