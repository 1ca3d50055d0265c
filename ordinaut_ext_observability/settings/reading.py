"""Reading settings: what is right takes effect, what is wrong is told by its place, never with its value."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import reduce
from itertools import islice
from operator import getitem
from typing import Any, NamedTuple, TypeVar, get_args

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic_core import ErrorDetails

from ordinaut_ext_observability.settings.environment import read_regular_file

Place = tuple[int | str, ...]
ModelT = TypeVar("ModelT", bound=BaseModel)

MAX_FILE_BYTES = 64 * 1024
MAX_VALUES = 10_000
"""Values in the file, with those that aliases repeat: 200 checks have a third of them. They are read in a second."""
MAX_FILLED_IN = 1024 * 1024
"""Characters that environment variables may put into the file: a token in every check has a tenth of them."""
MAX_PROBLEMS = 50
"""Problems of the file that are told one by one: all are in the log, the index and `GET /config`."""
_VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_-]{0,30}")

_PLAIN_WORDS = {
    "bool": "must be true or false",
    "int": "is not a whole number",
    "int_parsing_size": "is too large a number",
    "float": "is not a number",
    "finite_number": "is not a finite number",
    "greater_than": "must be more than {gt}",
    "greater_than_equal": "must be at least {ge}",
    "less_than_equal": "must be at most {le}",
    "too_short": "must have at least {min_length} entries",
    "too_long": "must have at most {max_length} entries",
    "string_type": "must be text",
    "string_too_short": "must have at least {min_length} characters",
    "string_too_long": "must have at most {max_length} characters",
    "string_pattern_mismatch": "has characters that are not allowed here",
    "literal_error": "must be {expected}",
    "missing": "is missing",
    "dict": "must be a mapping of names to values",
    "list": "must be a list",
    "json": "is not a JSON object",
    "url_parsing": "is not a URL that can be read",
    "url_scheme": "must begin with http:// or https://",
    "value_error": "{error}",
}
"""Words for pydantic's errors, by their type or its beginning; they go on from the name of what was given."""


class Section(BaseModel):
    """A mapping in the configuration file. A field that cannot be used has its default, the others take effect."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Unusable(NamedTuple):
    """Stands where a value cannot be had; no type takes it."""

    problem: str


def read_usable(model: type[ModelT], data: Any) -> tuple[ModelT, dict[Place, str]]:
    """Read a model whose fields all have defaults, and what is wrong by its place; `data` is emptied of that."""
    told: dict[Place, str] = {}
    while True:
        try:
            # The names are for validators that refuse one given twice.
            return model.model_validate(data, context={"names": set()}), told
        except ValidationError as error:
            found = error.errors(include_url=False)
        except Exception:  # noqa: BLE001 - a fault in a validator must not stop the host
            return model(), {(name,): "cannot be used" for name in data}
        for details in found:
            told.setdefault(details["loc"], _plain_words(model, details))
        wrong = {_place_to_empty(data, details["loc"]) for details in found}
        if () in wrong:
            return model(), told
        for place in sorted(wrong, reverse=True):  # the last entry of a list first: the others keep their numbers
            del reduce(getitem, place[:-1], data)[place[-1]]


def _place_to_empty(data: Any, place: Place) -> tuple[Any, ...]:
    """An entry of a list goes as a whole, of all else the least that is wrong."""
    for depth, step in enumerate(place):
        if isinstance(data, list):
            return place[: depth + 1]
        if not isinstance(data, dict) or step not in data:  # a field that is missing, an entry of a list in a text
            return place[:depth]
        data = data[step]
    return place


def _plain_words(model: type[BaseModel], details: ErrorDetails) -> str:
    kind, place, value = details["type"], details["loc"], details["input"]
    if isinstance(value, Unusable):
        return value.problem
    if kind == "extra_forbidden":
        return f"no such name; there are {_names_at(model, place[:-1])}"
    if kind == "model_type":
        return f"must be a mapping with {_names_at(model, place)}"
    words = _PLAIN_WORDS.get(kind) or _PLAIN_WORDS.get(kind.partition("_")[0], "cannot be used")
    return words.format(**details.get("ctx", {}))


def _names_at(model: type[BaseModel], place: Place) -> str:
    """Names of the fields of the model at a place, where models stand in models, in lists and beside None."""
    for step in map(str, place):
        annotation = model.model_fields[step].annotation if step in model.model_fields else None
        kinds = (annotation, *get_args(annotation))
        model = next((kind for kind in kinds if isinstance(kind, type) and issubclass(kind, BaseModel)), model)
    return ", ".join(info.alias or name for name, info in model.model_fields.items())


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
