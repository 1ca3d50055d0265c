"""The sections of the configuration file, each with its model: checks, changes to built-in alert rules, and others."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal, get_args

from pydantic import AnyHttpUrl, BeforeValidator, Field, ValidationInfo, model_validator

from ordinaut_ext_observability.settings.reading import Section

BuiltInCheck = Literal[
    "event_loop", "cpu", "memory", "disk", "file_descriptors", "network", "task_success", "settings", "scrubbing"
]
"""Names that checks in the file cannot have."""

_MAX_CHECKS = 100
"""Checks of a kind: each is a task or a thread for as long as it runs."""

Seconds = Annotated[float, Field(gt=0.0, le=3600.0)]
HeaderName = Annotated[str, Field(pattern=r"^[A-Za-z0-9!#$%&'*+.^_`|~-]+$")]
HeaderValue = Annotated[str, Field(pattern=r"^[\x20-\x7e]*$")]
"""Not so by chance: a token read from a file often ends in a line break."""
Runs = Annotated[int, Field(ge=1, le=100)]


class CheckEntry(Section):
    """The fields of every check in the file."""

    name: str = Field(min_length=1, max_length=100, pattern=r"^[A-Za-z0-9._ -]+$")
    required: bool = True
    timeout_seconds: Seconds = 3.0
    failures_to_worsen: Runs = 2
    passes_to_recover: Runs = 1

    @model_validator(mode="after")
    def _take_name(self, info: ValidationInfo) -> CheckEntry:
        taken = (info.context or {}).get("names", set())
        if self.name in taken or self.name in get_args(BuiltInCheck):
            raise ValueError(f"there is a check {self.name} already")
        taken.add(self.name)
        return self


class HttpCheckEntry(CheckEntry):
    """A service that answers HTTP. Not required unless it is said: an outage elsewhere is no reason to go, too."""

    required: bool = False
    url: AnyHttpUrl
    method: Literal["GET", "HEAD", "OPTIONS", "POST"] = "GET"
    headers: dict[HeaderName, HeaderValue] = Field(default={}, max_length=50)
    expected_statuses: list[Annotated[int, Field(ge=100, le=599)]] = Field(default=[], max_length=100)
    """Empty: 200 to 399."""
    slow_seconds: Seconds | None = None
    """From this duration on the service is degraded."""
    verify_tls: bool = True


class CallableCheckEntry(CheckEntry):
    """A function of the user's own."""

    target: str = Field(alias="import", pattern=r"^[A-Za-z_][\w.]*:[A-Za-z_][\w.]*$")
    """`package.module:function`."""


class HealthSection(Section):
    """Checks beside the built-in ones."""

    http: list[HttpCheckEntry] = Field(default=[], max_length=_MAX_CHECKS)
    callables: list[CallableCheckEntry] = Field(default=[], max_length=_MAX_CHECKS)


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


class ScrubSection(Section):
    """Exceptions from scrubbing."""

    allow: list[Annotated[str, Field(min_length=1, max_length=200)]] = Field(default=[], max_length=100)
    """Paths of fields that are left as they are, names joined by dots: `user.contact`."""


class ConfigFile(Section):
    """The sections of the configuration file, each with its model."""

    health: HealthSection = HealthSection.model_construct()
    rules: dict[str, RuleOverride] = Field(default={}, max_length=500)
    """Changes to built-in alert rules, by the alert's name."""
    rule_files: list[Annotated[str, Field(min_length=1, max_length=4096)]] = Field(default=[], max_length=100)
    """Paths of further rule files."""
    scrub: ScrubSection = ScrubSection.model_construct()
    alertmanager: dict[str, Any] = Field(default={}, max_length=20)
    """Routes, receivers, inhibition, time intervals, as in `alertmanager.yml`; read by `alerts/routing/config.py`."""
    escalations: list[Any] = Field(default=[], max_length=100)
    """Who is told next of what still fires; read by `alerts/routing/escalations.py`."""
