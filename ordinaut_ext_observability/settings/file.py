"""The configuration file: what does not fit an environment variable.

    health:
      http:
        - name: mcp-github
          url: https://mcp.example.com/health
          headers: {Authorization: "Bearer ${MCP_TOKEN}"}
          required: false
      callables:
        - name: license
          import: my_package.checks:license_is_valid

`${NAME}` stands for an environment variable. An entry that cannot be used is left out; the others take effect.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal, NamedTuple, TypeVar

import yaml
from pydantic import AnyHttpUrl, BaseModel, ConfigDict, Field, ValidationError

from ordinaut_ext_observability.settings.messages import plain_message
from ordinaut_ext_observability.settings.regular_file import read_regular_file

BUILT_IN_CHECKS = ("event_loop", "cpu", "memory", "disk", "file_descriptors", "network", "task_success", "settings")
"""Names that checks in the file cannot have."""

MAX_FILE_BYTES = 64 * 1024
MAX_VALUES = 10_000
"""Values in the file, with those that aliases repeat: 200 checks have a third of them. They are read in a second."""
MAX_PROBLEMS = 50
_MAX_ENTRIES = 100
_MAX_FILLED_IN = 64 * 1024
"""Characters that variables may put into one entry."""
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_-]{0,30}")
_VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")

Seconds = Annotated[float, Field(gt=0.0, le=3600.0)]
HeaderName = Annotated[str, Field(pattern=r"^[A-Za-z0-9!#$%&'*+.^_`|~-]+$")]
HeaderValue = Annotated[str, Field(pattern=r"^[\x20-\x7e]*$")]
"""Not so by chance: a token read from a file often ends in a line break."""
Runs = Annotated[int, Field(ge=1, le=100)]


class FileProblem(NamedTuple):
    """Something in the file that was not used."""

    place: str
    """As `health.http.0.url`, counted from 0; empty for the file as a whole."""
    problem: str


class _Entry(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class CheckEntry(_Entry):
    """What every check in the file has."""

    name: str = Field(min_length=1, max_length=100, pattern=r"^[A-Za-z0-9._ -]+$")
    required: bool = True
    timeout_seconds: Seconds = 3.0
    failures_to_worsen: Runs = 2
    passes_to_recover: Runs = 1


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


class ConfigFile(NamedTuple):
    """What the file says and what of it could not be used."""

    http_checks: tuple[HttpCheckEntry, ...] = ()
    callable_checks: tuple[CallableCheckEntry, ...] = ()
    problems: tuple[FileProblem, ...] = ()


def read_config_file(path: str, environment: Mapping[str, str]) -> ConfigFile:
    """The configuration in this file. Never raises: what cannot be used is among the problems."""
    try:
        content = read_regular_file(path, MAX_FILE_BYTES)
    except ValueError as error:
        return ConfigFile(problems=(FileProblem("", str(error)),))
    try:
        data = _parse(content)
    except _TooManyValuesError:
        return ConfigFile(problems=(FileProblem("", f"has more than {MAX_VALUES} values"),))
    except Exception as error:  # noqa: BLE001 - wrong values of YAML's own types make the library raise anything
        return ConfigFile(problems=(FileProblem("", f"is not YAML{_position(error)}"),))
    problems: list[FileProblem] = []
    health = _section(_section({"": data}, "", problems, ("health",)), "health", problems, ("http", "callables"))
    taken = set(BUILT_IN_CHECKS)
    http_checks = tuple(_entries(HttpCheckEntry, health, "http", problems, environment, taken))
    callable_checks = tuple(_entries(CallableCheckEntry, health, "callables", problems, environment, taken))
    if len(problems) > MAX_PROBLEMS:
        problems[MAX_PROBLEMS:] = [FileProblem("", f"has {len(problems) - MAX_PROBLEMS} further problems")]
    return ConfigFile(http_checks, callable_checks, tuple(problems))


def _shown(key: object) -> str:
    """A part of a place. A key that is no name is not shown: a secret may stand in the wrong place."""
    text = str(key)
    return text if isinstance(key, int) or _NAME.fullmatch(text) else "<key>"


class _TooManyValuesError(Exception):
    """Written out, the file has more than `MAX_VALUES`."""


class _Loader(yaml.SafeLoader):
    """Counts what it reads: aliases and merged mappings make a small file a vast one."""

    values_left = MAX_VALUES

    def spend(self, values: int) -> None:
        self.values_left -= values
        if self.values_left < 0:
            raise _TooManyValuesError

    def compose_node(self, parent: Any, index: Any) -> Any:
        self.spend(1)
        return super().compose_node(parent, index)

    def flatten_mapping(self, node: yaml.MappingNode) -> None:
        super().flatten_mapping(node)
        self.spend(len(node.value))


def _parse(content: bytes) -> Any:
    loader = _Loader(content)
    data = loader.get_single_data()
    loader.values_left = MAX_VALUES
    _count(data, loader)
    return data


def _count(value: Any, loader: _Loader) -> None:
    loader.spend(1)
    for item in value.values() if isinstance(value, Mapping) else value if isinstance(value, list) else ():
        _count(item, loader)


def _position(error: Exception) -> str:
    mark = getattr(error, "problem_mark", None)
    # The text of the error quotes the file, which may hold secrets.
    return f": line {mark.line + 1}, column {mark.column + 1}" if mark is not None else ""


def _section(
    parent: Mapping[Any, Any], name: str, problems: list[FileProblem], known: tuple[str, ...]
) -> Mapping[Any, Any]:
    """The mapping of that name, empty where there is none."""
    section = parent.get(name)
    if section is None:
        return {}
    if not isinstance(section, Mapping):
        problems.append(FileProblem(name, f"must be a mapping with {', '.join(known)}"))
        return {}
    problems.extend(
        FileProblem(f"{name}.{_shown(key)}".lstrip("."), f"no such section; there are {', '.join(known)}")
        for key in section
        if key not in known
    )
    return section


EntryT = TypeVar("EntryT", bound=CheckEntry)


def _entries(
    kind: type[EntryT],
    health: Mapping[Any, Any],
    name: str,
    problems: list[FileProblem],
    environment: Mapping[str, str],
    taken: set[str],
) -> Iterator[EntryT]:
    """The usable entries of a list; their names are added to those taken."""
    entries = health.get(name)
    if entries is None:
        return
    place = f"health.{name}"
    if not isinstance(entries, list) or len(entries) > _MAX_ENTRIES:
        problems.append(FileProblem(place, f"must be a list of at most {_MAX_ENTRIES} checks"))
        return
    for number, entry in enumerate(entries):
        variables = _Variables(environment)
        filled_in = variables.fill_in(entry)
        if variables.problem:
            problems.append(FileProblem(f"{place}.{number}", variables.problem))
            continue
        try:
            checked = kind.model_validate(filled_in)
        except ValidationError as error:
            for details in error.errors(include_url=False, include_input=False):
                inner = ".".join((place, str(number), *map(_shown, details["loc"])))
                problems.append(FileProblem(inner, plain_message(details)))
            continue
        if checked.name in taken:
            problems.append(FileProblem(f"{place}.{number}.name", f"there is a check {checked.name} already"))
            continue
        taken.add(checked.name)
        yield checked


@dataclass(slots=True)
class _Variables:
    """Puts environment variables in the place of their names."""

    environment: Mapping[str, str]
    missing: set[str] = field(default_factory=set)
    characters: int = 0

    @property
    def problem(self) -> str:
        """Why an entry cannot be used; empty where it can."""
        if self.characters > _MAX_FILLED_IN:
            return f"has more than {_MAX_FILLED_IN} characters from environment variables"
        return f"environment variable not set: {', '.join(sorted(self.missing))}" if self.missing else ""

    def fill_in(self, value: Any, depth: int = 0) -> Any:
        """The value with every `${NAME}` replaced."""
        if isinstance(value, str):
            return _VARIABLE.sub(self._replace, value)
        if depth < 4:
            if isinstance(value, Mapping):
                return {key: self.fill_in(item, depth + 1) for key, item in value.items()}
            if isinstance(value, list):
                return [self.fill_in(item, depth + 1) for item in value[:1000]]
        return value

    def _replace(self, match: re.Match[str]) -> str:
        text = self.environment.get(match[1])
        if text is None:
            self.missing.add(match[1])
            return ""
        self.characters += len(text)
        return text if self.characters <= _MAX_FILLED_IN else ""
