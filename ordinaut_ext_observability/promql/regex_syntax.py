"""Regular expressions in RE2's syntax, written as Python's `re` has them."""

from __future__ import annotations

import re
from typing import Final

from ordinaut_ext_observability.promql.errors import BadQueryError
from ordinaut_ext_observability.promql.regex_cost import (
    ALL,
    NOTHING,
    OTHERS,
    Piece,
    any_of,
    counted,
    endless,
    joined,
    one_of,
)

_MAX_DEPTH: Final = 50
"""Groups within each other: reading them recurses."""
_MAX_REPEATED: Final = 1_000
"""RE2's own bound on counts, also of those within each other."""

_Ranges = tuple[tuple[int, int], ...]
_DIGITS, _UPPER, _LOWER = (48, 57), (65, 90), (97, 122)
_CLASSES: Final[dict[str, _Ranges]] = {
    "d": (_DIGITS,),
    "s": ((9, 10), (12, 13), (32, 32)),
    "w": (_DIGITS, _UPPER, (95, 95), _LOWER),
    "alnum": (_DIGITS, _UPPER, _LOWER),
    "alpha": (_UPPER, _LOWER),
    "ascii": ((0, 127),),
    "blank": ((9, 9), (32, 32)),
    "cntrl": ((0, 31), (127, 127)),
    "digit": (_DIGITS,),
    "graph": ((33, 126),),
    "lower": (_LOWER,),
    "print": ((32, 126),),
    "punct": ((33, 47), (58, 64), (91, 96), (123, 126)),
    "space": ((9, 13), (32, 32)),
    "upper": (_UPPER,),
    "word": (_DIGITS, _UPPER, (95, 95), _LOWER),
    "xdigit": (_DIGITS, (65, 70), (97, 102)),
}
_CONTROLS: Final = {"a": 7, "t": 9, "n": 10, "v": 11, "f": 12, "r": 13}
_ANCHORS: Final = {"^": r"\A", "$": r"\Z", r"\A": r"\A", r"\z": r"\Z", r"\b": r"(?a:\b)", r"\B": r"(?a:\B)"}

_QUANTIFIER: Final = re.compile(r"([*+?]|\{([0-9]+)(,?)([0-9]*)\})\??")
_GROUP: Final = re.compile(r"\((?:\?(?:P?<(?P<name>[A-Za-z_][A-Za-z0-9_]*)>|(?P<flags>[is-]*):)|(?!\?))")
_FLAGS: Final = re.compile(r"\(\?([is]*(?:-[is]+)?)\)")
_CODE: Final = re.compile(r"x([0-9A-Fa-f]{2})|x\{([0-9A-Fa-f]{1,6})\}|(0[0-7]{0,2}|[1-7][0-7]{1,2})")
_POSIX: Final = re.compile(r"\[:(\^?)([a-z]+):\]")
_QUOTED: Final = re.compile(r"\\Q(.*?)(?:\\E|\Z)|\\.", re.DOTALL)


