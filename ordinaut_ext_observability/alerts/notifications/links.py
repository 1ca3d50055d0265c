"""Links in messages: acknowledge or snooze an alert with a click, without a token, for a day.

    https://ordinaut.example.com/ext/observability/links/ack.19682746f0f6a28c.1700086400000.SIGNATURE

The key of the signature comes from the operator token: every process accepts the links of the others.
"""

from __future__ import annotations

import hashlib
import hmac
from typing import Final

from ordinaut_ext_observability.alerts.notifications.deliveries import Delivery
from ordinaut_ext_observability.alerts.notifications.silences import MAINTENANCE

ACTIONS: Final = {
    "ack": ("Acknowledge", None),
    "snooze-1h": ("Snooze 1 h", 3_600_000),
    "snooze-8h": ("Snooze 8 h", 8 * 3_600_000),
    "snooze-24h": ("Snooze 24 h", 24 * 3_600_000),
}
"""The words on a link and the milliseconds of a snooze, by the action in it."""
_VALID_MS: Final = 86_400_000
"""A message is acted on within a day, or comes again with new links."""


class Links:
    """Makes and reads the links of an installation."""

    def __init__(self, operator_token: str, external_url: str) -> None:
        self._key = hmac.digest(operator_token.encode(), b"ordinaut-observability: links", hashlib.sha256)
        self._url = f"{external_url.rstrip('/')}/links/"

    def of_delivery(self, delivery: Delivery) -> dict[str, str]:
        """The links for a message, by their text; none where several alerts fire, or none does."""
        if len(delivery.firing) != 1 or delivery.firing[0].labels.get("alertname") == MAINTENANCE:
            return {}
        end = f"{delivery.firing[0].fingerprint}.{delivery.now_ms + _VALID_MS}"
        return {words: self._url + self._signed(f"{action}.{end}") for action, (words, _) in ACTIONS.items()}

    def read(self, text: str, now_ms: int) -> tuple[str, str] | None:
        """The action and the alert's fingerprint of this link; None where it is not ours, or has expired."""
        content = text.rpartition(".")[0]
        if not hmac.compare_digest(text.encode(), self._signed(content).encode()):
            return None
        action, fingerprint, expires_ms = content.split(".")
        return (action, fingerprint) if now_ms < int(expires_ms) else None

    def _signed(self, content: str) -> str:
        return f"{content}.{hmac.digest(self._key, content.encode(), hashlib.sha256).hex()}"
