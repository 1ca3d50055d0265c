"""Queries written so that the parsing library reads them as Prometheus does.

It panics on extreme times, compiles patterns however long that takes, and reads some texts, numbers and patterns
otherwise. So times are written as seconds, those after `@` shifted; texts in quotes that are no names are hidden: as
their bytes in hexadecimal.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Final

from ordinaut_ext_observability.promql.errors import BadQueryError
from ordinaut_ext_observability.promql.times import parse_duration
from ordinaut_ext_observability.promql.tokens import Token

AT_SHIFT_MS: Final = 10_000_000_000_000
"""Milliseconds added to every time after `@`, so that it is after 1970: the library panics on others."""
_MAX_AT_MS: Final = 240_000_000_000_000
"""Times after `@` that Python's dates can hold, shifted: the year 9575."""
_MAX_DURATION_MS: Final = (2**63 - 1) // 10**6
"""Prometheus keeps durations as nanoseconds in 64 bits: 292 years."""

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


def guarded(tokens: Sequence[Token]) -> str:
    """The query that the library can stand.

    Raises:
        BadQueryError: A time is out of range, or a text in quotes is not valid.
    """
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
    if place.startswith("@"):
        at_ms = _milliseconds(token) * (-1 if place.endswith("-") else 1)
        if not -AT_SHIFT_MS < at_ms < _MAX_AT_MS:
            raise _out_of_range(token)
        return _seconds(at_ms + AT_SHIFT_MS)
    if token.kind == "number" and place not in {"[", ":"} and not place.startswith("offset"):
        return token.text.replace("_", "")
    duration_ms = _milliseconds(token)
    if duration_ms > _MAX_DURATION_MS:
        raise _out_of_range(token)
    if place in {"[", ":"} and not duration_ms:
        raise BadQueryError(f"duration must be greater than 0 at character {token.position}")
    return _seconds(duration_ms)


def _milliseconds(token: Token) -> int:
    try:
        return parse_duration("" if _NOT_DECIMAL.match(token.text) else token.text)
    except ValueError:
        raise _out_of_range(token) from None


def _out_of_range(token: Token) -> BadQueryError:
    return BadQueryError(
        f"{token.text!r} at character {token.position} is not a valid duration, or out of range; decimal numbers of"
        " seconds are accepted, and durations from the largest unit to the smallest, as 1d12h30m, up to 292y"
    )


def _seconds(milliseconds: int) -> str:
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
