"""From the text of a statement to what it does and to which table.

Both become labels, so they come from the structure of the statement and never from the values in it: the operation is
one of `OPERATIONS`, the table a name in the place where the grammar has a table's name, without its schema.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, NamedTuple, TypeVar

from ordinaut_ext_observability.db.tokens import Tokens

MAX_CHARACTERS = 4096
"""Only so much of a text is looked at: what a statement does is said at its beginning."""

MAX_TABLE_LENGTH = 63
"""The longest name PostgreSQL keeps."""

MAX_CACHED_TEXTS = 1024
MAX_CACHED_CHARACTERS = 1_000_000

_MAX_HOPS = 8
"""Subqueries and common table expressions followed until there is a table."""

_BY_VERB = {
    **dict.fromkeys(("select", "values", "table"), "select"),
    **{verb: verb for verb in ("insert", "update", "delete", "merge", "copy", "truncate")},
    **dict.fromkeys(
        ("begin", "start", "commit", "end", "rollback", "abort", "savepoint", "release"),
        "transaction",
    ),
    **dict.fromkeys(
        ("create", "alter", "drop", "comment", "grant", "revoke", "reindex", "refresh", "security", "import"), "ddl"
    ),
    **dict.fromkeys(("set", "reset", "show", "discard"), "setting"),
}
OPERATIONS = frozenset({*_BY_VERB.values(), "explain", "other"})
"""What a statement can be found to do."""

_WITH_TARGET = frozenset({"insert", "update", "delete", "merge", "copy", "truncate"})
_BEFORE_TARGET = frozenset({"into", "from", "only", "table"})
_MAIN_VERBS = frozenset({"select", "values", "table", "insert", "update", "delete", "merge"})


class _Expression(NamedTuple):
    """A common table expression: where its query is."""

    start: int
    end: int
    recursive: bool


Expressions = dict[str, _Expression]


class Statement(NamedTuple):
    """What a statement does."""

    operation: str
    table: str
    """Empty when there is none, when it is a function, or when it cannot be told."""


def describe_statement(text: str) -> Statement:
    """What this statement does; of several, what the first one does. Never raises for any text."""
    tokens = Tokens(text[:MAX_CHARACTERS], complete=len(text) <= MAX_CHARACTERS)
    at = _skip(tokens, 0, ";(")
    explained = tokens.word(at) == "explain"
    while tokens.word(at) == "explain":
        at = _after_explain(tokens, at)
    expressions: Expressions = {}
    if tokens.word(at) == "with":
        at = _skip(tokens, _after_expressions(tokens, at, tokens.count, expressions), "(")
    verb = tokens.word(at)
    operation = _BY_VERB.get(verb, "other")
    if verb == "prepare" and tokens.word(at + 1) == "transaction":
        operation = "transaction"
    table = ""
    if operation == "select" or (verb == "copy" and tokens.symbol(at + 1) == "("):
        table = _queried_table(tokens, at if operation == "select" else at + 1, expressions)
    elif operation in _WITH_TARGET:
        table = _target(tokens, at)
    return Statement("explain" if explained else operation, usable_table(table))


def usable_table(name: object) -> str:
    """The part of a table's name that a label takes, or nothing."""
    if not isinstance(name, str):
        return ""
    cut = name[:MAX_TABLE_LENGTH]
    return cut if cut.isprintable() else ""


def _skip(tokens: Tokens, at: int, symbols: str) -> int:
    while (symbol := tokens.symbol(at)) and symbol in symbols:
        at += 1
    return at


def _after_explain(tokens: Tokens, at: int) -> int:
    """The beginning of the statement to be explained."""
    at += 1
    if tokens.symbol(at) == "(" and tokens.word(at + 1) not in {"select", "with", "values", "table", ""}:
        return tokens.closing[at] + 1
    while tokens.word(at) in {"analyze", "analyse", "verbose"}:
        at += 1
    return _skip(tokens, at, "(")


