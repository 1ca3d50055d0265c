"""Sets of characters: as ranges of codes, and as bits to compare them by."""

from __future__ import annotations

from typing import Final

from ordinaut_ext_observability.promql.regex_cost import ALL

LAST: Final = 0x10FFFF

Ranges = tuple[tuple[int, int], ...]
"""First and last codes, both included."""

_DIGITS, _UPPER, _LOWER = (48, 57), (65, 90), (97, 122)
CLASSES: Final[dict[str, Ranges]] = {
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
"""Perl's classes, named by a letter, and POSIX's."""


def complement(ranges: Ranges) -> Ranges:
    """All other characters."""
    gaps, begin = [], 0
    for low, high in (*sorted(ranges), (LAST + 1, LAST + 1)):
        if begin < low:
            gaps.append((begin, low - 1))
        begin = max(begin, high + 1)
    return tuple(gaps)


def _with_other_case(mask: int) -> int:
    letters = (1 << 26) - 1
    upper, lower = mask >> 65 & letters, mask >> 97 & letters
    mask |= (upper | lower) << 65 | (upper | lower) << 97
    if upper | lower or mask >> 128:
        mask |= ALL ^ ((1 << 128) - 1)  # such as K, the sign of Kelvin
    return mask


def bits_of(ranges: Ranges, *, ignore_case: bool) -> int:
    """The set as bits: one for each of the first 256 characters, and one for the others."""
    mask = 0
    for low, high in ranges:
        mask |= (1 << min(high, 256) + 1) - (1 << min(low, 256))
    return _with_other_case(mask) if ignore_case else mask
