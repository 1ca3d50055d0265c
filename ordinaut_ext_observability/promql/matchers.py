"""Conditions on labels, as they stand within the braces of a selector."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

from ordinaut_ext_observability.promql.regex import compile_regex

MatchOperator = Literal["=", "!=", "=~", "!~"]


@dataclass(frozen=True, slots=True)
class LabelMatcher:
    """A condition on the value of one label: `LabelMatcher("code", "=~", "5..").matches("503")`.

    A label that a series does not have is empty. Raises what `compile_regex` raises.
    """

    name: str
    operator: MatchOperator
    value: str
    _accepts: Callable[[str], object] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        accepts = compile_regex(self.value).fullmatch if "~" in self.operator else self.value.__eq__
        object.__setattr__(self, "_accepts", accepts)

    @property
    def equal_to(self) -> str | None:
        """The value, where only one will do."""
        return self.value if self.operator == "=" else None

    def matches(self, value: str) -> bool:
        """Tell whether the label may have this value. Raises ExecutionError where that may take too long."""
        return bool(self._accepts(value)) != ("!" in self.operator)
