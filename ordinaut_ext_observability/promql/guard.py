"""Queries made fit for the library that parses them.

It ends the process on deep queries, panics on extreme times, and reads some texts and numbers otherwise than
Prometheus does.
"""

from __future__ import annotations

import re
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

AT_SHIFT_MS: Final = 10_000_000_000_000
"""Milliseconds added to every time after `@`, so that it is after 1970: the library panics on others."""
_MAX_AT_MS: Final = 240_000_000_000_000
"""Times after `@` that Python's dates can hold, shifted: the year 9575."""
_MAX_DURATION_MS: Final = (2**63 - 1) // 10**6
"""Prometheus keeps durations as nanoseconds in 64 bits: 292 years."""

_MAX_NUMBER: Final = 2**64
"""Larger than any time that is accepted, and still a float."""

UNITS_MS: Final = {
    "y": 31_536_000_000,
    "w": 604_800_000,
    "d": 86_400_000,
    "h": 3_600_000,
    "m": 60_000,
    "s": 1_000,
    "ms": 1,
}
"""Milliseconds of each unit of a duration, in the order in which they may stand."""
_DIGITS, _HEX, _NO_DIGITS = "[0-9](?:_?[0-9])*", "[0-9a-fA-F](?:_?[0-9a-fA-F])*", "[iI][nN][fF]|[nN][aA][nN]"
_TOKEN: Final = re.compile(
    rf"""
    (?P<space>\s+|\#[^\r\n]*)
    |(?P<string>"(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*'|`[^`]*`)
    |(?P<duration>(?:[0-9]+(?:ms|[ywdhms]))+(?![\w.]))
    |(?P<number>(?:0[xX]_?{_HEX}|(?:{_DIGITS}\.?(?:{_DIGITS})?|\.{_DIGITS})(?:[eE][+-]?{_DIGITS})?|{_NO_DIGITS})(?![\w.]))
    |(?P<word>[a-zA-Z_][\w:.]*|[\w.]+)
    |(?P<operator>[=!<>]=|=~|!~|[-+*/%^<>])
    |(?P<open>[(\[{{])
    |(?P<close>[)\]}}])
    |(?P<other>.)
    """,
    re.VERBOSE | re.ASCII | re.DOTALL,
)
_DURATION: Final = re.compile("".join(rf"(?:(?P<{unit}>[0-9]+){unit}(?!s))?" for unit in UNITS_MS))
WORDS_BETWEEN: Final = frozenset({"and", "or", "unless", "atan2"})
"""Operators that are words."""
_ESCAPE: Final = re.compile(
    rb"\\(x[0-9a-fA-F]{2}|[0-3][0-7]{2}|u[0-9a-fA-F]{4}|U[0-9a-fA-F]{8}|[^\x80-\xff]|[\x80-\xff]+)", re.DOTALL
)
_ESCAPED: Final = dict(zip("abfnrtv\\'\"", "\a\b\f\n\r\t\v\\'\"", strict=True))
_LAST_CHARACTER: Final = 0x10FFFF
_HIDDEN: Final = {"=~": "", "!~": "|"}
"""Beginnings of what stands for a pattern: such that it may be empty, and where not, as the library checks.

The library would compile the pattern, for seconds if it is made for that, and refuses some that RE2 accepts.
"""


class Token(NamedTuple):
    """A piece of a query."""

    kind: str
    """One of `space string duration number word operator open close other`; comments are space."""
    text: str
    position: int
    """Place of its first character, from 1."""
    readable: str
    """The text as the library reads it right."""


def guard(text: str) -> list[Token]:
    """Split a query, refuse what the library cannot stand, and write the rest as it reads it right.

    Raises:
        BadQueryError: The query is too long or too deep, or has a time that is out of range.
    """
    _check_characters(text)
    tokens: list[Token] = []
    brackets, operators, place = "", 0, ""
    for match in _TOKEN.finditer(text):
        token = Token(str(match.lastgroup), match[0], match.start() + 1, match[0])
        if token.kind != "space":
            brackets = _nested(brackets, token)
            if token.text in _HIDDEN or not brackets.endswith("{"):
                operators += token.kind == "operator" or token.text.lower() in WORDS_BETWEEN
            if operators > MAX_OPERATORS:
                raise BadQueryError(f"the query has more than {MAX_OPERATORS} operators or patterns; make it shorter")
            tokens.append(_rewritten(token, "[" if brackets.endswith("[") else place))
            place = place + token.text if place in {"@", "offset"} and token.text in "+-" else token.text.lower()
        else:
            tokens.append(token)
    return tokens


