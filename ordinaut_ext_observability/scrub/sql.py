"""Statements as they may be shown: literals are `?`, comments are gone, the rest is cut.

What cannot be told apart safely (a string cut off in its middle, a backslash before a quote) takes the rest of the
statement with it: nothing that may be a value is shown.
"""

from __future__ import annotations

import re

MAX_SHOWN = 300
"""Longest statement shown, in characters."""

HIDDEN = "<insufficient privilege>"
"""What PostgreSQL shows instead of another role's statement."""

_TOKEN = re.compile(
    r"""
    (?P<line_comment>--[^\n]*)
  | (?P<block_comment>/\*)
  | (?P<dollar>\$(?:[^\W\d]\w*)?\$)
  | (?P<parameter>\$\d+)
  | (?P<escaped>[eE]')
  | (?P<string>(?:[bBxXnN]|[uU]&)?')
  | (?P<quoted>")
  | (?P<word>[^\W\d][\w$]*)
  | (?P<number>\.?\d(?:[eE][+-]?\d|[\w.])*)
  | (?P<space>\s+)
  | (?P<other>.)
    """,
    re.VERBOSE | re.DOTALL,
)
_CLOSINGS = {
    "string": re.compile(r"[^'\\]*(?:(?:''|\\[^'])[^'\\]*)*'"),
    "escaped": re.compile(r"[^'\\]*(?:(?:''|\\.)[^'\\]*)*'", re.DOTALL),
    "quoted": re.compile(r'[^"]*(?:""[^"]*)*"'),
}
"""The rest of a token that has an end of its own. In a plain string a backslash before a quote is no match: whether it
ends the string depends on the session's standard_conforming_strings."""
_COMMENT_EDGE = re.compile(r"/\*|\*/")
_LIST = re.compile(r"\(\s*\?(?:\s*,\s*\?)+\s*\)")


def normalised(statement: str, limit: int = MAX_SHOWN) -> str:
    """The statement on one line without its literals and comments, of at most `limit` characters."""
    parts: list[str] = []
    position = 0
    while position < len(statement):
        token = _TOKEN.match(statement, position)
        if token is None:  # cannot be: the last alternative takes anything
            break
        position, part = _shown(statement, token)
        parts.append(part)
    text = _LIST.sub("(?, …)", " ".join("".join(parts).split()))
    return text if len(text) <= limit else text[: limit - 1] + "…"


def _shown(statement: str, token: re.Match[str]) -> tuple[int, str]:
    """Where the token that starts here ends, and what is shown of it."""
    kind, end = token.lastgroup, token.end()
    if kind == "block_comment":
        return _end_of_comment(statement, end), " "
    if kind in _CLOSINGS:
        closing = _CLOSINGS[kind].match(statement, end)
        ends, shown = closing.end() if closing else len(statement), "?" if closing else "?…"
        return ends, statement[token.start() : ends] if kind == "quoted" and closing else shown
    if kind == "dollar":
        closing_at = statement.find(token.group(), end)
        return (closing_at + len(token.group()), "?") if closing_at >= 0 else (len(statement), "?…")
    return end, {"number": "?", "line_comment": " ", "space": " "}.get(kind or "", token.group())


def _end_of_comment(statement: str, position: int) -> int:
    """Where a comment ends whose start was read; comments nest, and one without an end takes the rest."""
    depth = 1
    while depth:
        edge = _COMMENT_EDGE.search(statement, position)
        if edge is None:
            return len(statement)
        depth += 1 if edge.group() == "/*" else -1
        position = edge.end()
    return position
