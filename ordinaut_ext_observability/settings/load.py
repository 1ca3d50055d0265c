"""Settings from the environment, which no other module reads.

A setting that cannot be used has its default; the problem is reported with its value, masked, and what is accepted.
"""

from __future__ import annotations

import ast
import inspect
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import cache
from itertools import pairwise
from typing import Any, NamedTuple, get_type_hints

from pydantic import SecretStr

from ordinaut_ext_observability.scrub.text import mask_value
from ordinaut_ext_observability.settings import parts
from ordinaut_ext_observability.settings.environment import read_given
from ordinaut_ext_observability.settings.parts import PREFIX, Part
from ordinaut_ext_observability.settings.reading import Unusable, read_usable
from ordinaut_ext_observability.settings.sections import ConfigFile
from ordinaut_ext_observability.settings.types import EVERYWHERE

MAX_UNKNOWN_NAMES = 20
"""Unknown variables that are told one by one: each is compared with every known name."""

_MASKED = "<masked>"


class SettingProblem(NamedTuple):
    """One setting that was not used as given."""

    variable: str
    value: str
    """The text given, cut, a password in it masked; `<masked>` for a secret."""
    problem: str
    """Words about what is wrong and what would be accepted."""


@dataclass(frozen=True, slots=True)
class Settings:
    """All settings, by part."""

    general: parts.GeneralSettings = field(default_factory=parts.GeneralSettings)
    http: parts.HttpSettings = field(default_factory=parts.HttpSettings)
    metrics: parts.MetricsSettings = field(default_factory=parts.MetricsSettings)
    logs: parts.LogSettings = field(default_factory=parts.LogSettings)
    health: parts.HealthSettings = field(default_factory=parts.HealthSettings)
    access: parts.AccessSettings = field(default_factory=parts.AccessSettings)
    audit: parts.AuditSettings = field(default_factory=parts.AuditSettings)
    management: parts.ManagementSettings = field(default_factory=parts.ManagementSettings)
    relay: parts.RelaySettings = field(default_factory=parts.RelaySettings)
    collectors: parts.CollectorSettings = field(default_factory=parts.CollectorSettings)
    tracing: parts.TracingSettings = field(default_factory=parts.TracingSettings)
    history: parts.HistorySettings = field(default_factory=parts.HistorySettings)
    alerts: parts.AlertSettings = field(default_factory=parts.AlertSettings)
    notifications: parts.NotificationSettings = field(default_factory=parts.NotificationSettings)
    profiling: parts.ProfilingSettings = field(default_factory=parts.ProfilingSettings)
    file: ConfigFile = field(default_factory=ConfigFile)
    problems: tuple[SettingProblem, ...] = ()


_PARTS: dict[str, type[Part]] = {
    name: kind for name, kind in get_type_hints(Settings).items() if isinstance(kind, type) and issubclass(kind, Part)
}


class Setting(NamedTuple):
    """One setting, as documentation shows it, and where its value stands."""

    variable: str
    default: str
    secret: bool
    part: str
    name: str

    @property
    def description(self) -> str:
        """The docstring of the field, and a hint for a secret."""
        hint = f" Or set `{self.variable}_FILE` to the path of a file that holds it." if self.secret else ""
        return _docstrings()[_PARTS[self.part].__name__, self.name] + hint


@cache
def _docstrings() -> dict[tuple[str, str], str]:
    """The docstrings of fields, by class and field. They stand in the source alone, and reading that takes time."""
    return {
        (kind.name, ast.unparse(field.target)): " ".join(ast.literal_eval(text.value).split())
        for kind in ast.parse(inspect.getsource(parts)).body
        if isinstance(kind, ast.ClassDef)
        for field, text in pairwise(kind.body)
        if isinstance(field, ast.AnnAssign) and isinstance(text, ast.Expr)
    }


def _settings() -> Iterator[Setting]:
    for part, model in _PARTS.items():
        generate: Any = model.model_config["alias_generator"]  # pydantic asks it once it builds the model, at first use
        for name, info in model.model_fields.items():
            variable = str(info.validation_alias or generate(name))
            secret = SecretStr.__name__ in str(info.annotation)  # it stands inside Optional and Annotated
            yield Setting(variable, _text(info.default), secret, part, name)


def _text(value: object) -> str:
    """A default as it would be written in the environment."""
    if value == EVERYWHERE:
        return "everywhere"
    if value is None or value in ("", (), {}):
        return "unset"
    if isinstance(value, bool):
        return str(value).lower()
    return ",".join(map(str, value)) if isinstance(value, tuple) else str(value)


SETTINGS = tuple(_settings())
"""Every setting, in the order of the documentation."""

