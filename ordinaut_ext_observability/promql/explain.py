"""Messages of the parsing library in words that say what is wrong, and where."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import pairwise
from typing import Final

from ordinaut_ext_observability.promql.guard import WORDS_BETWEEN, Token
from ordinaut_ext_observability.promql.signatures import REFUSED

_ANY_SYNTAX: Final = "invalid promql query"
_UNKNOWN_FUNCTION: Final = re.compile("unknown function with name '(.*)'")
_NAMES_TWICE: Final = re.compile("(metric name must not be set twice): .*", re.DOTALL)
"""The rest has values that the guard may have hidden from the library."""

_EXTENDED: Final = frozenset({"anchored", "smoothed"})
_MODIFIER: Final = re.compile(
    "by|without|on|ignoring|group_(left|right)|bool|offset|fill(_left|_right)?", re.IGNORECASE
)


def explained(message: str, tokens: Sequence[Token]) -> str:
    """The library's message, with the place of what the parser did not expect where that can be told."""
    if unknown := _UNKNOWN_FUNCTION.fullmatch(message):
        return f"{unknown[1]}() {REFUSED.get(unknown[1], 'is not a function known here')}"
    if message == _ANY_SYNTAX:
        return _unexpected([token for token in tokens if token.kind != "space"]) or "the query's syntax is not valid"
    return _NAMES_TWICE.sub(r"\1", message)


def _unexpected(tokens: Sequence[Token]) -> str | None:
    """The first token that cannot follow the one before."""
    for before, token in pairwise(tokens):
        text = token.text.lower()
        if text in _EXTENDED and _ends_operand(before):
            return f"the modifier {text!r} is experimental in Prometheus and not supported here"
        follows_operand = _ends_operand(before) and (token.kind in {"number", "duration", "string"} or _is_name(token))
        is_binary = _is_operator(token) and text not in {"+", "-"}
        lacks_operand = (is_binary and _begins_operand(before)) or (token.kind == "close" and _is_operator(before))
        if follows_operand or lacks_operand:
            return f"unexpected {token.text!r} at character {token.position}, after {before.text!r}"
    if tokens and _is_operator(tokens[-1]):
        return f"unexpected end of input: an expression is expected after {tokens[-1].text!r}"
    return None


def _is_operator(token: Token) -> bool:
    return token.kind == "operator" or token.text.lower() in WORDS_BETWEEN


def _begins_operand(token: Token) -> bool:
    return _is_operator(token) or token.text in {"(", ",", "@"}


def _is_name(token: Token) -> bool:
    return token.kind == "word" and not (_is_operator(token) or _MODIFIER.fullmatch(token.text))


def _ends_operand(token: Token) -> bool:
    return token.kind in {"number", "duration", "string"} or token.text in {"]", "}"} or _is_name(token)
