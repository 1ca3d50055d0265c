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

MAX_FILE_BYTES = 1024 * 1024
_MAX_ENTRIES = 100
_VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")

Seconds = Annotated[float, Field(gt=0.0, le=3600.0)]
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
    """A service that answers HTTP."""

    url: AnyHttpUrl
    method: Literal["GET", "HEAD", "OPTIONS", "POST"] = "GET"
    headers: dict[str, str] = Field(default={}, max_length=50)
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
        with Path(path).open("rb") as file:
            content = file.read(MAX_FILE_BYTES + 1)
        if len(content) > MAX_FILE_BYTES:
            return ConfigFile(problems=(FileProblem("", f"larger than {MAX_FILE_BYTES} bytes"),))
        data = yaml.safe_load(content)
    except OSError as error:
        return ConfigFile(problems=(FileProblem("", f"cannot be read: {error.strerror}"),))
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        return ConfigFile(problems=(FileProblem("", f"not YAML{_position(error)}"),))
    problems: list[FileProblem] = []
    health = _section(_section({"": data}, "", problems, ("health",)), "health", problems, ("http", "callables"))
    http_checks = tuple(_entries(HttpCheckEntry, health, "http", problems, environment))
    callable_checks = tuple(_entries(CallableCheckEntry, health, "callables", problems, environment))
    return ConfigFile(http_checks, callable_checks, tuple(problems))


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
        FileProblem(f"{name}.{key}".lstrip("."), f"no such section; there are {', '.join(known)}")
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
) -> Iterator[EntryT]:
    """The usable entries of a list."""
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
            yield kind.model_validate(filled_in)
        except ValidationError as error:
            for details in error.errors(include_url=False, include_context=False, include_input=False):
                inner = ".".join(map(str, (place, number, *details["loc"])))
                problems.append(FileProblem(inner, details["msg"]))


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
