"""The section `health` of the configuration file: checks of services and of functions."""

from __future__ import annotations

from typing import Annotated, Literal, get_args

from pydantic import AnyHttpUrl, Field, ValidationInfo, model_validator

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
