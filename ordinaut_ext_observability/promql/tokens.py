"""Queries split into tokens, within the limits of what the parsing library can stand."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import pairwise
from typing import Final, NamedTuple

from ordinaut_ext_observability.promql.errors import BadQueryError

MAX_BYTES: Final = 8_192
"""Bytes of a query, as UTF-8: more than people write, and parsed in milliseconds."""
MAX_OPERATORS: Final = 100
"""Operators of a query, with those of regular expressions.

An operator may deepen the tree by a level, for which the library takes 2 kB of stack. A regular expression may take
milliseconds to compile.
"""
MAX_BRACKETS: Final = 64
"""Brackets within each other."""

_DIGITS, _HEX = "[0-9](?:_?[0-9])*", "[0-9a-f](?:_?[0-9a-f])*"
_TOKEN: Final = re.compile(
    rf"""
    (?P<space>\s+|\#[^\r\n]*)
    |(?P<string>"(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*'|`[^`]*`)
    |(?P<duration>(?:[0-9]+(?:ms|[ywdhms]))+(?![\w.]))
    |(?P<number>(?:0x_?{_HEX}|(?:{_DIGITS}\.?(?:{_DIGITS})?|\.{_DIGITS})(?:e[+-]?{_DIGITS})?|inf|nan)(?![\w.]))
    |(?P<operator>[=!<>]=|=~|!~|[-+*/%^<>]|(?:and|or|unless|atan2)(?![\w:.]))
    |(?P<modifier>(?:by|without|on|ignoring|group_(?:left|right)|bool|offset|fill(?:_left|_right)?)(?![\w:.]))
    |(?P<name>:*[a-z_][\w:.]*|[\w.]+)
    |(?P<open>[(\[{{])
    |(?P<close>[)\]}}])
    |(?P<other>.)
    """,
    re.VERBOSE | re.ASCII | re.DOTALL | re.IGNORECASE,
)
_OPERANDS: Final = frozenset({"string", "duration", "number", "name"})


class Token(NamedTuple):
    """A piece of a query."""

    kind: str
    """One of `string duration number operator modifier name open close other`."""
    text: str
    position: int
    """Place of its first character, from 1."""


def split(text: str) -> list[Token]:
    """Split a query into tokens; spaces and comments are left out.

    Raises:
        BadQueryError: The query is too long or too deep, or has an expression where a duration is expected.
    """
    try:
        size = len(text.encode())
    except UnicodeEncodeError as error:
        raise BadQueryError(f"character {error.start + 1} of the query cannot be written as UTF-8") from None
    if size > MAX_BYTES:
        raise BadQueryError(f"the query has {size} bytes; at most {MAX_BYTES} are accepted")
    tokens = [Token(str(match.lastgroup), match[0], match.start() + 1) for match in _TOKEN.finditer(text)]
    tokens = [token for token in tokens if token.kind != "space"]
    if sum(token.kind == "operator" for token in tokens) > MAX_OPERATORS:
        raise BadQueryError(f"the query has more than {MAX_OPERATORS} operators or patterns; make it shorter")
    brackets = ""
    for token in tokens:
        brackets = _open_after(brackets, token)
    return tokens


def _open_after(brackets: str, token: Token) -> str:
    """The brackets that are open after a token."""
    if brackets.endswith("[") and token.kind not in {"number", "duration"} and token.text not in {":", "]"}:
        raise BadQueryError(
            f"unexpected {token.text!r} within brackets at character {token.position}; a duration such as 5m or a"
            " number of seconds is accepted, duration expressions are not supported"
        )
    if token.kind == "close":
        return brackets[:-1]
    if token.kind != "open":
        return brackets
    if len(brackets) == MAX_BRACKETS:
        raise BadQueryError(f"the query has brackets nested deeper than {MAX_BRACKETS} levels")
    return brackets + token.text


def unexpected(tokens: Sequence[Token]) -> str:
    """The first token that cannot follow the one before, where the library has not told."""
    for before, token in pairwise(tokens):
        after_operand = before.kind in _OPERANDS or before.text in {"]", "}"}
        if after_operand and token.text in {"anchored", "smoothed"}:
            return f"the modifier {token.text!r} is experimental in Prometheus and not supported"
        lacks_operand = before.kind == "operator" or before.text in {"(", ",", "@"}
        binary = token.kind == "operator" and token.text not in {"+", "-"}
        if (after_operand and token.kind in _OPERANDS) or (
            lacks_operand and (binary or (token.kind == "close" and before.kind == "operator"))
        ):
            return f"unexpected {token.text!r} at character {token.position}, after {before.text!r}"
    if tokens and tokens[-1].kind == "operator":
        return f"unexpected end of input: an expression is expected after {tokens[-1].text!r}"
    return "the query's syntax is not valid"
