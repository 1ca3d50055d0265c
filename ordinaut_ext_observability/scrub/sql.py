"""SQL as tokens, and statements as they may be shown: literals are `?`, comments are gone, the rest is cut.

Enough of PostgreSQL's lexical rules that quotes and comments are never taken for SQL:
https://www.postgresql.org/docs/current/sql-syntax-lexical.html
"""

from __future__ import annotations

import re
from collections.abc import Iterator

MAX_SHOWN = 300
"""Longest statement shown, in characters."""

WORD, SYMBOL, LITERAL, QUOTED, PARAMETER, UNSURE = range(1, 7)
"""Kinds of tokens: a literal is a number or a string, a quoted one a name in double quotes.

Unsure is a string or quoted name that is cut off, and a string whose end depends on the session's
`standard_conforming_strings`, since a backslash is before a quote: it ends here as if that is on, the default.
"""
_DOLLAR, _COMMENT, _OTHER = range(7, 10)
"""Groups of the pattern that are no kinds: the beginnings of strings and comments, a symbol that is none before."""

# Every repetition is possessive: nothing is tried twice, so the time is linear in the text. The frequent come first.
_TOKEN = re.compile(
    r"""
    \s*+ (?:
      ( (?!(?:[eEbBxXnN]|[uU]&)'|[uU]&")[^\W\d][\w$]*+ )
    | ( [^\s\w'"$/.-] )
    | ( \.?\d(?:[eE][+-]?\d|[\w.])*+
      | [eE]'(?:[^'\\]++|\\.|'')*+'
      | (?:[bBxXnN]|[uU]&)?'(?:[^'\\]++|''|\\[^'])*+' )
    | ( (?:[uU]&)?"(?:[^"]++|"")*+" )
    | ( \$\d++ )
    | ( [eE]'.*+ | (?:[bBxXnN]|[uU]&)?'(?:[^']++|'')*+'?+ | (?:[uU]&)?".*+ )
    | ( \$(?:[^\W\d]\w*+)?+\$ )
    | ( /\* )
    | --[^\r\n]*+
    | ( . )
    )
    """,
    re.VERBOSE | re.DOTALL,
)
_COMMENT_EDGE = re.compile(r"/\*|\*/")
_LIST = re.compile(r"\(\s*\?(?:\s*,\s*\?)+\s*\)")


def read_tokens(text: str) -> Iterator[tuple[int, int, int]]:
    """Kind, start and end of each token; between them are spaces and comments."""
    position, next_token = 0, _TOKEN.match
    while found := next_token(text, position):
        kind, position = found.lastindex, found.end()
        if kind is None:  # a comment to the end of its line
            continue
        start = found.start(kind)
        if kind == _COMMENT:
            position = _end_of_comment(text, position)
            continue
        if kind == _DOLLAR:
            closing = text.find(text[start:position], position)
            kind = UNSURE if closing < 0 else LITERAL
            position = len(text) if closing < 0 else closing + position - start
        elif kind == _OTHER:
            kind = SYMBOL
        yield kind, start, position


def normalised(statement: str, limit: int = MAX_SHOWN) -> str:
    """The statement on one line without its literals and comments, of at most `limit` characters.

    An unsure token takes the rest of the statement with it: nothing that may be a value is shown.
    """
    parts: list[str] = []
    end = 0
    for kind, start, after in read_tokens(statement):
        if start > end:
            parts.append(" ")
        end = after
        if kind == UNSURE:
            parts.append("?…")
            break
        parts.append("?" if kind == LITERAL else statement[start:after])
    text = _LIST.sub("(?, …)", " ".join("".join(parts).split()))
    return text if len(text) <= limit else text[: limit - 1] + "…"


def _end_of_comment(text: str, position: int) -> int:
    """The end of the comment that was opened before this position: comments nest, one without an end takes the rest."""
    depth = 1
    while depth:
        edge = _COMMENT_EDGE.search(text, position)
        if edge is None:
            return len(text)
        depth += 1 if edge[0] == "/*" else -1
        position = edge.end()
    return position
