"""The decision to tell a group, from what was told before: Alertmanager's, with the reason as a word.

https://github.com/prometheus/alertmanager/blob/main/notify/notify.go, `DedupStage`.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Literal

from ordinaut_ext_observability.alerts.notifications.alert import NotifiedAlert

Reason = Literal[
    "first",
    "new_firing",
    "resolved",
    "some_resolved",
    "repeat",
    "silence_ended",
    "escalated",
    "acknowledged",
    "changed",
]


@dataclass(slots=True)
class Told:
    """The last notification of a group through one integration that arrived."""

    at_ms: int
    firing: dict[str, NotifiedAlert] = field(default_factory=dict)
    """The alerts that fired, by fingerprint: each gets its resolve, also where its rule is gone."""
    resolved: list[str] = field(default_factory=list)
    repeats: int = 0
    """Times that it was told again because of its repeat interval."""
    since_ms: int = 0
    """The first notification of what fires, or that after a mute ended: escalation counts from here."""
    acknowledged: bool = False
    """True where it said that somebody acknowledged the alerts."""


def reason_to_tell(
    told: Told | None,
    firing: Collection[str],
    resolved: Collection[str],
    *,
    send_resolved: bool,
    repeat_after_ms: int,
    now_ms: int,
    unmuted: Collection[str] = (),
    first: Reason = "first",
) -> Reason | None:
    """The reason why a group is told now; None: there is none.

    `unmuted` are alerts that were muted at the last look and are not any more; `first` is the reason to begin with.
    """
    if told is None or not (told.firing or (told.resolved and first == "first")):
        return first if firing else None
    if not set(firing) <= told.firing.keys():
        return "new_firing"
    if not firing:
        return "resolved" if told.firing else None
    if send_resolved and not set(resolved) <= set(told.resolved):
        return "some_resolved"
    if not set(firing).isdisjoint(unmuted):
        return "silence_ended"
    return "repeat" if told.at_ms < now_ms - repeat_after_ms else None


def repeat_after_ms(told: Told | None, intervals_ms: tuple[int, ...]) -> int:
    """The time after which what still fires is told again: that of the next repeat, where there are several."""
    return intervals_ms[min(told.repeats if told else 0, len(intervals_ms) - 1)]
