"""The families that a relay publishes and shows."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ordinaut_ext_observability.metrics.family import AnyFamily
from ordinaut_ext_observability.metrics.registry import Registry


class RelayFamilies:
    """The families of some registries; some of them are shown only, since others publish what they count."""

    def __init__(self, registries: Sequence[Registry], shown_only: Callable[[], Sequence[AnyFamily]] = tuple) -> None:
        self._registries = registries
        self._shown_only = shown_only

    def shown(self) -> list[AnyFamily]:
        """Every family once: those of one name are one."""
        by_name: dict[str, AnyFamily] = {}
        for registry in self._registries:
            for family in registry.families():
                by_name.setdefault(family.name, family)
        return list(by_name.values())

    def published(self) -> list[AnyFamily]:
        """The families of which this process publishes what it counts and measures."""
        left_out = {id(family) for family in self._shown_only()}
        families = (family for registry in self._registries for family in registry.families())
        return [family for family in families if id(family) not in left_out]

    def refresh(self, on_error: Callable[[], None]) -> None:
        """Bring up to date what is read at scrapes: others show it, whether or not this process is scraped."""
        for registry in self._registries:
            try:
                registry.refresh()
            except Exception:  # noqa: BLE001 - the numbers as they are, then
                on_error()
