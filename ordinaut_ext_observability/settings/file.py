"""The configuration file (YAML): what does not fit an environment variable.

What cannot be used is left out and told by its place, as `health.http.0.url`; the rest takes effect.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from itertools import islice
from typing import Any

import yaml

from ordinaut_ext_observability.settings.checks import HealthSection
from ordinaut_ext_observability.settings.environment import read_regular_file
from ordinaut_ext_observability.settings.reading import Section, read_usable

MAX_FILE_BYTES = 64 * 1024
MAX_VALUES = 10_000
"""Values in the file, with those that aliases repeat: 200 checks have a third of them. They are read in a second."""
MAX_PROBLEMS = 50
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_-]{0,30}")


class ConfigFile(Section):
    """The sections of the file. A part that needs one adds its model here."""

    health: HealthSection = HealthSection()


def read_config_file(path: str, environment: Mapping[str, str]) -> tuple[ConfigFile, dict[str, str]]:
    """Read the file as it is now, and what is wrong with it by its place: `health.http.0.url`, "" the file itself.

    Never raises, and keeps nothing, so that a file that changed may be read again.
    """
    try:
        data = _parse(read_regular_file(path, MAX_FILE_BYTES))
    except ValueError as error:
        return ConfigFile(), {"": str(error)}
    file, told = read_usable(ConfigFile, data, environment)
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

    def written_out(self, value: Any) -> Any:
        """The value with nothing in two places, its keys as text, and without the keys that nothing is given for."""
        self.spend(1)
        if isinstance(value, dict):
            return {str(key): self.written_out(item) for key, item in value.items() if item is not None}
        return [self.written_out(item) for item in value] if isinstance(value, list) else value


def _parse(content: bytes) -> Any:
    """The file's values; nothing at all is an empty mapping.

    Raises:
        ValueError: it cannot be used; the message goes on from the file's name, and quotes nothing of it.
    """
    try:
        loader = _Loader(content)
        data = loader.get_single_data()
        loader.values_left = MAX_VALUES
        return {} if data is None else loader.written_out(data)
    except _TooManyValuesError:
        raise ValueError(f"has more than {MAX_VALUES} values") from None
    except Exception as error:  # noqa: BLE001 - wrong values of YAML's own types make the library raise anything
        mark = getattr(error, "problem_mark", None)
        position = f": line {mark.line + 1}, column {mark.column + 1}" if mark is not None else ""
        raise ValueError(f"is not YAML{position}") from None
