"""The contract of a channel, and what every channel is made from.

The smallest one is `LogChannel`, in `channels/log.py`. A channel is made once for each integration, when it is first
needed, on the event loop on which it sends::

    channel = make_channel(integration, context)
    await channel.send(delivery)       # returns once the receiver has taken it
    await channel.close()
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from importlib import import_module
from typing import Any, Final, NamedTuple

from ordinaut_ext_observability.alerts.notifications.alert import NotifiedAlert
from ordinaut_ext_observability.alerts.notifications.deliveries import Delivery, DeliveryError
from ordinaut_ext_observability.alerts.routing.routes import Integration
from ordinaut_ext_observability.logs import event_types as events

TRY_SECONDS: Final = 10.0
"""Longest try. Receivers answer within a second; one that does not is asked again later."""


class ChannelContext(NamedTuple):
    """Facts about the process that sends, for channels."""

    event: events.LogEvent = lambda *_, **__: None
    external_url: str = ""
    """The URL under which people reach our endpoints; empty: messages have no links."""
    links: Callable[[Delivery], dict[str, str]] | None = None
    """Gives further links for a message, by their text: acknowledge, snooze."""
    explain: Callable[[Sequence[NotifiedAlert]], Awaitable[dict[str, Any]]] | None = None
    """Gives `Delivery.facts`, as in `notifications/explanation.py`; bounded in time, and never raises."""


class Channel:
    """One way to a receiver."""

    def __init__(self, integration: Integration, context: ChannelContext) -> None:
        self._options, self._context = integration.options, context

    async def send(self, delivery: Delivery) -> None:
        """Hand it over. Raises `DeliveryError` where the receiver did not take it."""
        raise NotImplementedError

    async def close(self) -> None:
        """Give back connections, where it keeps some. Safe more than once."""


_MAKERS: Final = {
    "log": "log:LogChannel",
    "webhook": "webhook:WebhookChannel",
    "slack": "slack:SlackChannel",
    "pagerduty": "pagerduty:PagerDutyChannel",
    "email": "email:EmailChannel",
    "function": "function:FunctionChannel",
    "alertmanager": "webhook:AlertmanagerChannel",
    "watchdog": "webhook:WatchdogChannel",
}
"""By the kind of an integration: the module and the class, imported when one is configured."""


def make_channel(integration: Integration, context: ChannelContext) -> Channel:
    """The channel of an integration. Raises `DeliveryError` where it lacks a library, with what to install."""
    module, _, name = _MAKERS[integration.kind].partition(":")
    try:
        kind: type[Channel] = getattr(import_module(f"{__package__}.{module}"), name)
    except ImportError as error:
        needs = f"{integration.kind} needs {error.name}: pip install 'ordinaut-ext-observability[{integration.kind}]'"
        raise DeliveryError(needs, permanent=True) from None
    return kind(integration, context)
