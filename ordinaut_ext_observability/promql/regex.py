"""Regular expressions of queries: in RE2's syntax, on the whole of a text, and in bounded time."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final

from ordinaut_ext_observability.promql.errors import BadQueryError, ExecutionError
from ordinaut_ext_observability.promql.regex_cost import Cost
from ordinaut_ext_observability.promql.regex_syntax import RegexParser

_CACHED_PATTERNS: Final = 256
"""A query that is evaluated at many steps compiles its patterns once."""

_MORE_THAN_TEXTS: Final = re.compile(r"[\\.+*?()\[\]{}^$]")


def literals_of(pattern: str) -> frozenset[str] | None:
    """The texts that a pattern lists, as `a|b` does; None where it has more than texts."""
    return None if _MORE_THAN_TEXTS.search(pattern) else frozenset(pattern.split("|"))


class Regex:
    """A compiled pattern: `compile_regex("(.*)-bytes").fullmatch("rx-bytes")`."""

    def __init__(self, pattern: str) -> None:
        piece = RegexParser(pattern).pattern()
        self._cost = Cost(piece)
        if self._cost.any_text < 0:
            raise BadQueryError(
                f"regular expression {pattern!r}: this may take too long on any text; it has too many ways"
            )
        try:
            self._compiled = re.compile(piece.text, re.DOTALL)
        except (re.error, RecursionError, OverflowError) as error:
            raise BadQueryError(f"regular expression {pattern!r}: {error}") from None
        self._pattern = pattern

    def fullmatch(self, text: str) -> re.Match[str] | None:
        """The match of the whole text, with its groups; None where it does not match.

        Raises:
            ExecutionError: The text is so long that matching it may take too long.
        """
        if not self._cost.allows(text):
            raise ExecutionError(
                f"matching the regular expression {self._pattern!r} may take too long on a label of {len(text)}"
                f" characters; up to {self._cost.any_text} are safe, and more with fewer repetitions such as .*"
            )
        return self._compiled.fullmatch(text)


@lru_cache(_CACHED_PATTERNS)
def compile_regex(pattern: str) -> Regex:
    """Compile a pattern.

    Raises:
        BadQueryError: RE2 refuses it, or matching it may take too long.
    """
    return Regex(pattern)
