"""The section `rules` of the configuration file: what is different about the built-in alert rules."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from ordinaut_ext_observability.settings.reading import Section

_DURATION = re.compile(r"0|(?=\d)(\d+y)?(\d+w)?(\d+d)?(\d+h)?(\d+m)?(\d+s)?(\d+ms)?")


def _read_duration(value: Any) -> str:
    if isinstance(value, str) and _DURATION.fullmatch(value):
        return value
    raise ValueError("is not a duration as Prometheus writes it, such as 30s, 5m or 1h30m")


class RuleOverride(Section):
    """The changes to one rule."""

    threshold: float | None = None
    """The number that its expression is compared with; None: the rule's own."""
    hold: Annotated[str, BeforeValidator(_read_duration)] | None = Field(default=None, alias="for")
    """Time for which the expression must be true; None: the rule's own."""
    enabled: bool = True
    no_data: Literal["ok", "alert"] = "ok"
    """With `alert`, the rule has an alert of its own where there are no series to look at, with `reason="no_data"`."""
