"""Settings from the environment. This is the only module that reads it.

A setting that cannot be used never stops the host: its default takes effect, and the problem is reported with all
others, by name, with its value (secrets masked) and what would be accepted.
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar, get_type_hints

from pydantic import SecretStr, ValidationError
from pydantic.fields import FieldInfo

from ordinaut_ext_observability.scrub.text import mask_value
from ordinaut_ext_observability.settings.environment import Given, read_secret, read_variable
from ordinaut_ext_observability.settings.file import ConfigFile, read_config_file
from ordinaut_ext_observability.settings.messages import plain_message
from ordinaut_ext_observability.settings.parts import (
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
from ordinaut_ext_observability.settings.types import EVERYWHERE

MAX_UNKNOWN_NAMES = 20
"""Unknown variables that are told one by one: each is compared with every known name."""

_MAX_NAME_LENGTH = 64
_MASKED = "<masked>"


@dataclass(frozen=True, slots=True)
class SettingProblem:
    """One setting that was not used as given."""

    variable: str
    value: str
    """The text given, cut, a password in it masked; `<masked>` for a secret."""
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

_PARTS: dict[str, type[Part]] = {
    name: kind for name, kind in get_type_hints(Settings).items() if isinstance(kind, type) and issubclass(kind, Part)
}


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
    problems = list(_unknown_variables(os.environ))
    parts: dict[str, Any] = {name: _load(part, os.environ, problems) for name, part in _PARTS.items()}
    path = parts["general"].config
    file = read_config_file(path, os.environ) if path else ConfigFile()
    problems += [
        SettingProblem(
            f"{PREFIX}CONFIG", mask_value(path or ""), f"{place}: {problem}" if place else f"The file {problem}."
        )
        for place, problem in file.problems
    ]
    problems += _cut_timeouts(file, parts["health"])
    return Settings(**parts, file=file, problems=tuple(problems))


def _cut_timeouts(file: ConfigFile, health: HealthSettings) -> Iterator[SettingProblem]:
    deadline = health.deadline_seconds
    for entry in (*file.http_checks, *file.callable_checks):
        if entry.timeout_seconds > deadline:
            yield SettingProblem(
                f"{PREFIX}HEALTH_DEADLINE_SECONDS",
                f"{deadline:g}",
                f"Shorter than timeout_seconds of check {entry.name}, {entry.timeout_seconds:g}: it is cut to that.",
            )


def read_host_variables(names: Iterable[str]) -> dict[str, str]:
    """Those of the host's own variables that are set, for telling what is wrong with them."""
    return {name: os.environ[name] for name in names if name in os.environ}


def with_operator_token(settings: Settings, token: str) -> Settings:
    """The same settings with this operator token."""
    access = settings.access.model_copy(update={"operator_token": SecretStr(token)})
    return replace(settings, access=access)


def describe_settings() -> list[SettingDescription]:
    """Every setting, in the order of the documentation."""
    return [
        SettingDescription(
            variable=(variable := _variable(name, info)),
            default=_text(info.default),
            description=f"{info.description}{_file_hint(variable, info)}",
            secret=_is_secret(info),
        )
        for part in _PARTS.values()
        for name, info in part.model_fields.items()
    ]


def effective_values(settings: Settings) -> dict[str, Any]:
    """Values that took effect, by variable, for showing: secrets as `set` or `unset`, passwords in others masked."""
    return {
        _variable(name, info): _shown(getattr(getattr(settings, part_name), name), secret=_is_secret(info))
        for part_name, part in _PARTS.items()
        for name, info in part.model_fields.items()
    }


def _shown(value: Any, *, secret: bool) -> Any:
    if secret:
        return "unset" if value is None else "set"
    if isinstance(value, str):
        return mask_value(value)
    if isinstance(value, dict):
        return {mask_value(name): item for name, item in value.items()}
    if isinstance(value, tuple):
        text = ",".join(map(str, value))
        if "@" in text or "://" in text:  # as one text: a comma in a password makes two entries of it
            return [mask_value(text)]
        return [item if isinstance(item, float) else mask_value(str(item)) for item in value]
    return value


def _load(part: type[PartT], environment: Mapping[str, str], problems: list[SettingProblem]) -> PartT:
    """The part; a setting that cannot be used has its default, or what is closed (`_CLOSED`)."""
    given = {
        name: (read_secret if _is_secret(info) else read_variable)(_variable(name, info), environment)
        for name, info in part.model_fields.items()
    }
    faults = {name: f"It {value.problem}" for name, value in given.items() if value.problem}
    usable = {name: value.text for name, value in given.items() if value.text and name not in faults}
    faults |= {name: fault for name, text in usable.items() if (fault := _fault(part, name, text))}
    closed: dict[str, Any] = {}
    for name, fault in faults.items():
        closed |= _CLOSED.get(name, ({}, ""))[0]
        problems.append(_problem(given[name], name, part.model_fields[name], fault))
    loaded = part.model_validate({name: text for name, text in usable.items() if name not in faults})
    return loaded.model_copy(update=closed)


def _fault(part: type[Part], name: str, text: str) -> str:
    """Why the text cannot be used, as the beginning of a sentence; empty where it can."""
    try:
        part.model_validate({name: text})
    except ValidationError as error:
        details = error.errors(include_url=False, include_input=False)[0]
        entries = [step for step in details["loc"] if isinstance(step, int)]
        return f"{f'Entry {entries[0] + 1}' if entries else 'It'} {plain_message(details)}"
    except Exception:  # noqa: BLE001 - a fault in a validator must not stop the host
        return "It cannot be used"
    return ""


def _problem(given: Given, name: str, info: FieldInfo, fault: str) -> SettingProblem:
    consequence = _CLOSED[name][1] if name in _CLOSED else f"Default used: {_text(info.default)}."
    return SettingProblem(
        variable=given.variable,
        value=_MASKED if _is_secret(info) else mask_value(given.text),
        problem=f"{fault}. Accepted: {info.description} {consequence}",
    )


def _unknown_variables(environment: Mapping[str, str]) -> Iterator[SettingProblem]:
    """The variables with our prefix, in any case, that are no settings.

    No value is shown: it may be a secret under a wrong name.
    """
    settings = describe_settings()
    known = {setting.variable for setting in settings}
    known |= {f"{setting.variable}_FILE" for setting in settings if setting.secret}
    unknown = sorted(name for name in environment if name.upper().startswith(PREFIX) and name not in known)
    for variable in unknown[:MAX_UNKNOWN_NAMES]:
        close = difflib.get_close_matches(variable.upper(), known, n=1) if len(variable) <= _MAX_NAME_LENGTH else []
        hint = f"did you mean {close[0]}?" if close else "the documentation lists all settings."
        yield SettingProblem(mask_value(variable), _MASKED, f"No such setting; {hint}")
    if len(unknown) > MAX_UNKNOWN_NAMES:
        number = len(unknown) - MAX_UNKNOWN_NAMES
        yield SettingProblem(f"{PREFIX}*", _MASKED, f"No such settings: {number} further variables with this prefix.")


def _variable(name: str, info: FieldInfo) -> str:
    return info.validation_alias if isinstance(info.validation_alias, str) else f"{PREFIX}{name.upper()}"


def _is_secret(info: FieldInfo) -> bool:
    return SecretStr.__name__ in str(info.annotation)  # it stands inside Optional and Annotated


def _file_hint(variable: str, info: FieldInfo) -> str:
    return f" Or set `{variable}_FILE` to the path of a file that holds it." if _is_secret(info) else ""


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
