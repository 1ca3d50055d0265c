"""From the text of a statement to what it does and to which table.

Both become labels, so they come from the structure of the statement and never from the values in it: the operation is
one of `OPERATIONS`, the table a name in a place where the grammar has a table's name, without its schema.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from ordinaut_ext_observability.metrics.family import HistogramChild
from ordinaut_ext_observability.scrub.sql import QUOTED, SYMBOL, read_tokens

MAX_CHARACTERS = 4096
"""Only so much of a text is looked at: what a statement does is said at its beginning."""

MAX_TABLE_LENGTH = 63
"""The longest name PostgreSQL keeps."""

_WITH_TARGET = frozenset({"insert", "update", "delete", "merge", "copy", "truncate"})
_VERBS = {
    **{verb: verb for verb in _WITH_TARGET},
    "select": "select values table",
    "transaction": "begin start commit end rollback abort savepoint release",
    "ddl": "create alter drop comment grant revoke reindex refresh security import",
    "setting": "set reset show discard",
}
_BY_VERB = {verb: operation for operation, verbs in _VERBS.items() for verb in verbs.split()}
OPERATIONS = frozenset({*_VERBS, "explain", "other"})
"""All that a statement can be found to do."""

_QUERY = frozenset({"select", "values", "table", "insert", "update", "delete", "merge", "with"})
"""Words that a query begins with."""
_NAMING = _WITH_TARGET | {"table"}
"""After these a table is named where a statement or parentheses begin; after FROM and JOIN anywhere."""
_BEFORE_NAME = frozenset({"into", "from", "only", "table", "lateral", "("})

_LITERAL, _CUT, _NOTHING = "'", "…'", ""
"""Tokens that are no name, word or symbol: a value, the end of a text that goes on, the end of a text."""

_UNICODE_ESCAPE = re.compile(r"\\(?:(\\)|([0-9a-fA-F]{4})|\+([0-9a-fA-F]{6}))")
_TO_LOWER = str.maketrans({chr(code): chr(code + 32) for code in range(ord("A"), ord("Z") + 1)})


@dataclass(slots=True)
class Statement:
    """Operation and table of a statement."""

    operation: str
    table: str
    """The first one named that is no common table expression, in the statement itself or else in those expressions;
    empty when there is none or it cannot be told."""
    duration: HistogramChild | None = field(default=None, compare=False, repr=False)
    """The series its executions are counted in, once there is one."""


def describe_statement(text: str) -> Statement:
    """Tell what this statement does, of several the first one. Never raises for any text."""
    tokens = _tokens(text)
    at = next(index for index, token in enumerate(tokens) if token not in {";", "("})
    explained = tokens[at] == "explain"
    while explained and tokens[at] and tokens[at] not in _QUERY:
        at += 1
    expressions = _expressions(tokens) if "with" in tokens else set()
    main = _after_with(tokens, at) if tokens[at] == "with" else at
    operation = _BY_VERB.get(tokens[main], "other")
    if tokens[main : main + 2] == ["prepare", "transaction"]:
        operation = "transaction"
    table = ""
    if operation == "select" or operation in _WITH_TARGET:
        table = _first_table(tokens, main, len(tokens), expressions) or _first_table(tokens, at, main, expressions)
    return Statement("explain" if explained else operation, usable_table(table))


def usable_table(name: object) -> str:
    """The part of a table's name that a label takes, or nothing."""
    cut = name[:MAX_TABLE_LENGTH] if isinstance(name, str) else ""
    return cut if cut.isprintable() else ""


def _tokens(text: str) -> list[str]:
    """Words as PostgreSQL folds them, symbols, names in double quotes after such a quote; then how the text ends."""
    looked_at = text[:MAX_CHARACTERS]
    tokens = []
    for kind, start, end in read_tokens(looked_at):
        if kind <= SYMBOL:
            token = looked_at[start:end]
            tokens.append(token.lower() if token.isascii() else token.translate(_TO_LOWER))
        else:
            tokens.append('"' + _unquoted(looked_at[start:end]) if kind == QUOTED else _LITERAL)
    return [*tokens, _NOTHING if len(text) <= MAX_CHARACTERS else _CUT, _NOTHING, _NOTHING]


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


def _identifier(token: str) -> str:
    return token[1:] if token.startswith('"') else token if token[:1].isalpha() or token[:1] == "_" else ""


def _expressions(tokens: list[str]) -> set[str]:
    """The names of all common table expressions: those before AS and a query in parentheses."""
    names: set[str] = set()
    opened: list[int] = []
    before: dict[int, int] = {}
    """Tokens before parentheses, by where these close."""
    for at, word in enumerate(tokens):
        if word == "(":
            opened.append(at)
        elif word == ")" and opened:
            before[at] = opened.pop() - 1
        elif word == "as" and at:
            query = at + 1
            while tokens[query] in {"not", "materialized"}:
                query += 1
            if tokens[query] == "(":
                names.add(_identifier(tokens[before.get(at - 1, at - 1)]))
    return names


def _after_with(tokens: list[str], at: int) -> int:
    """The beginning of the statement that the common table expressions are for."""
    depth, previous = 0, "with"
    for after in range(at + 1, len(tokens)):
        word = tokens[after]
        if depth == 0 and word in _QUERY and previous not in {"with", "recursive", ","}:
            return after
        if word == "(" and depth == 0 and previous in {")", "("}:
            depth -= 1  # the statement itself is in parentheses: its verb comes next
        depth += (word == "(") - (word == ")")
        previous = word
    return len(tokens) - 1


def _first_table(tokens: list[str], start: int, end: int, expressions: set[str]) -> str:
    """The first table named between these tokens; FROM and JOIN may name functions and expressions as well.

    FROM after DISTINCT is a comparison's, a SELECT has columns in between.
    """
    in_query = [True]
    """An entry for the statement and each of the open parentheses: FROM in those of a function is no clause."""
    for at in range(start, end):
        word = tokens[at]
        if word == "(":
            in_query.append(tokens[at + 1] in _QUERY)
        elif word == ")" and len(in_query) > 1:
            in_query.pop()
        elif word == ";":
            break
        elif word in _NAMING:
            if at == start or tokens[at - 1] == "(":
                name, _, _ = _name_after(tokens, at)
                if name:
                    return name
        elif word == "join" or (word == "from" and in_query[-1] and tokens[at - 1] != "distinct"):
            name, following, is_qualified = _name_after(tokens, at)
            if name and following not in {"(", "from"} and (is_qualified or name not in expressions):
                return name
    return ""


def _name_after(tokens: list[str], at: int) -> tuple[str, str, bool]:
    """The last part of the name after this word, what follows it, and whether it has other parts."""
    at += 1
    while tokens[at] in _BEFORE_NAME:
        at += 1
    is_qualified = False
    while tokens[at + 1] == "." and _identifier(tokens[at]):
        at += 2
        is_qualified = True
    name = "" if tokens[at] in _QUERY else _identifier(tokens[at])
    return ("" if tokens[at + 1] == _CUT else name), tokens[at + 1], is_qualified
