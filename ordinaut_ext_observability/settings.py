"""Settings from the environment. This is the only module that reads it.

A setting that cannot be used never stops the host: its default takes effect, and the problem is reported with all
others, by name, with its value (secrets masked) and what would be accepted.
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any, Literal, TypeVar, get_args

from pydantic import Field, SecretStr, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from ordinaut_ext_observability.config_file import ConfigFile, read_config_file
from ordinaut_ext_observability.setting_types import (
    EVERYWHERE,
    Bounds,
    CheckNames,
    Limits,
    LogLevel,
    NetworkList,
    TextList,
)

PREFIX = "ORDINAUT_OBS_"


class _Part(BaseSettings):
    """One part of the settings, read from the environment alone."""

    model_config = SettingsConfigDict(frozen=True, extra="ignore", env_prefix=PREFIX, env_ignore_empty=True)

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Values given in code first, then the environment; a `.env` file is the host's business."""
        del settings_cls, dotenv_settings, file_secret_settings
        return init_settings, env_settings


class GeneralSettings(_Part):
    """Whether there is an extension at all, and where the process runs."""

    disabled: bool = Field(default=False, description="Switch everything off: no route, no middleware, no thread.")
    environment: str = Field(
        default="development",
        validation_alias="ENVIRONMENT",
        description="The host's variable; shown as a label of `ordinaut_observability_build_info`.",
    )
    version: str = Field(default="", validation_alias="VERSION", description="The host's variable; shown likewise.")
    config: str | None = Field(
        default=None,
        description="Path of the configuration file (YAML): checks of services, see docs/configuration.md.",
    )


class HttpSettings(_Part):
    """Measuring the host's requests."""

    http_metrics: bool = Field(default=True, description="Count and time the host's requests.")
    http_buckets: Bounds = Field(
        default=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 5.0, 10.0),
        min_length=1,
        max_length=50,
        description="Upper bounds of the duration histograms, in seconds, ascending.",
    )
    include_own_endpoints: bool = Field(
        default=False, description="Measure requests to the extension's own endpoints too."
    )
    exclude_endpoints: TextList = Field(
        default=(),
        description="Route templates not to measure, as shell patterns: `/docs,/internal/*`.",
    )
    trust_request_ids_from: NetworkList = Field(
        default=EVERYWHERE,
        description="Client addresses (CIDR) whose `X-Request-ID` and `X-Correlation-ID` are accepted; "
        "others get a new id and theirs is logged as `parent_request_id`.",
    )


class MetricsSettings(_Part):
    """Bounds on memory, and where `/metrics` is served."""

    label_budget: int = Field(
        default=100,
        ge=1,
        le=100_000,
        description="Distinct values a label may take per metric; later ones are counted as `__other__`.",
    )
    label_budgets: Limits = Field(default={}, description='The same for single labels, as JSON: `{"endpoint": 300}`.')
    series_limit: int = Field(
        default=10_000,
        ge=10,
        le=10_000_000,
        description="Label sets a metric may have; later ones count as `__other__`.",
    )
    root_metrics: bool = Field(
        default=True, description="Serve `/metrics` at the root as well, unless the host has that path."
    )


class LogSettings(_Part):
    """Log lines: how much, where to, and whose."""

    log_level: LogLevel = Field(
        default="INFO",
        validation_alias="LOG_LEVEL",
        description="The host's variable: DEBUG, INFO, WARNING, ERROR or CRITICAL; the least level written.",
    )
    configure_logging: bool = Field(
        default=False,
        description="At start, write what the host, uvicorn and structlog log as JSON lines too; uvicorn's access "
        "lines end where ours are on.",
    )
    access_log: bool = Field(default=True, description="Write one JSON line per request.")
    access_log_sample_ratio: float = Field(
        default=1.0,
        ge=0.0,
        le=1.0,
        description="Share of requests that are logged; failed and slow ones always are.",
    )
    access_log_quiet_endpoints: TextList = Field(
        default=("/health", "/health/*", "/healthz", "/livez", "/readyz", "/metrics"),
        description="Route templates logged only when a request failed or was slow, as shell patterns.",
    )
    slow_request_seconds: float = Field(
        default=1.0, gt=0.0, description="From this duration on a request is logged as a warning."
    )
    log_destination: Literal["stderr", "stdout"] = Field(
        default="stderr", description="Where the lines go: `stderr` or `stdout`."
    )


class HealthSettings(_Part):
    """Checks in the background."""

    health_interval_seconds: float = Field(
        default=15.0, ge=0.05, le=3600.0, description="How often the checks run, give or take a tenth."
    )
    health_deadline_seconds: float = Field(
        default=10.0,
        ge=0.05,
        le=600.0,
        description="How long all checks of a round may take; one without a timeout of its own has 5 seconds.",
    )
    health_disabled_checks: CheckNames = Field(
        default=(),
        description="Built-in checks to leave out: `cpu,memory,disk,file_descriptors,network,task_success,event_loop`.",
    )
    health_disk_paths: TextList = Field(
        default=("/",), min_length=1, max_length=20, description="Paths whose file systems the check `disk` looks at."
    )


