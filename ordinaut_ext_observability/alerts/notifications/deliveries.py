"""Deliveries: one for each group and integration, kept until it arrived or is obsolete."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import Any, Final

from ordinaut_ext_observability.alerts.notifications.alert import NotifiedAlert
from ordinaut_ext_observability.alerts.notifications.dedup import Reason
from ordinaut_ext_observability.errors import ObservabilityError

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
class Delivery:
    """One notification that is to be sent. Times are milliseconds since 1970."""

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
    under_way: bool = field(default=False, compare=False)
    """True while it is being sent: until that has ended its group is not looked at again for this integration."""
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
