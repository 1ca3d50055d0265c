"""Settings from the environment. This is the only module that reads it.

A setting that cannot be used never stops the host: its default takes effect, and the problem is reported with all
others, by name, with its value (secrets masked) and what would be accepted.
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar, get_args

from pydantic import SecretStr, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from ordinaut_ext_observability.config_file import ConfigFile, read_config_file
from ordinaut_ext_observability.setting_parts import (
    PREFIX,
    AccessSettings,
    CollectorSettings,
    GeneralSettings,
    HealthSettings,
    HttpSettings,
    LogSettings,
    ManagementSettings,
    MetricsSettings,
    Part,
    RelaySettings,
)
from ordinaut_ext_observability.setting_types import EVERYWHERE


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
    collectors: CollectorSettings = field(default_factory=CollectorSettings)
    file: ConfigFile = field(default_factory=ConfigFile)
    problems: tuple[SettingProblem, ...] = ()


PartT = TypeVar("PartT", bound=Part)

_PARTS: tuple[type[Part], ...] = (
    GeneralSettings,
    HttpSettings,
    MetricsSettings,
    LogSettings,
    HealthSettings,
    AccessSettings,
    ManagementSettings,
    RelaySettings,
    CollectorSettings,
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
        collectors=_load(CollectorSettings, problems),
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
        collectors=CollectorSettings.model_construct(),
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
        settings.collectors,
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


def _by_alias(part: type[Part], alias: str) -> FieldInfo:
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
