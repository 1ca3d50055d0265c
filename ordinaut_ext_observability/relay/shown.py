"""Which sums are shown when: those of an epoch that every reader has read, switched to at the same moment by all."""

from __future__ import annotations

from collections.abc import Callable

from ordinaut_ext_observability.metrics.registry import Registry
from ordinaut_ext_observability.relay.base import EPOCHS_BEHIND
from ordinaut_ext_observability.relay.members import Members
from ordinaut_ext_observability.relay.vector import measuring
from ordinaut_ext_observability.relay.view import NO_EPOCH, View


class ShownSums:
    """Two views: one of the epoch that is shown, one of the epoch after it, ready before its time comes."""

    def __init__(
        self, own: Registry, own_id: Callable[[], str], now_seconds: Callable[[], float], interval_seconds: float
    ) -> None:
        """`now_seconds` is the store's clock, as far as is known."""
        self._own = own
        self._own_id = own_id
        self._now_seconds = now_seconds
        self._interval_seconds = interval_seconds
        self._views: tuple[View, ...] = ()
        self._shown_epoch = NO_EPOCH

    @property
    def filled(self) -> bool:
        """Whether there are sums to show."""
        return bool(self._views)

    def fill(self, members: Members, current_epoch: int) -> None:
        """Make the sums of the epoch to show now, and of the one after it."""
        if not self._views:
            self._views = (self._make_view(members), self._make_view(members))
        if max(view.epoch for view in self._views) > current_epoch:  # the store's clock was set back
            self._shown_epoch = NO_EPOCH
            for view in self._views:
                view.epoch = NO_EPOCH
        for epoch in (current_epoch - EPOCHS_BEHIND, current_epoch - EPOCHS_BEHIND + 1):
            if all(view.epoch != epoch for view in self._views) and epoch > self._shown_epoch:
                target = min(self._views, key=lambda view: view.epoch)
                target.fill(epoch, members.as_of(epoch))

    def registry(self) -> Registry | None:
        """The sums to show now; never of an epoch before one that was shown. None where there are none yet."""
        filled = [view for view in self._views if view.epoch != NO_EPOCH]
        if not filled:
            return None
        epoch = max(int(self._now_seconds() / self._interval_seconds) - EPOCHS_BEHIND, self._shown_epoch)
        past = [view for view in filled if view.epoch <= epoch]
        view = max(past, key=_epoch_of) if past else min(filled, key=_epoch_of)
        self._shown_epoch = max(self._shown_epoch, view.epoch)
        return view.registry

    def _make_view(self, members: Members) -> View:
        view = View(self._own.families())
        view.registry.refresh_with(lambda: self._refresh_gauges(view, members))
        return view

    def _refresh_gauges(self, view: View, members: Members) -> None:
        self._own.refresh()
        view.show_gauges(measuring(self._own.families()), members.gauges(self._now_seconds(), self._own_id()))


def _epoch_of(view: View) -> int:
    return view.epoch