class RegexParser:
    """Reads a pattern, once: `RegexParser("a+b").pattern()`."""

    def __init__(self, pattern: str) -> None:
        self._pattern = _QUOTED.sub(_escaped, pattern)
        self._at = 0
        self._depth = 0
        self._flags = frozenset("s")
        """Those of `i` and `s` that are on: Prometheus's patterns begin with `s`."""

    def pattern(self) -> Piece:
        """The whole pattern.

        Raises:
            BadQueryError: RE2 refuses it, or it is not supported here.
        """
        piece = self._alternatives()
        if self._at < len(self._pattern):
            raise self._error("unexpected )")
        return piece

    def _error(self, problem: str) -> BadQueryError:
        return BadQueryError(f"regular expression {self._pattern!r}: {problem} at character {self._at + 1}")

    def _take(self, expected: re.Pattern[str]) -> re.Match[str] | None:
        if found := expected.match(self._pattern, self._at):
            self._at = found.end()
        return found

    def _alternatives(self, flags: str = "") -> Piece:
        """What stands in a group, up to its end."""
        outer = self._flags
        if inline := self._take(_FLAGS):
            flags += inline[1]
        on, _, off = flags.partition("-")
        self._flags = self._flags.union(on).difference(off)
        pieces = [self._sequence()]
        while self._pattern.startswith("|", self._at):
            self._at += 1
            pieces.append(self._sequence())
        piece = any_of(pieces)
        if ("i" in self._flags) != ("i" in outer):
            piece = piece._replace(text=f"(?{'i' if 'i' in self._flags else '-i'}:{piece.text})")
        self._flags = outer
        return piece

    def _sequence(self) -> Piece:
        sequence = NOTHING
        while self._at < len(self._pattern) and self._pattern[self._at] not in "|)":
            sequence = joined(sequence, self._quantified(self._atom()))
        return sequence

    def _quantified(self, piece: Piece) -> Piece:
        begins_at = self._at
        if (found := self._take(_QUANTIFIER)) is None:
            return piece
        if _QUANTIFIER.match(self._pattern, self._at):
            raise self._error("invalid nested repetition operator")
        least, most = {"*": (0, None), "+": (1, None), "?": (0, 1)}.get(found[1], (int(found[2] or 0), None))
        if found[2] and found[4 if found[3] else 2]:
            most = int(found[4] or found[2])
        text = f"(?:{piece.text}){found[0]}"
        if max(least, most or 0) > _MAX_REPEATED or (most is not None and most < least):
            self._at = begins_at
            raise self._error("invalid repeat count")
        repeated = endless(piece, text, least) if most is None else counted(piece, text, least, most)
        if repeated is None:
            raise self._error(
                "this repeats what can match one text in several ways, which may take too long; repeat a set such as"
                " [a-z.]*, or let each alternative begin with a character of its own, before the repetition"
            )
        if repeated.repeated > _MAX_REPEATED:
            raise self._error("invalid repeat count")
        return repeated

    def _atom(self) -> Piece:
        character = self._pattern[self._at]
        if character == "(":
            return self._group()
        if character == "[":
            return self._class()
        if _QUANTIFIER.match(self._pattern, self._at):
            raise self._error("missing argument to repetition operator")
        if character in "^$":
            self._at += 1
            return Piece(_ANCHORS[character])
        if character == ".":
            self._at += 1
            return self._characters(((10, 10),) if "s" not in self._flags else (), negated=True)
        if character == "\\":
            return self._escape()
        self._at += 1
        return self._characters(((ord(character),) * 2,))

    def _group(self) -> Piece:
        if (found := self._take(_GROUP)) is None:
            raise self._error(
                "invalid or unsupported Perl syntax: groups may begin with (, (?:, (?i:, (?s: or (?P<name>"
            )
        self._depth += 1
        if self._depth > _MAX_DEPTH:
            raise self._error(f"groups nested deeper than {_MAX_DEPTH}")
        piece = self._alternatives(found["flags"] or "")
        if not self._pattern.startswith(")", self._at):
            raise self._error("missing closing )")
        self._at += 1
        self._depth -= 1
        kind = "?:" if found["flags"] is not None else f"?P<{found['name']}>" if found["name"] else ""
        return piece._replace(text=f"({kind}{piece.text})")

    def _escape(self) -> Piece:
        escaped = self._pattern[self._at : self._at + 2]
        if escaped in _ANCHORS:
            self._at += 2
            return Piece(_ANCHORS[escaped])
        if (ranges := self._perl_class()) is not None:
            return self._characters(ranges)
        return self._characters(((self._character(),) * 2,))

    def _perl_class(self) -> _Ranges | None:
        name = self._pattern[self._at + 1 : self._at + 2]
        if self._pattern[self._at] != "\\" or name.lower() not in {"d", "s", "w"}:
            return None
        self._at += 2
        return _CLASSES[name] if name.islower() else _complement(_CLASSES[name.lower()])

    def _character(self) -> int:
        """The code of the next character, which may be escaped."""
        character = self._pattern[self._at]
        self._at += 1
        if character != "\\":
            return ord(character)
        if found := self._take(_CODE):
            code = int(found[3], 8) if found[3] else int(found[1] or found[2], 16)
            if code <= 0x10FFFF:
                return code
        escaped = self._pattern[self._at : self._at + 1]
        if escaped in _CONTROLS:
            self._at += 1
            return _CONTROLS[escaped]
        if not escaped:
            raise self._error("trailing backslash")
        if escaped.isalnum() or not escaped.isascii():
            hint = "; classes of Unicode are not supported" if escaped in "pP" else ""
            raise self._error(f"invalid escape sequence \\{escaped}{hint}")
        self._at += 1
        return ord(escaped)

    def _class(self) -> Piece:
        """A set in brackets."""
        self._at += 1
        negated = self._pattern.startswith("^", self._at)
        self._at += negated
        ranges: list[tuple[int, int]] = []
        while not self._pattern.startswith("]", self._at) or not ranges:
            if self._at >= len(self._pattern):
                raise self._error("missing closing ]")
            ranges += self._class_item()
        self._at += 1
        return self._characters(tuple(ranges), negated=negated)

    def _class_item(self) -> _Ranges:
        if found := self._take(_POSIX):
            if found[2] not in _CLASSES or len(found[2]) == 1:
                raise self._error(f"invalid character class range {found[0]}")
            return _complement(_CLASSES[found[2]]) if found[1] else _CLASSES[found[2]]
        if (ranges := self._perl_class()) is not None:
            return ranges
        low = high = self._character()
        if self._pattern.startswith("-", self._at) and self._pattern[self._at + 1 : self._at + 2] not in {"]", ""}:
            self._at += 1
            high = self._character()
        if high < low:
            raise self._error("invalid character class range")
        return ((low, high),)

    def _characters(self, ranges: _Ranges, *, negated: bool = False) -> Piece:
        mask = 0
        for low, high in ranges:
            mask |= (1 << min(high, 255) + 1) - (1 << min(low, 256)) if low < 256 else 0
            mask |= OTHERS if high > 255 else 0
        if "i" in self._flags:
            mask = _with_other_case(mask)
        if negated:
            mask = ALL & ~mask | OTHERS
        if len(ranges) == 1 and ranges[0][0] == ranges[0][1] and not negated:
            return one_of(re.escape(chr(ranges[0][0])), mask)
        ends = ((re.escape(chr(low)), re.escape(chr(high))) for low, high in ranges)
        inside = "".join(low if low == high else f"{low}-{high}" for low, high in ends)
        return one_of((f"[^{inside}]" if negated else f"[{inside}]") if ranges else ".", mask)


def _escaped(quoted: re.Match[str]) -> str:
    """What stands between the escapes Q and E, in usual escapes; other escapes as they are."""
    return quoted[0] if quoted[1] is None else re.sub(r"[!-/:-@\[-`{-~]", r"\\\g<0>", quoted[1])


def _complement(ranges: _Ranges) -> _Ranges:
    ends = [-1, *(code for low, high in ranges for code in (low, high)), 0x110000]
    return tuple((low + 1, high - 1) for low, high in zip(ends[::2], ends[1::2], strict=True) if low + 1 < high)


def _with_other_case(mask: int) -> int:
    letters = (1 << 26) - 1
    upper, lower = mask >> 65 & letters, mask >> 97 & letters
    mask |= (upper | lower) << 65 | (upper | lower) << 97
    if upper | lower or mask >> 128:
        mask |= ALL ^ ((1 << 128) - 1)  # such as K, the sign of Kelvin
    return mask
