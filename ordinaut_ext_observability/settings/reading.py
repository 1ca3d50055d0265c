"""Models of settings as they are read: what is right takes effect, what is wrong is told by its place.

No message repeats a value, which may be a secret.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from functools import reduce
from operator import getitem
from typing import Any, TypeVar, get_args

from pydantic import BaseModel, ConfigDict, ValidationError, ValidationInfo, model_validator
from pydantic_core import ErrorDetails

Place = tuple[int | str, ...]
ModelT = TypeVar("ModelT", bound=BaseModel)

_MAX_FILLED_IN = 64 * 1024
"""Characters that variables may put into one entry: as many as the whole file may have."""
_VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")

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


class Entry(Section):
    """A mapping in a list, used as a whole or not at all. In its texts `${NAME}` stands for an environment variable.

    No entry holds further entries: their texts would be filled in twice.
    """

    @model_validator(mode="before")
    @classmethod
    def _fill_in(cls, data: Any, info: ValidationInfo) -> Any:
        environment = (info.context or {}).get("environment", {})
        names = [name for text in _texts(data) for name in _VARIABLE.findall(text)]
        if missing := sorted(set(names).difference(environment)):
            raise ValueError(f"environment variable not set: {', '.join(missing)}")
        if sum(len(environment[name]) for name in names) > _MAX_FILLED_IN:
            raise ValueError(f"has more than {_MAX_FILLED_IN} characters from environment variables")
        return _filled_in(data, environment)


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    for item in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from _texts(item)


def _filled_in(value: Any, environment: Mapping[str, str]) -> Any:
    if isinstance(value, dict):
        return {key: _filled_in(item, environment) for key, item in value.items()}
    if isinstance(value, list):
        return [_filled_in(item, environment) for item in value]
    return _VARIABLE.sub(lambda match: environment[match[1]], value) if isinstance(value, str) else value


def read_usable(
    model: type[ModelT], data: Any, environment: Mapping[str, str] | None = None
) -> tuple[ModelT, dict[Place, str]]:
    """Read a model, and what is wrong by its place. `data` is emptied of what is wrong until the rest is right.

    A model all of whose fields have defaults can always be read.
    """
    told: dict[Place, str] = {}
    while True:
        try:
            return model.model_validate(data, context={"environment": environment or {}, "names": set()}), told
        except ValidationError as error:
            found = error.errors(include_url=False, include_input=False)
        except Exception:  # noqa: BLE001 - a fault in a validator must not stop the host
            return model(), told | {(name,): "cannot be used" for name in data}
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
    kind, place = details["type"], details["loc"]
    if kind == "extra_forbidden":
        return f"no such name; there are {_names_at(model, place[:-1])}"
    if kind == "model_type":
        return f"must be a mapping with {_names_at(model, place)}"
    words = _PLAIN_WORDS.get(kind) or _PLAIN_WORDS.get(kind.partition("_")[0], "cannot be used")
    return words.format(**details.get("ctx", {}))


def _names_at(model: Any, place: Place) -> str:
    """Names of the fields of the model at a place. Models stand in models and in lists, nowhere else."""
    for step in place:
        model = get_args(model)[0] if isinstance(step, int) else model.model_fields[step].annotation
    return ", ".join(info.alias or name for name, info in model.model_fields.items())
