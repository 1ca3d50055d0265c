"""The first pass: which kinds a text may hold, in one run over it with RE2, else one run for each with `re`."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from functools import cache

from ordinaut_ext_observability.scrub.patterns import KINDS

Prefilter = Callable[[str], Sequence[int]]
"""Gives the numbers of the kinds that a text may hold."""


@cache
def shared_prefilter() -> Prefilter:
    """The faster of the two that there is, made once; both say the same."""
    try:
        return with_re2()
    except ImportError:
        return with_re()


def with_re2() -> Prefilter:
    """All kinds at once, in time that is linear in the text. Raises ImportError without `google-re2`."""
    import re2

    options = re2.Options()
    options.encoding = re2.Options.Encoding.LATIN1  # bytes are compared: any text will do, also what is no Unicode
    one_of = re2.Set.SearchSet(options)
    for kind in KINDS:
        one_of.Add(kind.hint)
    one_of.Compile()
    # The wrapper around this takes a tenth of the time, for what is not needed here.
    match: Callable[[bytes], list[int]] = getattr(one_of, "_set", one_of).Match
    return lambda text: match(text.encode("utf-8", "surrogatepass"))


def with_re() -> Prefilter:
    """One after the other: their repetitions are bounded, since `re` may try them again from every character."""
    searches = [(number, kind.needs.split() or [""], re.compile(kind.hint)) for number, kind in enumerate(KINDS)]

    def match(text: str) -> list[int]:
        has = text.lower().__contains__
        return [number for number, needs, hint in searches if any(map(has, needs)) and hint.search(text)]

    return match
