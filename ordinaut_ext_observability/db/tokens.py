"""SQL as tokens: enough of PostgreSQL's lexical rules that quotes and comments are never taken for SQL.

Reference: https://www.postgresql.org/docs/current/sql-syntax-lexical.html
"""

from __future__ import annotations

import re

# Every repetition is possessive: nothing is tried twice, so the time is linear in the text. The frequent come first.
_TOKEN = re.compile(
    r"""
    \s*+ (?:
      ( (?!(?:[eE]'|[uU]&"))[^\W\d][\w$]*+ )
    | ( [^\s\w'"$/-] )
    | ( \d[\w.]*+ | [eE]'(?:[^'\\]++|\\.|'')*+'?+ | '(?:[^']++|'')*+'?+ )
    | ( (?:[uU]&)?+"(?:[^"]++|"")*+"?+ )
    | ( \$(?:[^\W\d]\w*+)?+\$ )
    | ( /\* )
    | --[^\r\n]*+
    | ( . )
    )
    """,
    re.VERBOSE | re.DOTALL,
)
_WORD, _SYMBOL, _LITERAL, _QUOTED, _DOLLAR, _COMMENT, _OTHER_SYMBOL = range(1, 8)
_COMMENT_EDGE = re.compile(r"/\*|\*/")
_UNICODE_ESCAPE = re.compile(r"\\(?:(\\)|([0-9a-fA-F]{4})|\+([0-9a-fA-F]{6}))")
_TO_LOWER = str.maketrans({chr(code): chr(code + 32) for code in range(ord("A"), ord("Z") + 1)})


class Tokens:
    """The tokens of a text and where its parentheses close."""

    __slots__ = ("_complete", "_kinds", "_values", "closing", "count")

    def __init__(self, text: str, *, complete: bool = True) -> None:
        """`complete` is false where the text is the beginning of a longer one."""
        self._complete = complete
        self._kinds: list[int] = []
        """For each token `_WORD`, `_QUOTED`, `_SYMBOL` or `_LITERAL`."""
        self._values: list[str] = []
        """A word as PostgreSQL folds it, a quoted name without its quotes, a symbol; nothing for a literal."""
        self._read(text)
        self.count = len(self._kinds)
        self.closing = self._pairs()
        """The index of each opening parenthesis' closing one; the number of tokens where there is none."""

    def word(self, index: int) -> str:
        """The word at this index, or nothing when it is not a word."""
        return self._values[index] if self._is(index, _WORD) else ""

    def symbol(self, index: int) -> str:
        """The symbol at this index, or nothing when it is not a symbol."""
        return self._values[index] if self._is(index, _SYMBOL) else ""

    def identifier(self, index: int) -> str:
        """The name at this index, quoted or not, or nothing."""
        return self._values[index] if self._is(index, _WORD) or self._is(index, _QUOTED) else ""

    def qualified_name(self, index: int) -> tuple[str, int]:
        """The last part of the dotted name that begins here, and the index after it.

        There is no name where the text may have been cut off inside of it.
        """
        while self.symbol(index + 1) == "." and self.identifier(index):
            index += 2
        name = self.identifier(index)
        if index + 1 >= self.count and not self._complete:
            name = ""
        return name, index + 1

    def _is(self, index: int, kind: int) -> bool:
        return index < self.count and self._kinds[index] == kind

    def _read(self, text: str) -> None:
        position = 0
        add_kind, add_value, next_token = self._kinds.append, self._values.append, _TOKEN.match
        while found := next_token(text, position):
            position = found.end()
            kind = found.lastindex
            if kind is None:
                continue
            value = found[kind]
            if kind == _WORD:
                value = value.lower() if value.isascii() else value.translate(_TO_LOWER)
            elif kind > _SYMBOL:
                kind, value, position = _rare(text, kind, value, position)
                if not kind:
                    continue
            add_kind(kind)
            add_value(value)

    def _pairs(self) -> dict[int, int]:
        opened: list[int] = []
        closing = {}
        for index, value in enumerate(self._values):
            if value == "(" and self._kinds[index] == _SYMBOL:
                opened.append(index)
            elif value == ")" and opened and self._kinds[index] == _SYMBOL:
                closing[opened.pop()] = index
        return closing | dict.fromkeys(opened, self.count)


def _rare(text: str, kind: int, value: str, position: int) -> tuple[int, str, int]:
    """The token's kind, its value and where it ends; no kind for a comment."""
    if kind == _QUOTED:
        return _QUOTED, _unquoted(value), position
    if kind == _OTHER_SYMBOL:
        return _SYMBOL, value, position
    if kind == _COMMENT:
        return 0, "", _comment_end(text, position)
    if kind == _DOLLAR:
        end = text.find(value, position)
        position = len(text) if end < 0 else end + len(value)
    return _LITERAL, "", position


def _comment_end(text: str, position: int) -> int:
    """Where the comment ends that was opened before this position; comments nest."""
    depth = 1
    while depth:
        edge = _COMMENT_EDGE.search(text, position)
        if edge is None:
            return len(text)
        depth += 1 if edge[0] == "/*" else -1
        position = edge.end()
    return position


def _unquoted(quoted: str) -> str:
    """The name that was quoted; nothing when it is not one PostgreSQL would take."""
    prefix, _, rest = quoted.partition('"')
    name = rest.removesuffix('"').replace('""', '"')
    if not prefix:
        return name
    try:
        return _UNICODE_ESCAPE.sub(lambda found: found[1] or chr(int(found[2] or found[3], 16)), name)
    except ValueError:  # beyond the last character there is
        return ""
