"""What a check returned or raised, as an outcome."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ordinaut_ext_observability.health.model import HealthCheck, HealthStatus, Outcome
from ordinaut_ext_observability.health.threads import UnusualError
from ordinaut_ext_observability.scrub.plain_values import text_of
from ordinaut_ext_observability.scrub.text import mask_details, mask_text


def outcome_of(value: Any) -> Outcome:
    """What a check returned, as an outcome with its texts masked."""
    if isinstance(value, (Outcome, HealthCheck)):
        if isinstance(value.status, HealthStatus):
            details = mask_details(dict(value.details or {}))
            status = value.status if value.known else HealthStatus.DEGRADED
            return Outcome(status, _text(value.message), details, known=bool(value.known))
        return Outcome(HealthStatus.UNHEALTHY, f"the check returned a status that is none: {_text(value.status)}")
    if isinstance(value, HealthStatus):
        return Outcome(value)
    if value is False:
        return Outcome(HealthStatus.UNHEALTHY, "the check returned False")
    if value is None or value is True or isinstance(value, (Mapping, str)):
        message = mask_text(value) if isinstance(value, str) else ""
        return Outcome(HealthStatus.HEALTHY, message, mask_details(value) if isinstance(value, Mapping) else {})
    return Outcome(HealthStatus.DEGRADED, f"the check returned what says neither yes nor no: {_text(value)}")


def _text(value: object) -> str:
    return mask_text(text_of(value))


def error_text(error: BaseException) -> str:
    """The class of what a check raised and its text, masked."""
    if isinstance(error, UnusualError):
        error = error.raised
    try:
        text = str(error)
    except Exception:  # noqa: BLE001 - other people's `__str__`
        text = ""
    return f"{type(error).__name__}: {mask_text(text)}" if text else type(error).__name__
