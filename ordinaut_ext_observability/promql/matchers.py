"""Conditions on labels, as they stand within the braces of a selector."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, Literal

from ordinaut_ext_observability.promql.regex import compile_regex, literals_of

MatchOperator = Literal["=", "!=", "=~", "!~"]

_PLAIN_NAME: Final = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")


def quoted(text: str) -> str:
    """A text as it stands in a query."""
    return json.dumps(text, ensure_ascii=False)


def label_name(name: str) -> str:
    """A label's name as it stands in a query: in quotes where it has more than letters, digits and underscores."""
    return name if _PLAIN_NAME.fullmatch(name) else quoted(name)


@dataclass(frozen=True, slots=True)
class LabelMatcher:
    """A condition on the value of one label; a label that a series does not have is empty.

    ::

        LabelMatcher("code", "=~", "5..").matches("503")

    Raises:
        BadQueryError: The regular expression is wrong, or may take too long.
    """

    name: str
    operator: MatchOperator
    value: str
    _accepts: Callable[[str], object] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_accepts", _test_of(self.value, regex="~" in self.operator))

    def __str__(self) -> str:
        """The condition as it stands in a query."""
        return f"{label_name(self.name)}{self.operator}{quoted(self.value)}"

    @property
    def equal_to(self) -> str | None:
        """The value, where only one will do."""
        return self.value if self.operator == "=" else None

    def matches(self, value: str) -> bool:
        """Tell whether the label may have this value.

        Raises:
            ExecutionError: Matching a value of this length may take too long.
        """
        return bool(self._accepts(value)) != ("!" in self.operator)


def _test_of(value: str, *, regex: bool) -> Callable[[str], object]:
    if not regex:
        return value.__eq__
    if (texts := literals_of(value)) is not None:
        return texts.__contains__
    return compile_regex(value).fullmatch
