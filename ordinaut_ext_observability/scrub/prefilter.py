"""The first pass: which kinds a text may hold, in one run over it with RE2, else one run for each with `re`."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

Prefilter = Callable[[str], Sequence[int]]
"""Gives the numbers of the patterns that a text may match."""


def make_prefilter(patterns: Sequence[str]) -> Prefilter:
    """The faster of the two that there is; both say the same."""
    try:
        return with_re2(patterns)
    except ImportError:
        return with_re(patterns)


def with_re2(patterns: Sequence[str]) -> Prefilter:
    """All patterns at once, in time that is linear in the text. Raises ImportError without `google-re2`."""
    import re2

    options = re2.Options()
    options.encoding = re2.Options.Encoding.LATIN1  # bytes are compared: any text will do, also what is no Unicode
    options.log_errors = False
    one_of = re2.Set.SearchSet(options)
    for pattern in patterns:
        one_of.Add(pattern)
    one_of.Compile()
    # The wrapper around this takes a tenth of the time, for what is not needed here.
    match: Callable[[bytes], list[int]] = getattr(one_of, "_set", one_of).Match
    return lambda text: match(text.encode("utf-8", "surrogatepass"))


def with_re(patterns: Sequence[str]) -> Prefilter:
    """One after the other: their repetitions are bounded, since `re` may try them again from every character."""
    searches = [(number, re.compile(pattern).search) for number, pattern in enumerate(patterns)]
    return lambda text: [number for number, search in searches if search(text)]