_CLOSED = {
    f"{PREFIX}SCRAPE_TOKEN": ("scrape_allow", "nobody may scrape"),
    f"{PREFIX}SCRAPE_ALLOW": ("scrape_allow", "nobody may scrape"),
    f"{PREFIX}TRUST_REQUEST_IDS_FROM": ("trust_request_ids_from", "no client's id is accepted"),
}
"""Lists of the same part that an unusable value of these leaves empty: the default would be open to all."""


def load_settings(config: str | None = None) -> Settings:
    """The settings of this process, with every problem found on the way; `config`: of another file. Never raises."""
    problems = list(_unknown_variables())
    loaded: dict[str, Any] = {name: _load_part(name, model, problems) for name, model in _PARTS.items()}
    path = config or loaded["general"].config
    file, wrong = _read_file(path) if path else (ConfigFile.model_construct(), {})
    for place, problem in wrong.items():
        told = f"{place}: {problem}" if place else f"The file {problem}."
        problems.append(SettingProblem(f"{PREFIX}CONFIG", mask_value(path), told))
    deadline = loaded["health"].deadline_seconds
    for entry in (*file.health.http, *file.health.callables):
        if entry.timeout_seconds > deadline:
            told = f"Shorter than timeout_seconds of check {entry.name}, {entry.timeout_seconds:g}: it is cut to that."
            problems.append(SettingProblem(f"{PREFIX}HEALTH_DEADLINE_SECONDS", f"{deadline:g}", told))
    return Settings(**loaded, file=file, problems=tuple(problems))


def _read_file(path: str) -> tuple[ConfigFile, dict[str, str]]:
    from ordinaut_ext_observability.settings.config_file import read_config_file  # takes YAML, and few have a file

    return read_config_file(ConfigFile, path, os.environ)


def _load_part(part: str, model: type[Part], problems: list[SettingProblem]) -> Part:
    """The part; a setting that cannot be used has its default, or what is closed (`_CLOSED`)."""
    settings = {setting.variable: setting for setting in SETTINGS if setting.part == part}
    given = {name: read_given(name, os.environ, is_secret=setting.secret) for name, setting in settings.items()}
    usable = {name: Unusable(value.problem) if value.problem else value.text for name, value in given.items()}
    set_here = {name: value for name, value in usable.items() if value}
    loaded, wrong = read_usable(model, set_here) if set_here else (model.model_construct(), {})
    closed: dict[str, Any] = {}
    for variable, setting in settings.items():
        place = next((place for place in wrong if place[0] == variable), None)  # the first fault is enough
        if place is None:
            continue
        subject = next((f"Entry {step + 1}" for step in place if isinstance(step, int)), "It")
        consequence = f"Default used: {setting.default}."
        if variable in _CLOSED:
            name, meaning = _CLOSED[variable]
            closed[name], consequence = (), f"Until this is mended, {meaning}."
        shown = _MASKED if setting.secret else mask_value(given[variable].text)
        told = f"{subject} {wrong[place]}. Accepted: {setting.description} {consequence}"
        problems.append(SettingProblem(given[variable].variable, shown, told))
    return loaded.model_copy(update=closed)


def read_host_variables(names: Iterable[str]) -> dict[str, str]:
    """Those of the host's own variables that are set, for telling what is wrong with them."""
    return {name: os.environ[name] for name in names if name in os.environ}


def effective_values(settings: Settings) -> dict[str, Any]:
    """Values that took effect, by variable, for showing: secrets as `set` or `unset`, passwords in others masked."""
    return {
        variable: _shown(getattr(getattr(settings, part), name), secret=secret)
        for variable, _, secret, part, name in SETTINGS
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


def _unknown_variables() -> Iterator[SettingProblem]:
    """The variables with our prefix, in any case, that are no settings. Their values may be secrets."""
    known = {setting.variable for setting in SETTINGS}
    known |= {f"{setting.variable}_FILE" for setting in SETTINGS if setting.secret}
    unknown = sorted(name for name in os.environ if name.upper().startswith(PREFIX) and name not in known)
    for variable in unknown[:MAX_UNKNOWN_NAMES]:
        import difflib  # not while the host starts: few have any

        close = difflib.get_close_matches(variable[:64].upper(), known, n=1)  # its time grows with the square
        hint = f"did you mean {close[0]}?" if close else "the documentation lists all settings."
        yield SettingProblem(mask_value(variable), _MASKED, f"No such setting; {hint}")
    if len(unknown) > MAX_UNKNOWN_NAMES:
        number = len(unknown) - MAX_UNKNOWN_NAMES
        yield SettingProblem(f"{PREFIX}*", _MASKED, f"No such settings: {number} further variables with this prefix.")
