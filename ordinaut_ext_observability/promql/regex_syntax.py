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
from ordinaut_ext_observability.promql.regex_sets import CLASSES, LAST, Ranges, bits_of, complement

_MAX_DEPTH: Final = 50
"""Groups within each other: reading them recurses."""
_MAX_REPEATED: Final = 1_000
"""RE2's own bound on counts, also of those within each other."""

_MAX_WIDE: Final = 65_536
"""Characters beyond the first 256 in all sets of a pattern: `re` takes 5 ms to compile as many."""

_CONTROLS: Final = {"a": 7, "t": 9, "n": 10, "v": 11, "f": 12, "r": 13}
_ANCHORS: Final = {"^": r"\A", "$": r"\Z", r"\A": r"\A", r"\z": r"\Z", r"\b": r"(?a:\b)", r"\B": r"(?a:\B)"}

_QUANTIFIER: Final = re.compile(r"(?:([*+?])|\{([0-9]+)(?:(,)([0-9]*))?\})\??")
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
        self._wide = 0
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
        """The alternatives of a group or pattern, up to its end."""
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
        sign, fewest, comma, highest = found.groups()
        least = int(fewest[:9]) if fewest else int(sign == "+")
        most = int(highest[:9]) if highest else least if fewest and not comma else 1 if sign == "?" else None
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
            return self._characters(() if "s" in self._flags else ((10, 10),), negated=True)
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

    def _perl_class(self) -> Ranges | None:
        name = self._pattern[self._at + 1 : self._at + 2]
        if self._pattern[self._at] != "\\" or name.lower() not in {"d", "s", "w"}:
            return None
        self._at += 2
        return CLASSES[name] if name.islower() else complement(CLASSES[name.lower()])

    def _character(self) -> int:
        """The code of the next character, which may be escaped."""
        character = self._pattern[self._at]
        self._at += 1
        if character != "\\":
            return ord(character)
        if found := self._take(_CODE):
            if (code := int(found[3], 8) if found[3] else int(found[1] or found[2], 16)) > LAST:
                raise self._error(f"invalid escape sequence \\{found[0]}")
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

    def _class_item(self) -> Ranges:
        if found := self._take(_POSIX):
            if found[2] not in CLASSES or len(found[2]) == 1:
                raise self._error(f"invalid character class range {found[0]}")
            return complement(CLASSES[found[2]]) if found[1] else CLASSES[found[2]]
        if (ranges := self._perl_class()) is not None:
            return ranges
        low = high = self._character()
        if self._pattern.startswith("-", self._at) and self._pattern[self._at + 1 : self._at + 2] not in {"]", ""}:
            self._at += 1
            high = self._character()
        if high < low:
            raise self._error("invalid character class range")
        return ((low, high),)

    def _characters(self, ranges: Ranges, *, negated: bool = False) -> Piece:
        if any(high == LAST for _, high in ranges):  # what a wide set lacks compiles a thousand times faster
            ranges, negated = complement(ranges), not negated
        self._wide += sum(max(0, high - max(low, 255)) for low, high in ranges)
        if self._wide > _MAX_WIDE:
            raise self._error(f"sets of more than {_MAX_WIDE} characters")
        mask = bits_of(ranges, ignore_case="i" in self._flags)
        if negated:
            mask = ALL & ~mask | OTHERS
        ends = [(re.escape(chr(low)), re.escape(chr(high))) for low, high in ranges]
        inside = "".join(low if low == high else f"{low}-{high}" for low, high in ends)
        if len(ends) == 1 and ends[0][0] == inside and not negated:
            return one_of(inside, mask)
        return one_of(f"[{'^' if negated else ''}{inside}]" if inside else "." if negated else "(?!)", mask)


def _escaped(quoted: re.Match[str]) -> str:
    """Text between the escapes Q and E, in usual escapes; other escapes stay."""
    return quoted[0] if quoted[1] is None else re.sub(r"[!-/:-@\[-`{-~]", r"\\\g<0>", quoted[1])
