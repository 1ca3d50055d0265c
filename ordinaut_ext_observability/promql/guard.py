"""Queries split into tokens, and written so that the parsing library reads them as Prometheus does.

The library ends the process on deep queries, panics on extreme times, compiles patterns however long that takes, and
reads some texts, numbers and patterns otherwise. So queries have bounds; times are written as seconds, those after `@`
shifted; texts in quotes that are no names are hidden: as their bytes in hexadecimal.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Sequence
from itertools import pairwise
from typing import Final, NamedTuple

from ordinaut_ext_observability.promql.errors import BadQueryError
from ordinaut_ext_observability.promql.times import parse_duration

MAX_BYTES: Final = 8_192
"""Bytes of a query, as UTF-8: more than people write, and parsed in milliseconds."""
MAX_OPERATORS: Final = 100
"""Operators of a query, with those of regular expressions.

An operator may deepen the tree by a level, for which the library takes 2 kB of stack. A regular expression may take
milliseconds to compile.
"""
MAX_BRACKETS: Final = 64
"""Brackets within each other."""

AT_SHIFT_MS: Final = 10_000_000_000_000
"""Milliseconds added to every time after `@`, so that it is after 1970: the library panics on others."""
_MAX_AT_MS: Final = 250_000_000_000_000  # shifted times that Python's dates can hold: the year 9892
_MAX_DURATION_MS: Final = (2**63 - 1) // 10**6  # Prometheus keeps durations as nanoseconds in 64 bits: 292 years

_NAME: Final = re.compile(r"(?:[a-zA-Z_]\w*)?", re.ASCII)
_NOT_DECIMAL: Final = re.compile("0[0-9xX]")
_HIDDEN: Final = re.compile('"([|]?0x[0-9a-f]*)"')
_LONELY_GROUP: Final = re.compile(r"(?<!\))(?= group_(left|right) \()")
"""A place where the library leaves `ignoring ()` out, without which it cannot read what it wrote."""
_AT: Final = re.compile(r"(?<=@ )[0-9.]+")
_ESCAPE: Final = re.compile(
    rb"\\(x[0-9a-fA-F]{2}|[0-3][0-7]{2}|u[0-9a-fA-F]{4}|U[0-9a-fA-F]{8}|[^\x80-\xff]|[\x80-\xff]+)", re.DOTALL
)
_ESCAPED: Final = dict(zip("abfnrtv\\'\"", "\a\b\f\n\r\t\v\\'\"", strict=True))
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

    Raises BadQueryError where it is too long or too deep, or has an expression where a duration is expected.
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
        wrong = after_operand and token.kind in _OPERANDS
        if before.kind == "operator" or before.text in {"(", ",", "@"}:
            wrong = token.kind == "operator" and token.text not in {"+", "-"}
            wrong |= before.kind == "operator" and token.kind == "close"
        if wrong:
            return f"unexpected {token.text!r} at character {token.position}, after {before.text!r}"
    if tokens and tokens[-1].kind == "operator":
        return f"unexpected end of input: an expression is expected after {tokens[-1].text!r}"
    return "the query's syntax is not valid"


def guarded(tokens: Sequence[Token]) -> str:
    """The query that the library can stand. Raises BadQueryError for a wrong time or text in quotes."""
    written, place = [], ""
    for token in tokens:
        written.append(_written(token, place))
        place = place + token.text if place in {"@", "offset"} and token.text in "+-" else token.text.lower()
    return " ".join(written)


def _written(token: Token, place: str) -> str:
    """The token in its place: after another, or after one and a sign."""
    if token.kind == "string":
        text = _unquoted(token)
        if place == "!~":  # the library checks whether the pattern matches nothing: this one does
            return f'"|0x{text.encode().hex()}"'
        return f'"{text}"' if _NAME.fullmatch(text) else f'"0x{text.encode().hex()}"'
    if place == "@" and token.text in "+-":
        return ""  # the sign is in the shifted time
    return _written_number(token, place) if token.kind in {"number", "duration"} else token.text


def _written_number(token: Token, place: str) -> str:
    """A number, as seconds where it is a time."""
    is_range, is_at = place in {"[", ":"}, place.startswith("@")
    if token.kind == "number" and not (is_range or is_at or place.startswith("offset")):
        return token.text.replace("_", "")
    try:
        milliseconds = parse_duration("" if _NOT_DECIMAL.match(token.text) else token.text)
    except ValueError:
        milliseconds = sys.maxsize
    if is_range and not milliseconds:
        raise BadQueryError(f"duration must be greater than 0 at character {token.position}")
    if is_at:
        milliseconds = AT_SHIFT_MS + (-milliseconds if place.endswith("-") else milliseconds)
    if not 0 <= milliseconds <= (_MAX_AT_MS if is_at else _MAX_DURATION_MS):
        raise BadQueryError(
            f"{token.text!r} at character {token.position} is not a valid duration, or out of range; decimal numbers of"
            " seconds are accepted, and durations from the largest unit to the smallest, as 1d12h30m, up to 292y"
        )
    return f"{milliseconds // 1000}.{milliseconds % 1000:03}"


def shown(text: str) -> str:
    """The text that may have been hidden from the library."""
    hidden = text.removeprefix("|")
    return bytes.fromhex(hidden[2:]).decode() if hidden.startswith("0x") else text


def shown_query(query: str) -> str:
    """A query of the library's, with hidden texts in quotes and shifted times as they are."""
    query = _AT.sub(lambda seconds: f"{float(seconds[0]) - AT_SHIFT_MS / 1000:.3f}", query)
    query = _LONELY_GROUP.sub(" ignoring ()", query)
    return _HIDDEN.sub(lambda text: json.dumps(shown(text[1]), ensure_ascii=False), query)


def _unquoted(token: Token) -> str:
    """The text in quotes, where escapes may be bytes of a character."""
    inside = token.text[1:-1]
    if token.text.startswith("`"):
        return inside
    try:
        return _ESCAPE.sub(_unescaped, inside.encode()).decode()
    except ValueError as error:
        reason = "it is not valid UTF-8" if isinstance(error, UnicodeError) else str(error)
        raise BadQueryError(f"invalid text in quotes at character {token.position}: {reason}") from None


def _unescaped(escape: re.Match[bytes]) -> bytes:
    code = escape[1].decode()
    if code in _ESCAPED:
        return _ESCAPED[code].encode()
    if len(code) == 1:
        raise ValueError(f"unknown escape \\{code}")
    number = int(code, 8) if code[0].isdigit() else int(code[1:], 16)
    return chr(number).encode() if code[0] in "uU" else bytes([number])
