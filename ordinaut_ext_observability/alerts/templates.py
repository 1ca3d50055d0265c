"""Templates of annotations and labels: the part of Go's templates that Prometheus rules use.

`compile_template("{{ $labels.job }} fails {{ $value | humanizePercentage }}")` expands to `api fails 12.5%`.

There are text, comments, trim markers, the variables `$labels`, `$value`, `$externalLabels` and `$externalURL`, their
forms `.Labels` and so on, constants, pipelines, brackets, the functions of `template_functions`, and `if`, `with` and
`range`. All else is refused by name when the template is compiled.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from ordinaut_ext_observability.alerts.template_functions import FUNCTIONS, Fields, TemplateError, check_format, text_of
from ordinaut_ext_observability.errors import ObservabilityError

__all__ = ["Query", "Template", "TemplateError", "compile_template"]

Labels = Mapping[str, str]
Query = Callable[[str], Iterable[tuple[Labels, float]]]
"""Evaluates a PromQL expression now: the labels and value of each series. May raise an `ObservabilityError`."""
Part = Callable[["_Expansion", Any], Any]
"""A part of a compiled template: gives its value, from the expansion under way and the dot."""

MAX_TEXT: Final = 16_384
"""Characters of a template; those of public rules have up to 2,000."""
_MAX_NESTING: Final = 64
"""Blocks, brackets and pipes of a template. Each within another, they stay far from Python's limit of recursion."""
_MAX_STEPS: Final = 100_000
"""Work for one text: one for each part, and for each character or series that it takes or gives."""
_QUERY_STEPS: Final = 5_000
"""Work that a query counts for: a text may have some 20."""

_VARIABLES: Final = ("$labels", "$value", "$externalLabels", "$externalURL", "$")
_END: Final = "the end of the template"
_FUNCTION: Final = "a function"
_TYPES: Final[dict[type, str]] = {str: "a text", list: "the result of query", Fields: "one sample, as first gives"}
_BEGIN: Final = re.compile(r"\{\{(-\s)?(/\*.*?\*/(?:\}\}|\s-\}\}\s*))?", re.DOTALL | re.ASCII)
_TOKEN: Final = re.compile(
    r"""\s*(?:(?P<close>(?<=\s)-\}\}\s*|\}\})
    |(?:(?P<sign>[()|,]|:?=|if|with|range|else|end)|(?P<word>[a-zA-Z_]\w*)
    |(?P<path>\$\w*(?:\.[a-zA-Z_]\w*)*|(?:\.[a-zA-Z_]\w*)+|\.)
    |(?P<constant>"(?:[^"\\\n]|\\["\\nrt])*"|`[^`]*`
    |-?(?:0|[1-9][0-9]{0,17})(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?))(?:(?<=[(|,=])|(?=[\s|),]|\}\})))""",
    re.VERBOSE | re.ASCII,
)


@dataclass(frozen=True, slots=True)
class Template:
    """A compiled template, or a text without any, which stands as it is."""

    text: str
    body: Part

    def __str__(self) -> str:
        return self.text

    def expand(self, labels: Labels, value: float, external_labels: Labels, external_url: str, query: Query) -> str:
        """The text for an alert's labels and value; where that fails, `<error expanding template: …>` with the reason.

        The text's length, the work and the calls of `query` are bounded together.
        """
        dot = Fields(Labels=labels, Value=float(value), ExternalLabels=external_labels, ExternalURL=external_url)
        try:
            return str(self.body(_Expansion(dot, query), dot))
        except ObservabilityError as error:
            return f"<error expanding template: {error}>"


def compile_template(text: str) -> Template:
    """Compile a template.

    Raises:
        TemplateError: It is malformed, longer than `MAX_TEXT`, or uses what is not supported; says what.
    """
    if "{{" not in text:
        return Template(text, _constant(text))
    if len(text) > MAX_TEXT:
        raise TemplateError(f"the template has {len(text)} characters, more than {MAX_TEXT}")
    parser = _Parser([*_tokens(text), (_END, _END)][::-1])
    if sum(kind in {"(", "|", "if", "with", "range"} for kind, _ in parser.tokens) > _MAX_NESTING:
        raise TemplateError(f"the template has more than {_MAX_NESTING} blocks, brackets and pipes")
    body = parser.body()
    parser.take(_END)
    return Template(text, body)


@dataclass(slots=True)
class _Expansion:
    """One expanding of a template, and the work that is left to it."""

    root: Fields
    query: Query
    left: int = _MAX_STEPS

    def count(self, value: Any, steps: int = 1) -> Any:
        """Count the work that is in a value, and return it."""
        self.left -= steps + (len(value) if isinstance(value, str | list) else 0)
        if self.left < 0:
            raise TemplateError(f"expanding takes more than {_MAX_STEPS} steps; a query takes {_QUERY_STEPS}")
        return value

    def find(self, text: str) -> list[Fields]:
        self.count("", _QUERY_STEPS)
        return [Fields(Labels=labels, Value=value) for labels, value in self.query(text)]


