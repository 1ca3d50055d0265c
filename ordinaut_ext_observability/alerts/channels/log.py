"""Lines in the log: one for each notification."""

from __future__ import annotations

from ordinaut_ext_observability.alerts.channels.base import Channel
from ordinaut_ext_observability.alerts.notifications.deliveries import Delivery
from ordinaut_ext_observability.logs import event_types as events


class LogChannel(Channel):
    """Writes a line with who would be told, of what, and why."""

    async def send(self, delivery: Delivery) -> None:
        self._context.event(
            events.NOTIFICATION[delivery.status],
            receiver=delivery.receiver,
            reason=delivery.reason,
            group=delivery.group_key,
            firing=len(delivery.firing),
            resolved=len(delivery.resolved),
        )
