"""Conditions on labels, as they stand within the braces of a selector, and their regular expressions.

Those are in RE2's syntax, match the whole of a text, and take bounded time.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Final, Literal

from ordinaut_ext_observability.promql.errors import BadQueryError, ExecutionError
from ordinaut_ext_observability.promql.regex_cost import NOTHING, Piece, any_of, joined, one_of, repeated

_CACHED_PATTERNS: Final = 256  # a query that is evaluated at many steps compiles its patterns once
_MAX_STEPS: Final = 100_000  # steps on one text: a few milliseconds
_MAX_OPEN: Final = 20  # repetitions whose end is open: more can be tried on texts of five characters at most
_MAX_REPEATED: Final = 1_000  # RE2's own bound on counts
_MAX_WIDE: Final = 65_536  # characters in all ranges of a pattern: `re` takes 5 ms to compile as many

_QUOTED: Final = re.compile(r"\\Q(.*?)(?:\\E|\Z)|\\.", re.DOTALL)
_QUANTIFIER: Final = r"(?:[*+?]|\{[0-9]+(?:,[0-9]*)?\})"
_ESCAPE: Final = r"(?:x\{[0-9A-Fa-f]+\}|x[0-9A-Fa-f]{2}|0[0-7]{0,2}|[1-7][0-7]{1,2}|.)"
_IN_SET: Final = r"(?:\[:\^?\w+:\]|\\.|[^\]\\])"
_TOKEN: Final = re.compile(
    rf"""
    \(\?(?P<flags>[is]+(?:-[is]+)?|-[is]+)\)
    |(?P<open>\((?:\?(?:P?<[A-Za-z_]\w*>|[is]*(?:-[is]+)?:)|(?!\?)))
    |(?P<bar>\|)
    |(?:
        (?P<close>\))
        |(?P<anchor>[$^]|\\[AzbB])
        |\[(?P<negated>\^?)(?P<set>(?:\]|{_IN_SET}){_IN_SET}*)\]
        |(?P<perl>\\[dswDSW])
        |(?P<character>(?!{_QUANTIFIER}|[(\[])(?:\\{_ESCAPE}|[^\\]))
    )
    (?P<quantifier>(?:(?P<sign>[*+?])|\{{(?P<least>[0-9]+)(?:(?P<comma>,)(?P<most>[0-9]*))?\}})\??)?
    (?!{_QUANTIFIER})
    """,
    re.VERBOSE | re.DOTALL | re.ASCII,
)
_ITEM: Final = re.compile(rf"(?P<named>\[:\^?\w+:\]|\\[dswDSW])|(?P<escape>\\{_ESCAPE})|[\[&~|]", re.DOTALL | re.ASCII)
_WIDE_RANGE: Final = re.compile(r"([^\\])-([^\x00-\xff])", re.DOTALL)
_PERL: Final = re.compile(r"\\[dwDWS]")
_COUNTS: Final[dict[str, tuple[int, int | None]]] = {"*": (0, None), "+": (1, None), "?": (0, 1)}
_ANCHORS: Final = {"^": r"\A", "$": r"\Z", r"\A": r"\A", r"\z": r"\Z", r"\b": r"(?a:\b)", r"\B": r"(?a:\B)"}
_SETS: Final = {
    r"\s": r"\t\n\f\r ",
    r"\S": r"\S\v",
    "[:alnum:]": "0-9A-Za-z",
    "[:alpha:]": "A-Za-z",
    "[:digit:]": "0-9",
    "[:lower:]": "a-z",
    "[:punct:]": r"!-/:-@\[-`{-~",
    "[:space:]": r"\t-\r ",
    "[:upper:]": "A-Z",
    "[:xdigit:]": "0-9A-Fa-f",
}
"""RE2's sets that `re` has not, as they stand within brackets."""
_CONTROLS: Final = dict(zip("aftnrv", "\a\f\t\n\r\v", strict=True))


class Regex:
    """A compiled pattern: `compile_regex("(.*)-bytes").fullmatch("rx-bytes")`.

    Raises BadQueryError where RE2 refuses it, or matching it may take too long.
    """

    def __init__(self, pattern: str) -> None:
        self._pattern = pattern
        try:
            text, self._piece = _Translator(pattern).translated()
            self._compiled = re.compile(text, re.DOTALL)
        except (ValueError, re.error, RecursionError, OverflowError) as error:
            raise BadQueryError(f"regular expression {pattern!r}: {error}") from None
        self._safe_length = bisect_right(range(_MAX_STEPS), _MAX_STEPS, key=self._piece.most_steps_on) - 1

    def fullmatch(self, text: str) -> re.Match[str] | None:
        """The match of the whole text, with its groups; None where it does not match.

        Raises ExecutionError where the text is so long that it may take too long.
        """
        if len(text) > self._safe_length and self._piece.most_steps(text) > _MAX_STEPS:
            raise ExecutionError(
                f"matching the regular expression {self._pattern!r} may take too long on a label of {len(text)}"
                f" characters; up to {self._safe_length} are safe, and more with fewer repetitions such as .*"
            )
        return self._compiled.fullmatch(text)


compile_regex: Final = lru_cache(_CACHED_PATTERNS)(Regex)
"""Compile a pattern, or take it from those compiled before."""


class _Group:
    """A group that is being read, or the whole pattern."""

    def __init__(self, opening: str) -> None:
        self.text = opening
        self.closing = ""
        self.alternatives: list[Piece] = []
        self.sequence = NOTHING


class _Translator:
    """Writes a pattern as `re` has it, and tells its cost; raises ValueError where it is refused."""

    def __init__(self, pattern: str) -> None:
        self._pattern = _QUOTED.sub(lambda found: found[0] if found[1] is None else re.escape(found[1]), pattern)
        self._groups = [_Group("")]

    def translated(self) -> tuple[str, Piece]:
        at = 0
        while at < len(self._pattern):
            token = _TOKEN.match(self._pattern, at)
            if token is None or (token["close"] and len(self._groups) == 1):
                raise ValueError(
                    f"RE2 has no {self._pattern[at : at + 3]!r} as at character {at + 1}, or it is not supported"
                )
            self._take(token)
            at = token.end()
        if len(self._groups) > 1:
            raise ValueError("missing closing )")
        text, piece = self._closed()
        if piece.ways > _MAX_STEPS or len(piece.open) > _MAX_OPEN:
            raise ValueError("this may take too long, it has too many ways")
        if sum(ord(high) - ord(low) for low, high in _WIDE_RANGE.findall(text)) > _MAX_WIDE:
            raise ValueError(f"sets of more than {_MAX_WIDE} characters")
        return text, piece

    def _take(self, token: re.Match[str]) -> None:
        group = self._groups[-1]
        if token["open"]:
            self._groups.append(_Group(token["open"].replace("(?<", "(?P<")))
        elif token["bar"]:
            group.alternatives.append(group.sequence)
            group.text, group.sequence = f"{group.text}|", NOTHING
        elif token["flags"]:
            if group.sequence is not NOTHING or group.alternatives:
                raise ValueError(f"{token[0]} is accepted at the beginning of a pattern or group only")
            group.text, group.closing = f"{group.text}(?{token['flags']}:", f"{group.closing})"
        else:
            text, piece = _quantified(token, *self._atom(token))
            group = self._groups[-1]
            group.text, group.sequence = group.text + text, joined(group.sequence, piece)

    def _closed(self) -> tuple[str, Piece]:
        group = self._groups.pop()
        return group.text + group.closing, any_of((*group.alternatives, group.sequence))

    def _atom(self, token: re.Match[str]) -> tuple[str, Piece]:
        if token["close"]:
            text, piece = self._closed()
            return f"{text})", piece
        if token["anchor"]:
            return _ANCHORS[token["anchor"]], NOTHING
        if token["character"]:
            text = "." if token[0][0] == "." else re.escape(_character(token["character"]))
        else:
            text = f"[{token['negated'] or ''}{_ITEM.sub(_item, token['set'] or token['perl'])}]"
            text = f"(?a:{text})" if _PERL.search(text) else text
        return text, one_of(text)


def _item(item: re.Match[str]) -> str:
    """A part of a set, as `re` has it where that differs."""
    name = item["named"]
    if name and name not in _SETS and not _PERL.match(name):
        raise ValueError(f"invalid or unsupported character class {name}")
    return _SETS.get(name, name) if name else re.escape(_character(item[0]))


def _quantified(token: re.Match[str], text: str, piece: Piece) -> tuple[str, Piece]:
    if not token["quantifier"]:
        return text, piece
    least, most = _COUNTS.get(token["sign"]) or (int(token["least"]), int(token["most"] or token["least"]))
    if token["comma"] and not token["most"]:
        most = None
    if max(least, most or 0) > _MAX_REPEATED or (most is not None and most < least):
        raise ValueError(f"invalid repeat count {token['quantifier']}")
    if (several := repeated(piece, least, most)) is None:
        raise ValueError(
            f"{token['quantifier']} repeats what can match one text in several ways, which may take too long; repeat a"
            " set such as [a-z.]*, or let each alternative begin with a character of its own"
        )
    return f"(?:{text}){token['quantifier']}", several


def _character(text: str) -> str:
    """The character, which may be escaped."""
    if len(text) == 1:
        return text
    name = text[1]
    if len(text) > 2 or name == "0":
        return chr(int(text[2:].strip("{}"), 16) if name == "x" else int(text[1:], 8))
    if name in _CONTROLS:
        return _CONTROLS[name]
    if name.isalnum() or not name.isascii():
        raise ValueError(f"invalid escape sequence {text}; classes of Unicode are not supported")
    return name


MatchOperator = Literal["=", "!=", "=~", "!~"]


@dataclass(frozen=True, slots=True)
class LabelMatcher:
    """A condition on the value of one label: `LabelMatcher("code", "=~", "5..").matches("503")`.

    A label that a series does not have is empty. Raises what `compile_regex` raises.
    """

    name: str
    operator: MatchOperator
    value: str
    _accepts: Callable[[str], object] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        accepts = compile_regex(self.value).fullmatch if "~" in self.operator else self.value.__eq__
        object.__setattr__(self, "_accepts", accepts)

    @property
    def equal_to(self) -> str | None:
        """The value, where only one will do."""
        return self.value if self.operator == "=" else None

    def matches(self, value: str) -> bool:
        """Tell whether the label may have this value. Raises ExecutionError where that may take too long."""
        return bool(self._accepts(value)) != ("!" in self.operator)