def _tokens(text: str) -> Iterator[tuple[str, Any]]:
    """Kind and value: `plain`, `path`, `constant`, `a function`, or what stands there."""
    at = 0
    while begin := _BEGIN.search(text, at):
        plain = text[at : begin.start()]
        yield "plain", plain.rstrip() if begin[1] else plain
        at, kind = begin.end(), "}}" if begin[2] else ""
        while kind != "}}":
            if (found := _TOKEN.match(text, at)) is None:
                raise TemplateError(f"{(text[at:].split() or [_END])[0]} is not supported")
            at, kind, value = found.end(), str(found.lastgroup), found[str(found.lastgroup)]
            if kind == "constant":
                yield kind, value[1:-1] if value[0] == "`" else json.loads(value, strict=False)
            else:
                kind = {"close": "}}", "sign": value, "word": _FUNCTION}.get(kind, kind)
                yield kind, value
    yield "plain", text[at:]


@dataclass(frozen=True, slots=True)
class _Parser:
    tokens: list[tuple[str, Any]]
    """Those that are left, the next one last."""

    @property
    def following(self) -> str:
        return self.tokens[-1][0]

    def take(self, *kinds: str) -> Any:
        """The value of the next token, which must be one of these kinds."""
        kind, value = self.tokens.pop()
        if kinds and kind not in kinds:
            raise TemplateError(f"{' or '.join(kinds)} expected instead of {value}")
        return value

    def body(self) -> Part:
        """The text up to an `else`, an `end` or the template's end."""
        parts: list[Part] = []
        while self.following not in {"else", "end", _END}:
            if self.following == "plain":
                parts.append(_constant(self.take()))
            elif self.following in {"if", "with", "range"}:
                parts.append(self._block())
                self.take("}}")
            else:
                parts.append(self._pipeline("}}"))

        def body(run: _Expansion, dot: Any) -> str:
            return "".join([run.count(text_of(part(run, dot))) for part in run.count(parts)])

        return body

    def _block(self) -> Part:
        """A block up to its `end`."""
        kind, source, otherwise = self.take(), self._pipeline("}}"), _constant("")
        body = self.body()
        if self.take("else", "end") == "else":
            if kind == self.following == "if":
                otherwise = self._block()
            else:
                self.take("}}")
                otherwise = self.body()
                self.take("end")

        def block(run: _Expansion, dot: Any) -> str:
            value = source(run, dot)
            dots = value if kind == "range" else [value if kind == "with" else dot] if value else []
            if not isinstance(dots, list):
                raise TemplateError("range takes the result of query")
            return "".join([body(run, each) for each in dots]) if dots else str(otherwise(run, dot))

        return block

    def _pipeline(self, end: str) -> Part:
        """Values and functions with pipes between them; what comes through a pipe is the last argument."""
        value = self._call() if self.following == _FUNCTION else self._operand()
        while self.following == "|":
            self.take()
            value = self._call(value)
        self.take(end)
        return value

    def _call(self, *piped: Part) -> Part:
        name, (kind, form) = self.take(_FUNCTION), self.tokens[-1]
        if name not in FUNCTIONS:
            raise TemplateError(f"function {name} is not supported; there are {', '.join(FUNCTIONS)}")
        arguments: list[Part] = []
        while self.following not in {"|", ")", "}}"}:
            arguments.append(self._operand())
        arguments += piped
        function, types = FUNCTIONS[name]
        if name == "printf":
            check_format(form if kind == "constant" else None, len(arguments) - 1)
        elif len(arguments) != len(types):
            raise TemplateError(f"{name} takes {len(types)} arguments, not {len(arguments)}")

        def call(run: _Expansion, dot: Any) -> Any:
            values = [run.count(argument(run, dot)) for argument in arguments]
            if not all(map(isinstance, values, types)):
                raise TemplateError(f"{name} takes {' and '.join(_TYPES[type_] for type_ in types)}")
            try:
                return run.count((run.find if name == "query" else function)(*values))
            except (TypeError, ValueError, OverflowError) as error:
                raise TemplateError(f"{name}: {error}") from None

        return call

    def _operand(self) -> Part:
        kind, value = self.tokens.pop()
        if kind == "(":
            return self._pipeline(")")
        if kind == "constant":
            return _constant(value)
        if kind != "path":
            raise TemplateError(f"{value} cannot stand here (a function among arguments needs brackets)")
        variable, *names = value.split(".")
        if variable and variable not in _VARIABLES:
            raise TemplateError(f"{variable} is not supported; there are {', '.join(_VARIABLES)}")
        # `$labels` is the field Labels of the root, which `$` is.
        names = list(filter(None, [variable[1:2].upper() + variable[2:], *names]))

        def path(run: _Expansion, dot: Any) -> Any:
            value = run.root if variable else dot
            for name in names:
                if not isinstance(value, Mapping) or (isinstance(value, Fields) and name not in value):
                    raise TemplateError(f"nothing has a field {name} here")
                value = value.get(name, "")  # a label that there is not is empty
            return value

        return path


def _constant(value: object) -> Part:
    return lambda _run, _dot: value
