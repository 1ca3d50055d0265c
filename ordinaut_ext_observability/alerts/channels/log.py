"""Lines in the log: one for each notification."""

from __future__ import annotations

from ordinaut_ext_observability.alerts.channels.base import ChannelContext
from ordinaut_ext_observability.alerts.notifications.deliveries import Delivery
from ordinaut_ext_observability.alerts.routing.routes import Integration
from ordinaut_ext_observability.logs import event_types as events


class LogChannel:
    """Writes a line with who would be told, of what, and why."""

    def __init__(self, integration: Integration, context: ChannelContext) -> None:
        self._event = context.event
        self._integration = integration

    async def send(self, delivery: Delivery) -> None:
        self._event(
            events.NOTIFICATION[delivery.status],
            receiver=delivery.receiver,
            reason=delivery.reason,
            group=delivery.group_key,
            firing=len(delivery.firing),
            resolved=len(delivery.resolved),
        )

    async def close(self) -> None:
        """There is nothing to give back."""