class AccessSettings(_Part):
    """Who may see what."""

    operator_token: SecretStr | None = Field(
        default=None,
        min_length=16,
        description="Bearer token (or Basic password) for the operator endpoints, 16 characters or more; "
        "they are off while it is unset.",
    )
    scrape_token: SecretStr | None = Field(
        default=None,
        min_length=16,
        description="Bearer token (or Basic password) for the scrape endpoints; while unset they are open.",
    )
    scrape_allow: NetworkList = Field(
        default=EVERYWHERE,
        description="Client addresses (CIDR) that may scrape; with a token set, both are asked for.",
    )


class ManagementSettings(_Part):
    """The port, thread and event loop of our own for scrapers and probes."""

    management_port: int | None = Field(
        default=None, ge=0, le=65535, description="Serve metrics and probes on this port too; 0 takes a free one."
    )
    management_host: str = Field(
        default="127.0.0.1", min_length=1, description="Address the management port listens on."
    )
    exporter_port: int | None = Field(
        default=None,
        ge=1,
        le=65535,
        description="In a process without HTTP (worker, scheduler), serve metrics and probes on this port, or the next "
        "free one of ten.",
    )
    exporter_host: str = Field(default="127.0.0.1", min_length=1, description="Address the exporter listens on.")
    loop_blocked_seconds: float = Field(
        default=5.0,
        gt=0.0,
        le=3600.0,
        description="When the host's event loop has been blocked longer, `/health/live` on the management port is 503.",
    )


class RelaySettings(_Part):
    """One `/metrics` for all processes."""

    relay: bool = Field(
        default=True, description="Merge the metrics of all processes, where there is a store to do it through."
    )
    redis_url: SecretStr | None = Field(
        default=None,
        validation_alias="REDIS_URL",
        description="The host's variable: processes hand each other their metrics through this Redis; `memory://` and "
        "`disabled://` mean none.",
    )
    relay_dir: str | None = Field(
        default=None,
        description="Directory through which the processes of one machine hand each other their metrics, where "
        "`REDIS_URL` does not answer at start.",
    )
    relay_interval_seconds: float = Field(
        default=2.0,
        ge=0.1,
        le=60.0,
        description="How often a process publishes what it counted; the same in all processes. Merged counts are shown "
        "two to three intervals late, and a process that is killed loses what it counted in the last one.",
    )


@dataclass(frozen=True, slots=True)
class SettingProblem:
    """One setting that was not used as given."""

    variable: str
    value: str
    """As given; `<masked>` for a secret."""
    problem: str
    """What is wrong and what would be accepted."""


@dataclass(frozen=True, slots=True)
class Settings:
    """All settings, by part."""

    general: GeneralSettings = field(default_factory=GeneralSettings)
    http: HttpSettings = field(default_factory=HttpSettings)
    metrics: MetricsSettings = field(default_factory=MetricsSettings)
    logs: LogSettings = field(default_factory=LogSettings)
    health: HealthSettings = field(default_factory=HealthSettings)
    access: AccessSettings = field(default_factory=AccessSettings)
    management: ManagementSettings = field(default_factory=ManagementSettings)
    relay: RelaySettings = field(default_factory=RelaySettings)
    file: ConfigFile = field(default_factory=ConfigFile)
    problems: tuple[SettingProblem, ...] = ()


PartT = TypeVar("PartT", bound=_Part)

_PARTS: tuple[type[_Part], ...] = (
    GeneralSettings,
    HttpSettings,
    MetricsSettings,
    LogSettings,
    HealthSettings,
    AccessSettings,
    ManagementSettings,
    RelaySettings,
)


# What an unusable value of these falls back to is not the open default but the closed one.
_CLOSED: dict[str, tuple[dict[str, Any], str]] = {
    "scrape_token": ({"scrape_allow": ()}, "Until this is mended, nobody may scrape."),
    "scrape_allow": ({"scrape_allow": ()}, "Until this is mended, nobody may scrape."),
    "trust_request_ids_from": ({"trust_request_ids_from": ()}, "Until this is mended, no client's id is accepted."),
}


@dataclass(frozen=True, slots=True)
class SettingDescription:
    """One setting, as documentation shows it."""

    variable: str
    default: str
    description: str
    secret: bool


def load_settings() -> Settings:
    """The settings of this process, with every problem found on the way. Never raises."""
    problems = list(_unknown_variables())
    general = _load(GeneralSettings, problems)
    file = read_config_file(general.config, os.environ) if general.config else ConfigFile()
    problems += [
        SettingProblem(f"{PREFIX}CONFIG", printable(str(general.config)), f"{place}: {problem}" if place else problem)
        for place, problem in file.problems
    ]
    health = _load(HealthSettings, problems)
    problems += _cut_timeouts(file, health)
    return Settings(
        general=general,
        http=_load(HttpSettings, problems),
        metrics=_load(MetricsSettings, problems),
        logs=_load(LogSettings, problems),
        health=health,
        access=_load(AccessSettings, problems),
        management=_load(ManagementSettings, problems),
        relay=_load(RelaySettings, problems),
        file=file,
        problems=tuple(problems),
    )


