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
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, TypeVar

import yaml
from pydantic import AnyHttpUrl, BaseModel, ConfigDict, Field, ValidationError

BUILT_IN_CHECKS = ("event_loop", "cpu", "memory", "disk", "file_descriptors", "network", "task_success", "settings")
"""Names that checks in the file cannot have."""

MAX_FILE_BYTES = 128 * 1024
MAX_VALUES = 20_000
_MAX_ENTRIES = 100
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
    model_config = ConfigDict(frozen=True, extra="forbid")


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
        data = _load(path)
    except OSError as error:
        return ConfigFile(problems=(FileProblem("", f"cannot be read: {error.strerror}"),))
    except _TooLargeError as error:
        return ConfigFile(problems=(FileProblem("", f"larger than {error}"),))
    except Exception as error:  # noqa: BLE001 - wrong values of YAML's own types make the library raise anything
        return ConfigFile(problems=(FileProblem("", f"not YAML{_position(error)}"),))
    problems: list[FileProblem] = []
    health = _section(_section({"": data}, "", problems, ("health",)), "health", problems, ("http", "callables"))
    taken = set(BUILT_IN_CHECKS)
    http_checks = tuple(_entries(HttpCheckEntry, health, "http", problems, environment, taken))
    callable_checks = tuple(_entries(CallableCheckEntry, health, "callables", problems, environment, taken))
    return ConfigFile(http_checks, callable_checks, tuple(problems))


def _shown(key: object) -> str:
    """A part of a place. A key that is no name is not shown: a secret may stand in the wrong place."""
    text = str(key)
    return text if isinstance(key, int) or _NAME.fullmatch(text) else "<key>"


class _TooLargeError(Exception):
    """The text says than what."""


def _load(path: str) -> Any:
    if Path(path).is_fifo():
        raise OSError(0, "it is a pipe")  # reading it would wait for its writer
    with Path(path).open("rb") as file:
        content = file.read(MAX_FILE_BYTES + 1)
    if len(content) > MAX_FILE_BYTES:
        raise _TooLargeError(f"{MAX_FILE_BYTES} bytes")
    data = yaml.safe_load(content)
    _count(data, [MAX_VALUES])
    return data


def _count(value: Any, left: list[int]) -> None:
    """Aliases make a small file a vast one.

    Raises:
        _TooLargeError: written out, it has more values than are left.
    """
    left[0] -= 1
    if left[0] < 0:
        raise _TooLargeError(f"{MAX_VALUES} values")
    for item in value.values() if isinstance(value, Mapping) else value if isinstance(value, list) else ():
        _count(item, left)


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
        unknown: set[str] = set()
        filled_in = _fill_in(entry, environment, unknown)
        if unknown:
            missing = ", ".join(sorted(unknown))
            problems.append(FileProblem(f"{place}.{number}", f"environment variable not set: {missing}"))
            continue
        try:
            checked = kind.model_validate(filled_in)
        except ValidationError as error:
            for details in error.errors(include_url=False, include_context=False, include_input=False):
                inner = ".".join((place, str(number), *map(_shown, details["loc"])))
                problems.append(FileProblem(inner, details["msg"]))
            continue
        if checked.name in taken:
            problems.append(FileProblem(f"{place}.{number}.name", f"there is a check {checked.name} already"))
            continue
        taken.add(checked.name)
        yield checked


def _fill_in(value: Any, environment: Mapping[str, str], unknown: set[str], depth: int = 0) -> Any:
    """The value with environment variables in the place of their names."""
    if isinstance(value, str):

        def replace(match: re.Match[str]) -> str:
            if match[1] not in environment:
                unknown.add(match[1])
            return environment.get(match[1], "")

        return _VARIABLE.sub(replace, value)
    if depth < 4:
        if isinstance(value, Mapping):
            return {key: _fill_in(item, environment, unknown, depth + 1) for key, item in value.items()}
        if isinstance(value, list):
            return [_fill_in(item, environment, unknown, depth + 1) for item in value[:1000]]
    return value
