"""The configuration file: YAML with environment variables in it. Only a process that has one imports this."""

from __future__ import annotations

import re
from collections.abc import Mapping
from itertools import islice
from typing import Any

import yaml

from ordinaut_ext_observability.settings.environment import read_regular_file
from ordinaut_ext_observability.settings.reading import ModelT, Unusable, read_usable

MAX_FILE_BYTES = 64 * 1024
MAX_VALUES = 10_000
"""Values in the file, with those that aliases repeat: 200 checks have a third of them. They are read in a second."""
MAX_FILLED_IN = 1024 * 1024
"""Characters that environment variables may put into the file: a token in every check has a tenth of them."""
MAX_PROBLEMS = 50
"""Problems of the file that are told one by one: all are in the log, the index and `GET /config`."""
_VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_-]{0,30}")


def read_config_file(model: type[ModelT], path: str, environment: Mapping[str, str]) -> tuple[ModelT, dict[str, str]]:
    """Read the configuration file (YAML), and what is wrong with it by its place: `health.http.0.url`, "" the file.

    In its texts `${NAME}` stands for an environment variable. Never raises, and keeps nothing: to reload, read again.
    """
    try:
        content = read_regular_file(path, MAX_FILE_BYTES)
    except ValueError as error:
        return model(), {"": str(error)}
    try:
        data = _filled_in(_Loader(content).get_single_data(), environment)
    except _TooManyValuesError:
        return model(), {"": f"has more than {MAX_VALUES} values"}
    except Exception as error:  # noqa: BLE001 - wrong values of YAML's own types make the library raise anything
        mark = getattr(error, "problem_mark", None)
        position = f": line {mark.line + 1}, column {mark.column + 1}" if mark is not None else ""
        return model(), {"": f"is not YAML{position}"}
    file, told = read_usable(model, {} if data is None else data)
    problems = {".".join(map(_shown, place)): problem for place, problem in islice(told.items(), MAX_PROBLEMS)}
    if len(told) > MAX_PROBLEMS:
        problems[""] = f"has {len(told) - MAX_PROBLEMS} further problems"
    return file, problems


def _shown(step: int | str) -> str:
    """A step of a place. A key that is no name is not shown: a secret may stand in the wrong place."""
    return str(step) if isinstance(step, int) or _NAME.fullmatch(step) else "<key>"


class _TooManyValuesError(Exception):
    """Written out, the file has more than `MAX_VALUES`."""


class _Loader(yaml.SafeLoader):
    """Counts the values of merged mappings, which make a small file a vast one."""

    merged = 0

    def flatten_mapping(self, node: yaml.MappingNode) -> None:
        super().flatten_mapping(node)
        self.merged += len(node.value)
        if self.merged > MAX_VALUES:
            raise _TooManyValuesError


def _filled_in(data: Any, environment: Mapping[str, str]) -> Any:
    """Data with nothing in two places, keys as text, without those nothing is given for, and variables put in."""
    values = characters = 0

    def copied(value: Any) -> Any:
        nonlocal values, characters
        values += 1
        if values > MAX_VALUES:
            raise _TooManyValuesError
        if isinstance(value, dict):
            return {str(key): copied(item) for key, item in value.items() if item is not None}
        if isinstance(value, list):
            return [copied(item) for item in value]
        if not isinstance(value, str):
            return value
        names = _VARIABLE.findall(value)
        if missing := sorted(set(names).difference(environment)):
            return Unusable(f"environment variable not set: {', '.join(missing)}")
        characters += sum(len(environment[name]) for name in names)
        if characters > MAX_FILLED_IN:
            return Unusable(f"more than {MAX_FILLED_IN} characters from environment variables in the file")
        return _VARIABLE.sub(lambda match: environment[match[1]], value)

    return copied(data)