def _check_characters(text: str) -> None:
    try:
        size = len(text.encode())
    except UnicodeEncodeError as error:
        raise BadQueryError(f"character {error.start + 1} of the query cannot be written as UTF-8") from None
    if size > MAX_BYTES:
        raise BadQueryError(f"the query has {size} bytes; at most {MAX_BYTES} are accepted")


def _nested(brackets: str, token: Token) -> str:
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


def _rewritten(token: Token, place: str) -> Token:
    """The token as the library reads it right, in its place: in brackets, or after a word and a sign."""
    text = token.text
    if token.kind == "string":
        text = _string(token, place)
    elif place == "@" and text in "+-":
        text = " "  # the sign, which is in the shifted time
    elif token.kind in {"number", "duration"}:
        if place.startswith("@"):
            text = _shifted_seconds(token, -1 if place.endswith("-") else 1)
        elif token.kind == "duration" or place == "[" or place.rstrip("+-") == "offset":
            text = _duration_seconds(token)
            if place == "[" and float(text) == 0:
                raise BadQueryError(f"duration must be greater than 0 at character {token.position}")
        else:
            text = text.replace("_", "")
    return token._replace(readable=text)


def _string(token: Token, place: str) -> str:
    """A text in quotes as the library reads it right, and patterns so that it cannot read them."""
    text = _unquoted(token)
    if place in _HIDDEN:
        return f'"{_HIDDEN[place]}{text.encode().hex()}"'
    return '"' + re.sub(r'["\\\x00-\x1f]', lambda character: f"\\U{ord(character[0]):08x}", text) + '"'


def shown_pattern(hidden: str) -> str:
    """The pattern that the guard has hidden from the library."""
    return bytes.fromhex(hidden.removeprefix("|")).decode()


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
    if number > _LAST_CHARACTER:
        raise ValueError(f"no character is \\{code}")
    return chr(number).encode() if code[0] in "uU" else bytes([number])


def _shifted_seconds(token: Token, sign: int) -> str:
    at_ms = sign * _milliseconds(token)
    if not -AT_SHIFT_MS < at_ms < _MAX_AT_MS:
        raise BadQueryError(
            f"timestamp out of bounds for the @ modifier at character {token.position}: seconds since 1970 are"
            f" accepted, from {-AT_SHIFT_MS // 1000} to {_MAX_AT_MS // 1000}"
        )
    return _as_seconds(round(at_ms) + AT_SHIFT_MS)


def _duration_seconds(token: Token) -> str:
    duration_ms = _milliseconds(token)
    if not duration_ms <= _MAX_DURATION_MS:  # nor may it be NaN
        raise BadQueryError(f"duration out of range at character {token.position}: at most 292y are accepted")
    return _as_seconds(int(duration_ms))


def _as_seconds(milliseconds: int) -> str:
    return f"{milliseconds // 1000}.{milliseconds % 1000:03}"


def _milliseconds(token: Token) -> float:
    text = token.text.lower().replace("_", "")
    if token.kind == "duration":
        if (parts := _DURATION.fullmatch(text)) is None:
            raise BadQueryError(
                f"not a valid duration at character {token.position}: {text!r}; units go from the largest to the"
                " smallest, as in 1d12h30m"
            )
        return sum(float(count) * UNITS_MS[unit] for unit, count in parts.groupdict("0").items())
    if re.fullmatch("0x[0-9a-f]+|0[0-7]+", text):
        return float(min(int(text, 16 if "x" in text else 8), _MAX_NUMBER)) * 1000
    return float(text) * 1000