def _after_expressions(tokens: Tokens, at: int, end: int, expressions: Expressions) -> int:
    """Where the statement after WITH begins; on the way, where each common table expression's query is."""
    previous, name = "with", ""
    at += 1
    recursive = tokens.word(at) == "recursive"
    while at < end:
        word, symbol = tokens.word(at), tokens.symbol(at)
        if symbol == "(":
            if previous == ")":
                return at
            if previous in {"as", "materialized"}:
                expressions.setdefault(name, _Expression(at + 1, tokens.closing[at], recursive))
            previous, at = ")", tokens.closing[at] + 1
            continue
        if previous in {"with", "recursive", ","}:
            name = tokens.identifier(at)
        elif word in _MAIN_VERBS or symbol == ";":
            return at
        # A name that is spelled like a keyword must not be taken for it: only `recursive` follows `with`.
        named = previous in {"with", "recursive", ","} and not (previous == "with" and word == "recursive")
        previous = "" if named else word or symbol
        at += 1
    return end


def _target(tokens: Tokens, verb_at: int) -> str:
    """The table that a statement with this verb changes."""
    at = verb_at + 1
    while tokens.word(at) in _BEFORE_TARGET:
        at += 1
    if tokens.word(at - 1) == "only":
        at = _skip(tokens, at, "(")
    return tokens.qualified_name(at)[0]


def _queried_table(tokens: Tokens, at: int, expressions: Expressions) -> str:
    """The first table a query reads, through its subqueries and common table expressions."""
    end = tokens.count
    followed: set[str] = set()
    for _ in range(_MAX_HOPS):
        at, end = _enter(tokens, at, end)
        if tokens.word(at) == "with":
            at, end = _enter(tokens, _after_expressions(tokens, at, end, expressions), end)
        verb = tokens.word(at)
        if verb in _WITH_TARGET or verb == "table":
            return _target(tokens, at)
        if verb != "select":
            return ""
        at, end = _enter(tokens, _source(tokens, at + 1, end), end)
        if at >= end:
            return ""
        if tokens.word(at) in {"select", "with", "values"}:
            continue
        name, after = tokens.qualified_name(at)
        if tokens.symbol(after) == "(" or (name, tokens.word(after)) == ("rows", "from"):
            return ""  # a function
        if after != at + 1 or name not in expressions:
            return "" if name in followed else name
        at, end, recursive = expressions.pop(name)
        if recursive:  # otherwise the same name inside of it is a table's
            followed.add(name)
    return ""


def _enter(tokens: Tokens, at: int, end: int) -> tuple[int, int]:
    """The inside of the parentheses that open here."""
    while at < end and tokens.symbol(at) == "(":
        end = min(end, tokens.closing[at])
        at += 1
    return at, end


def _source(tokens: Tokens, at: int, end: int) -> int:
    """Where the first item after FROM begins; the end where there is no FROM."""
    while at < end and tokens.symbol(at) != ";":
        if tokens.symbol(at) == "(":
            at = tokens.closing[at]
        elif tokens.word(at) == "from" and not _compares(tokens, at):
            at += 1
            while tokens.word(at) in {"only", "lateral"}:
                at += 1
            return at
        at += 1
    return end


def _compares(tokens: Tokens, at: int) -> bool:
    """Whether this FROM is the one of IS [NOT] DISTINCT FROM."""
    return tokens.word(at - 1) == "distinct" and tokens.word(at - 2) in {"is", "not"}


ValueT = TypeVar("ValueT")


class StatementCache(Generic[ValueT]):
    """What was made for each text, so that a text is looked at once. Bounded: when it is full it begins anew."""

    __slots__ = ("_characters", "_known", "_make")

    def __init__(self, make: Callable[[Statement], ValueT]) -> None:
        self._make = make
        self._known: dict[str, ValueT] = {}
        self._characters = 0

    def get(self, text: str) -> ValueT:
        """What is made of this text's description."""
        found = self._known.get(text)
        return found if found is not None else self._add(text)

    def __len__(self) -> int:
        return len(self._known)

    def _add(self, text: str) -> ValueT:
        # What comes after the part that is looked at makes no difference, and is not kept.
        kept = text[:MAX_CHARACTERS]
        known = self._known.get(kept) if len(text) > MAX_CHARACTERS else None
        if known is not None:
            return known
        made = self._make(describe_statement(text))
        if len(self._known) >= MAX_CACHED_TEXTS or self._characters + len(kept) > MAX_CACHED_CHARACTERS:
            self._known, self._characters = {}, 0
        self._known[kept] = made
        self._characters += len(kept)
        return made
