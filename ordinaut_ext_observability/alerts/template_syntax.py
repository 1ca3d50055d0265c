"""Reads templates."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from ordinaut_ext_observability.alerts.template_functions import FUNCTIONS, TemplateError, check_format, compile_search
from ordinaut_ext_observability.errors import ObservabilityError

_MAX_BLOCKS: Final = 16
"""Blocks within each other, an `else if` among them."""
_MAX_CALLS: Final = 32
"""Brackets and pipes of one action. With the bound above, expanding stays far from Python's limit of recursion."""

_ACTION: Final = re.compile(
    r"\{\{(-(?=[ \t\r\n]))?(?:(?(1)[ \t\r\n]+)/\*(?:(?!\*/).)*\*/"
    r"""|(?P<code>(?:"(?:[^"\\\n]|\\.)*"|`[^`]*`|(?!\}\})[^"`])*?))([ \t\r\n]-)?\}\}""",
    re.DOTALL,
)
_SPACE: Final = " \t\r\n"
_TOKEN: Final = re.compile(
    r"""(?P<space>[ \t\r\n]+)|(?P<quoted>"(?:[^"\\\n]|\\.)*"|`[^`]*`)|(?P<mark>[()|])
    |(?P<number>[+-]?(?:(?:0|[1-9][0-9]{0,17})(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?)(?![\w.])
    |(?P<path>\$\w*(?:\.[^\W\d]\w*)*|(?:\.[^\W\d]\w*)+|\.(?![\w.]))|(?P<word>[^\W\d]\w*)""",
    re.VERBOSE,
)
_VARIABLES: Final = ("$labels", "$value", "$externalLabels", "$externalURL", "$")
_CHECKS: Final[dict[str, Callable[[str], object]]] = {
    "printf": check_format,
    "match": compile_search,
    "reReplaceAll": compile_search,
}
"""Checks of a first argument that stands in the template."""


@dataclass(frozen=True, slots=True)
class Constant:
    """A value that stands in the template; also plain text."""

    value: Any


@dataclass(frozen=True, slots=True)
class Path:
    """Fields of fields of a value, or of the dot where there is none, or of the root: of what `$` is."""

    names: tuple[str, ...]
    source: Node | None = None
    of_root: bool = False


@dataclass(frozen=True, slots=True)
class Call:
    """A function of arguments, of which the last may have come through a pipe."""

    function: str
    arguments: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Block:
    """One of `if`, `with` and `range`, up to its `end`."""

    kind: str
    source: Node
    body: Body
    otherwise: Body


Node = Constant | Path | Call
Body = tuple[Node | Block, ...]


class _Token(NamedTuple):
    kind: str
    text: str
    at: int

    def error(self, problem: str) -> TemplateError:
        return TemplateError(f"{problem} at character {self.at + 1}")


def parse_template(text: str) -> Body:
    """The parts of a template.

    Raises:
        TemplateError: It is malformed or uses what is not supported.
    """
    return _Parser(text).body(("",), 0)[0]


def _tokens(text: str) -> Iterator[_Token]:
    """Plain text, and the tokens of actions with a mark `}}` after each."""
    at, trims = 0, False
    while (begin := text.find("{{", at)) >= 0:
        if (action := _ACTION.match(text, begin)) is None:
            raise _Token("", "", begin).error("an action without its }}, or a quote or comment in it without its end,")
        plain = text[at:begin].lstrip(_SPACE if trims else "")
        yield _Token("plain", plain.rstrip(_SPACE if action[1] else ""), at)
        if action["code"] is not None:
            yield from _tokens_of_action(text, *action.span("code"))
            yield _Token("mark", "}}", action.end() - 2)
        at, trims = action.end(), bool(action[3])
    yield _Token("plain", text[at:].lstrip(_SPACE if trims else ""), at)
    yield _Token("finish", "", len(text))


def _tokens_of_action(text: str, at: int, end: int) -> Iterator[_Token]:
    calls = 0
    while at < end:
        if (found := _TOKEN.match(text, at, end)) is None:
            what = "a template's own variable" if text[at] in ":=," else text[at:end].split(maxsplit=1)[0]
            raise _Token("", "", at).error(f"{what} is not supported")
        token = _Token(str(found.lastgroup), found[0], at)
        calls += token.text in {"(", "|"}
        if calls > _MAX_CALLS:
            raise token.error(f"more than {_MAX_CALLS} brackets and pipes in one action")
        if token.kind != "space":
            if (
                token.text not in {"|", ")"}
                and text[at - 1] not in f"{_SPACE}(|{{"
                and text[at - 1] + token.text[0] != ")."
            ):
                raise token.error(f"a space is missing before {token.text}")
            yield token
        at = found.end()


