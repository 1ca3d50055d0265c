"""Which sums are shown when: those of an epoch that every reader has read, switched to at the same moment by all."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ordinaut_ext_observability.metrics.family import AnyFamily
from ordinaut_ext_observability.metrics.registry import Registry
from ordinaut_ext_observability.relay.base import EPOCHS_BEHIND
from ordinaut_ext_observability.relay.members import NO_EPOCH, Members
from ordinaut_ext_observability.relay.series_names import SeriesNames
from ordinaut_ext_observability.relay.vector import measuring
from ordinaut_ext_observability.relay.view import View


class ShownSums:
    """Two views: one of the epoch that is shown, one of the epoch after it, ready before its time comes."""

    def __init__(
        self,
        registries: Sequence[Registry],
        own_id: Callable[[], str],
        now_seconds: Callable[[], float],
        interval_seconds: float,
    ) -> None:
        """Shown are the families of `registries`; `now_seconds` is the store's clock, as far as is known."""
        self._registries = registries
        self._own_id = own_id
        self._now_seconds = now_seconds
        self._interval_seconds = interval_seconds
        self._views: tuple[View, ...] = ()
        self._names = SeriesNames()
        self._shown_epoch = NO_EPOCH

    @property
    def filled(self) -> bool:
        """Whether there are sums to show."""
        return bool(self._views)

    def fill(self, members: Members, current_epoch: int, *, alone: bool) -> None:
        """Make the sums of the epoch to show now, and of the next one; of several processes, not before they agree."""
        families = list(self._by_name().values())
        if not self._views or self._views[0].family_count != len(families):
            self._views = (self._make_view(families, members), self._make_view(families, members))
        if max(view.epoch for view in self._views) > current_epoch:  # the store's clock was set back
            self._shown_epoch = NO_EPOCH
            for view in self._views:
                view.epoch = NO_EPOCH
        for epoch in (current_epoch - EPOCHS_BEHIND, current_epoch - EPOCHS_BEHIND + 1):
            if epoch < members.agreed_from_epoch and not alone:
                continue
            if all(view.epoch != epoch for view in self._views) and epoch > self._shown_epoch:
                target = min(self._views, key=lambda view: view.epoch)
                target.fill(epoch, members.as_of(epoch))

    def registry(self, *, alone: bool) -> Registry | None:
        """What to show now; None where nothing was read yet.

        A process that shows the sums alone shows the newest, never of an epoch before one that was shown. Of several,
        each shows the epoch that is due or, where it could not read it, no counts at all: so they never go
        back, whoever is asked.
        """
        filled = [view for view in self._views if view.epoch != NO_EPOCH]
        if not filled:
            return None
        due = int(self._now_seconds() / self._interval_seconds) - EPOCHS_BEHIND
        epoch = max(due, self._shown_epoch)
        past = [view for view in filled if view.epoch <= epoch]
        view = max(past, key=_epoch_of) if past else min(filled, key=_epoch_of)
        if view.epoch != epoch and not alone:
            return view.gauges_registry
        self._shown_epoch = max(self._shown_epoch, view.epoch)
        return view.registry

    def name_of(self, family_name: str, series: tuple[str, ...]) -> tuple[str, ...]:
        """The label values under which a series is shown; its own where the family is not known here."""
        family = self._by_name().get(family_name)
        return self._names.of(family, series) if family is not None else series

    def _by_name(self) -> dict[str, AnyFamily]:
        """Every family once: those of one name are one."""
        by_name: dict[str, AnyFamily] = {}
        for registry in self._registries:
            for family in registry.families():
                by_name.setdefault(family.name, family)
        return by_name

    def _make_view(self, families: list[AnyFamily], members: Members) -> View:
        view = View(families, self._names)
        for registry in (view.registry, view.gauges_registry):
            registry.refresh_with(lambda: self._refresh_gauges(view, members))
        return view

    def _refresh_gauges(self, view: View, members: Members) -> None:
        own = []
        for registry in self._registries:
            registry.refresh()
            own += measuring(registry.families())
        view.show_gauges(own, members.gauges(self._now_seconds(), self._own_id()))


def _epoch_of(view: View) -> int:
    return view.epoch
