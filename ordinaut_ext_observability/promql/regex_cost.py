"""Pieces of a regular expression, and in how many ways Python's `re` may try them on a text.

`re` tries one way after the other. A repetition that can stop at one place only, as `[^:]+` before a colon, adds none.
One whose end is open, as of `.*` before a colon, is tried with each character of the text as its end, and goes on from
those that are colons. Several have a way for each choice of ends: `comb(length + repetitions, repetitions)` at most.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from functools import reduce
from itertools import zip_longest
from math import comb, prod
from operator import or_
from typing import Final, NamedTuple

_MAX_WAYS: Final = 10**9
"""More is as good as endless; keeps the numbers small."""
_MAX_LOOPS: Final = 50
"""More are as good as endless, too."""
MAX_STEPS: Final = 100_000
"""Ways tried on one text: a few milliseconds."""
MAX_TEXT: Final = 10_000
"""Characters of a text that is matched."""

OTHERS: Final = 1 << 256
ALL: Final = (1 << 257) - 1
"""All characters: a bit for each of the first 256, and one for the others."""


class Piece(NamedTuple):
    """A part of a pattern."""

    text: str
    """The part as `re` has it."""
    first: int = 0
    """Characters that it may begin with."""
    empty: bool = True
    """It may match nothing."""
    more: int = 0
    """Characters that it may still take after it could have stopped."""
    open_loops: int = 0
    """Endless repetitions that can still go on at its end."""
    open_ways: int = 1
    """Ways in which its counted repetitions can stop near its end."""
    loops: tuple[int, ...] = ()
    """Endless repetitions whose end is open, by the characters from which trying goes on."""
    ways: int = 1
    """Ways in which all others can go."""
    fixed_loops: bool = False
    """It has an endless repetition before its end that can stop at one place only."""
    repeated: int = 1
    """Product of its counts."""


NOTHING: Final = Piece("")


def one_of(text: str, characters: int) -> Piece:
    """A character of a set."""
    return Piece(text, first=characters, empty=False)


def joined(left: Piece, right: Piece) -> Piece:
    """One piece and then another."""
    clash = left.more & right.first != 0
    passes = right.empty
    end = left.more if passes else left.more & right.first
    return Piece(
        left.text + right.text,
        first=left.first | right.first if left.empty else left.first,
        empty=left.empty and right.empty,
        more=left.more | right.more if passes else right.more,
        open_loops=right.open_loops + (left.open_loops if passes and not clash else 0),
        open_ways=right.open_ways * (left.open_ways if passes and not clash else 1),
        loops=(left.loops + (end,) * (left.open_loops if clash else 0) + right.loops)[:_MAX_LOOPS],
        ways=min(left.ways * right.ways * (left.open_ways if clash else 1), _MAX_WAYS),
        fixed_loops=left.fixed_loops or right.fixed_loops or (left.open_loops > 0 and not (clash or passes)),
        repeated=max(left.repeated, right.repeated),
    )


def any_of(pieces: Sequence[Piece]) -> Piece:
    """One piece of several."""
    if len(pieces) == 1:
        return pieces[0]
    first = reduce(or_, (piece.first for piece in pieces))
    empty = any(piece.empty for piece in pieces)
    tells_apart = sum(piece.first for piece in pieces) == first
    return Piece(
        "|".join(piece.text for piece in pieces),
        first=first,
        empty=empty,
        more=reduce(or_, (piece.more for piece in pieces), first if empty else 0),
        open_loops=max(piece.open_loops for piece in pieces),
        open_ways=max(piece.open_ways for piece in pieces) * (len(pieces) if empty else 1),
        loops=tuple(reduce(or_, ends) for ends in zip_longest(*(piece.loops for piece in pieces), fillvalue=0)),
        ways=max(piece.ways for piece in pieces) * (1 if tells_apart else len(pieces)),
        fixed_loops=any(piece.fixed_loops for piece in pieces),
        repeated=max(piece.repeated for piece in pieces),
    )


def endless(piece: Piece, text: str, least: int) -> Piece | None:
    """A piece any number of times; None where one text could be divided among them in several ways."""
    if piece.empty or piece.ways > 1 or piece.loops or piece.more & piece.first:
        return None
    return piece._replace(
        text=text,
        empty=least == 0,
        more=piece.more | piece.first,
        open_loops=piece.open_loops + 1,
        repeated=piece.repeated * max(least, 1),
    )


def counted(piece: Piece, text: str, least: int, most: int) -> Piece:
    """A piece a number of times."""
    if most == 0:
        return NOTHING._replace(text="(?:)")
    clash = piece.more & piece.first != 0 and most > 1
    ways = min(piece.ways * (piece.open_ways if clash else 1), _MAX_WAYS)
    return piece._replace(
        text=text,
        empty=piece.empty or least == 0,
        more=piece.more | (piece.first if least < most else 0),
        open_ways=piece.open_ways * (most - least + 1),
        loops=((piece.loops + (piece.more,) * (piece.open_loops if clash else 0)) * most)[:_MAX_LOOPS],
        ways=min(ways**most, _MAX_WAYS),
        repeated=piece.repeated * most,
    )


class Cost:
    """Bound on the steps that a whole pattern takes."""

    def __init__(self, pattern: Piece) -> None:
        ends_at_once = not pattern.fixed_loops and (not pattern.open_loops or pattern.more == ALL)
        self._ways = pattern.ways
        self._loops = pattern.loops if ends_at_once or not pattern.loops else (*pattern.loops, ALL)
        self.any_text = bisect_right(range(MAX_TEXT + 1), MAX_STEPS, key=self._most_steps) - 1
        """Characters of the longest text that it is tried on, whatever is in it; -1: not even on none."""

    def _most_steps(self, length: int) -> int:
        return self._ways * comb(length + len(self._loops), len(self._loops))

    def allows(self, text: str) -> bool:
        """Tell whether it takes at most `MAX_STEPS` on this text."""
        if len(text) <= self.any_text:
            return True
        if len(text) > MAX_TEXT:
            return False
        codes = [min(ord(character), 256) for character in text]
        ends = (1 + sum(loop >> code & 1 for code in codes) for loop in self._loops[:-1])
        return self._ways * len(text) * prod(ends) <= MAX_STEPS
