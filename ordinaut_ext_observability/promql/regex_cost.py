"""Pieces of a regular expression, and how much Python's `re` may try: it goes one way after the other.

A repetition that ends at one place only costs nothing: what follows it is a character that it cannot take, as in
`[^/]+/`. Any other is open, as is the first in `.*/.*`: it is tried with each end, and the rest again from there.

A group may be repeated if there is one way to go through it: its alternatives begin with different characters, it has
no open repetition, and none at its end that takes the character with which the next round begins.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache
from itertools import zip_longest
from math import comb, prod
from typing import Final, NamedTuple

Characters = frozenset[str]

_ASCII: Final = "".join(map(chr, range(128)))
_BEYOND_ASCII: Final = ""  # stands in sets for all other characters: as many of it are in a text as may be of them
_ALL: Final = frozenset((*_ASCII, _BEYOND_ASCII))
_NONE: Final[Characters] = frozenset()


class Piece(NamedTuple):
    """A part of a pattern."""

    first: Characters = _NONE
    """Characters that it may begin with."""
    empty: bool = True
    """It may match nothing."""
    tail: tuple[Characters, ...] = ()
    """Characters that each repetition at its end may still take."""
    open: tuple[Characters, ...] = ()
    """Open repetitions, by the characters from which the rest is tried."""
    scans: bool = False
    """It has other repetitions than `.*`, which ends at once at the end of a pattern: each try goes through them."""
    ways: int = 1
    """Product of the alternatives that may be tried at one place."""

    @property
    def loops(self) -> tuple[Characters, ...]:
        """Open repetitions if this is the whole pattern, with one for what each try goes through."""
        return (*self.open, _ALL) if self.scans else self.open

    def most_steps_on(self, length: int) -> int:
        """Bound on what is tried on any text of this length."""
        return self.ways * comb(length + len(self.loops), len(self.loops))

    def most_steps(self, text: str) -> int:
        """Bound on what is tried on this text: it goes on from those characters only that may follow."""
        return self.ways * len(text) * prod(1 + sum(map(text.count, stops)) for stops in self.loops[:-1])


NOTHING: Final = Piece()


@lru_cache(1_000)
def one_of(text: str) -> Piece:
    """A character of a set, in whatever case."""
    found = frozenset(re.findall(text, _ASCII, re.DOTALL | re.IGNORECASE))
    beyond = text == "." or not text.isascii() or "[^" in text or re.search(r"\\[DSW]", text)
    if beyond or found & {"i", "k", "s"}:  # these have other cases beyond ASCII
        found |= {_BEYOND_ASCII}
    return Piece(found, empty=False)


def joined(left: Piece, right: Piece) -> Piece:
    """One piece and then another."""
    going = tuple(taken for taken in left.tail if not taken & right.first)
    stops = _ALL if right.empty else right.first
    return Piece(
        first=left.first | right.first if left.empty else left.first,
        empty=left.empty and right.empty,
        tail=(*going, *right.tail) if right.empty else right.tail,
        open=(*left.open, *[stops] * (len(left.tail) - len(going)), *right.open),
        scans=left.scans or right.scans,
        ways=left.ways * right.ways,
    )


def any_of(pieces: Sequence[Piece]) -> Piece:
    """One piece of several."""
    if len(pieces) == 1:
        return pieces[0]
    first = _NONE.union(*(piece.first for piece in pieces))
    empty = any(piece.empty for piece in pieces)
    one_way = sum(len(piece.first) for piece in pieces) == len(first) and not empty
    return Piece(
        first=first,
        empty=empty,
        tail=_together([piece.tail for piece in pieces]),
        open=_together([piece.open for piece in pieces]),
        scans=any(piece.scans for piece in pieces),
        ways=(max if one_way else sum)(piece.ways for piece in pieces),
    )


def _together(alternatives: Sequence[tuple[Characters, ...]]) -> tuple[Characters, ...]:
    return tuple(_NONE.union(*each) for each in zip_longest(*alternatives, fillvalue=_NONE))


def repeated(piece: Piece, least: int, most: int | None) -> Piece | None:
    """A piece some times; None where there may be several ways to go through it."""
    if most is not None and most < 2:
        return piece if least else any_of((piece, NOTHING)) if most else NOTHING
    if piece.empty or piece.ways > 1 or piece.open or any(taken & piece.first for taken in piece.tail):
        return None
    goes_on = () if most == least else (piece.first,)
    scans = piece.scans or most is not None or piece != one_of(".")
    return piece._replace(empty=least == 0, tail=piece.tail + goes_on, scans=scans)