class _Parser:
    def __init__(self, text: str) -> None:
        self._tokens = list(_tokens(text))
        self._at = 0

    def _next(self) -> _Token:
        self._at += 1
        return self._tokens[self._at - 1]

    def _peek(self) -> _Token:
        return self._tokens[self._at]

    def _expect(self, mark: str) -> None:
        if (token := self._next()).text != mark:
            raise token.error(f"{mark} expected instead of {token.text or 'the end'}")

    def body(self, ends: tuple[str, ...], depth: int) -> tuple[Body, str]:
        """What stands up to an action that begins with one of these words, and that word."""
        body: list[Node | Block] = []
        while True:
            token = self._next()
            if token.kind == "plain":
                body.append(Constant(token.text))
            elif token.kind in {"word", "finish"} and token.text in ends:
                return tuple(body), token.text
            elif token.kind == "finish":
                raise token.error("{{ end }} is missing")
            elif token.text in {"if", "with", "range"}:
                body.append(self._block(token, depth + 1))
            else:
                self._at -= 1
                body.append(self._pipeline("}}"))

    def _block(self, begin: _Token, depth: int) -> Block:
        if depth > _MAX_BLOCKS:
            raise begin.error(f"more than {_MAX_BLOCKS} blocks within each other")
        source = self._pipeline("}}")
        body, end = self.body(("else", "end"), depth)
        otherwise: Body = ()
        if end == "else" and begin.text == self._peek().text == "if":
            otherwise = (self._block(self._next(), depth + 1),)  # takes the `end` of both
        else:
            self._expect("}}")
            if end == "else":
                otherwise, _ = self.body(("end",), depth)
                self._expect("}}")
        return Block(begin.text, source, body, otherwise)

    def _pipeline(self, end: str) -> Node:
        node = self._command(())
        while self._peek().text == "|":
            self._next()
            node = self._command((node,))
        self._expect(end)
        return node

    def _command(self, piped: tuple[Node, ...]) -> Node:
        """A value, or a function with its arguments."""
        token = self._peek()
        if token.text not in FUNCTIONS:
            if piped or (token.kind == "word" and token.text not in {"true", "false"}):
                raise token.error(f"{token.text} is no function that is supported")
            return self._operand()
        self._next()
        arguments: list[Node] = []
        while self._peek().text not in {"|", ")", "}}"}:
            arguments.append(self._operand())
        call = Call(token.text, (*arguments, *piped))
        try:
            _check_call(call)
        except ObservabilityError as error:
            raise token.error(str(error)) from None
        return call

    def _operand(self) -> Node:
        token = self._next()
        if token.text == "(":
            node = self._pipeline(")")
            follows = self._peek()
            if follows.text[0] == "." and follows.at == self._tokens[self._at - 1].at + 1:
                return Path(tuple(filter(None, self._next().text.split("."))), node)
            return node
        if token.kind == "path":
            variable, *names = token.text.split(".")
            if variable and variable not in _VARIABLES:
                raise token.error(f"{variable} is not known; there are {', '.join(_VARIABLES)}")
            # `$labels` is the field Labels of the root.
            names = [variable[1:2].upper() + variable[2:], *names]
            return Path(tuple(filter(None, names)), of_root=variable != "")
        if token.kind in {"quoted", "number"} or token.text in {"true", "false"}:
            return Constant(_constant(token))
        raise token.error(f"{token.text or 'the end'} cannot stand here (a function among arguments needs brackets)")


def _check_call(call: Call) -> None:
    types, _ = FUNCTIONS[call.function]
    first, number = call.arguments[:1], len(call.arguments)
    if number < len(types.rstrip("*")) or (number > len(types) and "*" not in types):
        raise TemplateError(f"{call.function} does not take {number} arguments")
    if call.function in _CHECKS and isinstance(first[0], Constant):
        _CHECKS[call.function](str(first[0].value))


def _constant(token: _Token) -> bool | int | float | str:
    if token.kind == "number":
        return float(token.text) if set(token.text) & set(".eE") else int(token.text)
    if token.text[0] == "`":
        return token.text[1:-1].replace("\r", "")
    try:
        value: bool | str = json.loads(token.text, strict=False)
        str(value).encode()
    except ValueError:
        raise token.error(r"an escape in quotes other than \" \\ \n \r \t \b \f and \u0000") from None
    return value