def _cut_timeouts(file: ConfigFile, health: HealthSettings) -> Iterator[SettingProblem]:
    deadline = health.health_deadline_seconds
    for entry in (*file.http_checks, *file.callable_checks):
        if entry.timeout_seconds > deadline:
            yield SettingProblem(
                f"{PREFIX}HEALTH_DEADLINE_SECONDS",
                f"{deadline:g}",
                f"Shorter than timeout_seconds of check {entry.name}, {entry.timeout_seconds:g}: it is cut to that.",
            )


def default_settings() -> Settings:
    """The settings of an empty environment."""
    return Settings(
        general=GeneralSettings.model_construct(),
        http=HttpSettings.model_construct(),
        metrics=MetricsSettings.model_construct(),
        logs=LogSettings.model_construct(),
        health=HealthSettings.model_construct(),
        access=AccessSettings.model_construct(),
        management=ManagementSettings.model_construct(),
        relay=RelaySettings.model_construct(),
    )


def read_host_variables(names: Iterable[str]) -> dict[str, str]:
    """Those of the host's own variables that are set, for telling what is wrong with them."""
    return {name: printable(os.environ[name]) for name in names if name in os.environ}


def with_operator_token(settings: Settings, token: str) -> Settings:
    """The same settings with this operator token."""
    access = settings.access.model_copy(update={"operator_token": SecretStr(token)})
    return replace(settings, access=access)


def describe_settings() -> list[SettingDescription]:
    """Every setting, in the order of the documentation."""
    return [
        SettingDescription(
            variable=_variable(name, info),
            default=_text(info.default),
            description=info.description or "",
            secret=_is_secret(info),
        )
        for part in _PARTS
        for name, info in part.model_fields.items()
    ]


def effective_values(settings: Settings) -> dict[str, Any]:
    """What took effect, by variable, for showing: secrets only as `set` or `unset`."""
    values: dict[str, Any] = {}
    for part in (
        settings.general,
        settings.http,
        settings.metrics,
        settings.logs,
        settings.health,
        settings.access,
        settings.management,
        settings.relay,
    ):
        for name, info in type(part).model_fields.items():
            value = getattr(part, name)
            if _is_secret(info):
                values[_variable(name, info)] = "unset" if value is None else "set"
            elif isinstance(value, tuple):
                values[_variable(name, info)] = [
                    item if isinstance(item, float) else printable(str(item)) for item in value
                ]
            else:
                values[_variable(name, info)] = printable(value) if isinstance(value, str) else value
    return values


def _load(part: type[PartT], problems: list[SettingProblem]) -> PartT:
    """The part with the defaults of the fields that cannot be used."""
    try:
        return part()
    except ValidationError as error:
        unusable: dict[str, Any] = {}
        reported: set[str] = set()
        for details in error.errors(include_url=False, include_context=False):
            name = str(details["loc"][0])
            info = part.model_fields.get(name) or _by_alias(part, name)
            if name not in reported:
                reported.add(name)
                problems.append(_problem(name, info, details))
            unusable.setdefault(name, info.default)
            unusable.update(_CLOSED.get(name, ({}, ""))[0])
        return part(**unusable)


def printable(text: str) -> str:
    """The text as Unicode: an environment holds bytes, and Python shows what is not UTF-8 as lone surrogates."""
    return text.encode("utf-8", "backslashreplace").decode()


def _by_alias(part: type[_Part], alias: str) -> FieldInfo:
    return next(info for info in part.model_fields.values() if info.validation_alias == alias)


def _problem(name: str, info: FieldInfo, details: ErrorDetails) -> SettingProblem:
    variable = _variable(name, info)
    given = os.environ.get(variable, "")
    message = details["msg"].removeprefix("Value error, ")
    consequence = _CLOSED[name][1] if name in _CLOSED else f"Default used: {_text(info.default)}."
    return SettingProblem(
        variable=variable,
        value="<masked>" if _is_secret(info) else printable(given[:200]),
        problem=f"{message}. Accepted: {info.description} {consequence}",
    )


def _unknown_variables() -> Iterator[SettingProblem]:
    known = {setting.variable for setting in describe_settings()}
    for variable in sorted(os.environ):
        if variable.startswith(PREFIX) and variable not in known:
            close = difflib.get_close_matches(variable, known, n=1)
            hint = f"did you mean {close[0]}?" if close else "the README lists all settings."
            # The value is not shown: a secret may stand behind a misspelt name.
            yield SettingProblem(variable=printable(variable), value="<masked>", problem=f"No such setting; {hint}")


def _variable(name: str, info: FieldInfo) -> str:
    return info.validation_alias if isinstance(info.validation_alias, str) else f"{PREFIX}{name.upper()}"


def _is_secret(info: FieldInfo) -> bool:
    return SecretStr in get_args(info.annotation) or info.annotation is SecretStr


def _text(value: object) -> str:
    """A default as it would be written in the environment."""
    if value == EVERYWHERE:
        return "everywhere"
    if value is None or value in ("", (), {}):
        return "unset"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple):
        return ",".join(map(str, value))
    return str(value)
