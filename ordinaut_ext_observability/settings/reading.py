"""Reading settings: what is right takes effect, what is wrong is told by its place, never with its value."""

from __future__ import annotations

from functools import reduce
from operator import getitem
from typing import Any, NamedTuple, TypeVar, get_args

from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic_core import ErrorDetails

Place = tuple[int | str, ...]
ModelT = TypeVar("ModelT", bound=BaseModel)

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

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, defer_build=True)


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
