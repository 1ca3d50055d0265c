"""Deliveries to an integration about a group: what was told last, the reason to tell again, what is to be sent.

The decision is Alertmanager's, with the reason as a word: `DedupStage` in
https://github.com/prometheus/alertmanager/blob/main/notify/notify.go
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from ordinaut_ext_observability.alerts.notifications.alert import NotifiedAlert
from ordinaut_ext_observability.errors import ObservabilityError

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

_FIRST_RETRY_MS: Final = 1_000
_LONGEST_RETRY_MS: Final = 60_000
"""Pauses between tries double from the first to the longest, unless the receiver names one."""
_KEY_DIGITS: Final = 32


class DeliveryError(ObservabilityError):
    """A notification did not arrive; the message says why and holds no secret."""

    def __init__(self, message: str, *, permanent: bool = False, retry_after_seconds: float | None = None) -> None:
        """`permanent`: the same would be refused again. Where the receiver named a time to wait, it is kept to."""
        super().__init__(message)
        self.permanent = permanent
        self.retry_after_seconds = retry_after_seconds


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


@dataclass(slots=True)
class Delivery:
    """One notification that is to be sent, kept until it arrived or is obsolete. Times are milliseconds since 1970."""

    group_key: str
    group_labels: dict[str, str]
    receiver: str
    integration: str
    """Key of the integration that sends it."""
    reason: Reason
    alerts: list[NotifiedAlert]
    created_ms: int
    now_ms: int
    """When its alerts were looked at: they fire or are resolved as of then."""
    attempts: int = 0
    next_try_ms: int = 0
    error: str = ""
    """The reason why the last try failed."""
    facts: dict[str, Any] = field(default_factory=dict)
    """Further facts that explain it, for messages."""

    @property
    def key(self) -> str:
        """Name of the group and the integration: the same for every notification of one incident."""
        return delivery_key(self.group_key, self.integration)

    @property
    def id(self) -> str:
        """Name of this notification: a second try of it has the same, also after a restart."""
        return f"{self.key}-{self.created_ms}"

    @property
    def firing(self) -> list[NotifiedAlert]:
        """The alerts that fire."""
        return [alert for alert in self.alerts if not alert.is_resolved(self.now_ms)]

    @property
    def resolved(self) -> list[NotifiedAlert]:
        """The alerts that are resolved."""
        return [alert for alert in self.alerts if alert.is_resolved(self.now_ms)]

    @property
    def status(self) -> str:
        """`firing`, or `resolved` where every alert is."""
        return "firing" if self.firing else "resolved"

    def note_failure(self, error: DeliveryError, now_ms: int) -> None:
        """Have it tried again later: after the time the receiver named, else ever less often."""
        pause = min(_FIRST_RETRY_MS << min(self.attempts, 16), _LONGEST_RETRY_MS)
        if error.retry_after_seconds is not None:
            pause = round(error.retry_after_seconds * 1000)
        self.attempts += 1
        self.next_try_ms, self.error = now_ms + pause, str(error)


def delivery_key(group_key: str, integration: str) -> str:
    """A short name for a group and an integration: the same on every replica, and after a restart."""
    return hashlib.sha256(f"{group_key}\0{integration}".encode()).hexdigest()[:_KEY_DIGITS]


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
