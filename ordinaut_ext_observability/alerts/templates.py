"""Templates of annotations and labels: the part of Go's templates that Prometheus rules use.

`compile_template("{{ $labels.job }} fails {{ $value | humanizePercentage }}")` expands to `api fails 12.5%`.

Text, `$labels`, `$value`, `$externalLabels`, `$externalURL`, their forms `.Labels` and so on, constants, pipelines, the
functions of `template_functions`, `if`, `with`, `range`, comments and trim markers are known. Variables of a template's
own, templates within templates and all other functions are refused by name when the template is compiled.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, NamedTuple

from ordinaut_ext_observability.alerts.template_functions import FUNCTIONS, MAX_OUTPUT, Sample, TemplateError, text_of
from ordinaut_ext_observability.alerts.template_syntax import Block, Body, Constant, Node, Path, parse_template
from ordinaut_ext_observability.errors import ObservabilityError

__all__ = ["Query", "Template", "TemplateError", "compile_template"]

Query = Callable[[str], Iterable[tuple[Mapping[str, str], float]]]
"""Evaluates a PromQL expression now: the labels and value of each series. May raise an `ObservabilityError`."""

MAX_TEXT: Final = 16_384
"""Characters of a template; those of public rules have up to 2,000."""
_MAX_STEPS: Final = 100_000
"""Things done for one text, such as calls, and characters that these read: half a second at worst."""
_MAX_QUERIES: Final = 20
"""Calls of `query` for one text: a `range` could make thousands."""

_TYPES: Final = {"s": (str, "a text"), "v": (list, "the result of query"), "m": (Sample, "one sample, as first gives")}


class Template:
    """A compiled template."""

    def __init__(self, body: Body) -> None:
        self._body = body

    def expand(
        self,
        labels: Mapping[str, str],
        value: float,
        external_labels: Mapping[str, str],
        external_url: str,
        query: Query,
    ) -> str:
        """The text for an alert's labels and value; where that fails, `<error expanding template: …>` with the reason.

        The text's length, the steps it takes and the calls of `query` are bounded.
        """
        expansion = _Expansion(_Root(labels, float(value), external_labels, external_url), query)
        try:
            expansion.write_body(self._body, expansion.root)
        except ObservabilityError as error:
            return f"<error expanding template: {error}>"
        return "".join(expansion.written)


def compile_template(text: str) -> Template:
    """Compile a template.

    Raises:
        TemplateError: It is malformed, longer than `MAX_TEXT`, or uses what is not supported; says what and where.
    """
    if len(text) > MAX_TEXT:
        raise TemplateError(f"the template has {len(text)} characters, more than {MAX_TEXT}")
    return Template(parse_template(text))


class _Root(NamedTuple):
    """The dot where no block has changed it."""

    Labels: Mapping[str, str]
    Value: float
    ExternalLabels: Mapping[str, str]
    ExternalURL: str


class _Expansion:
    """One expanding of a template: the text so far, and how much was done."""

    def __init__(self, root: _Root, query: Query) -> None:
        self.root = root
        self.written: list[str] = []
        self._query = query
        self._length = self._steps = self._queries = 0

    def write_body(self, body: Body, dot: Any) -> None:
        for node in body:
            self._step()
            if isinstance(node, Block):
                self._write_block(node, dot)
                continue
            self.written.append(text_of(self._value(node, dot)))
            self._length += len(self.written[-1])
            if self._length > MAX_OUTPUT:
                raise TemplateError(f"the text gets longer than {MAX_OUTPUT} characters")

    def _write_block(self, block: Block, dot: Any) -> None:
        value = self._value(block.source, dot)
        if block.kind == "range" and not isinstance(value, Mapping | list):
            raise TemplateError("range takes the result of query, or labels")
        if not value:
            self.write_body(block.otherwise, dot)
        elif block.kind != "range":
            self.write_body(block.body, value if block.kind == "with" else dot)
        else:
            for item in value if isinstance(value, list) else [value[name] for name in sorted(value)]:
                self._step()
                self.write_body(block.body, item)

    def _value(self, node: Node, dot: Any) -> Any:
        if isinstance(node, Constant):
            return node.value
        if isinstance(node, Path):
            value = self.root if node.of_root else dot if node.source is None else self._value(node.source, dot)
            for name in node.names:
                value = _field(value, name)
            return value
        if node.function in {"and", "or"}:  # the first argument that decides is the last that is looked at
            for argument in node.arguments:
                value = self._value(argument, dot)
                if bool(value) == (node.function == "or"):
                    break
            return value
        return self._call(node.function, [self._value(argument, dot) for argument in node.arguments])

    def _call(self, name: str, values: list[Any]) -> Any:
        types, function = FUNCTIONS[name]
        for type_, value in zip(types, values, strict=False):
            expected, words = _TYPES.get(type_, (object, ""))
            if not isinstance(value, expected):
                raise TemplateError(f"{name} takes {words}")
            self._step(
                1 + (len(value) if isinstance(value, str) else len(value) // 8 if isinstance(value, list) else 0)
            )
        if name != "query":
            return function(*values)
        self._queries += 1
        if self._queries > _MAX_QUERIES:
            raise TemplateError(f"expanding makes more than {_MAX_QUERIES} queries")
        return [Sample(labels, value) for labels, value in self._query(values[0])]

    def _step(self, number: int = 1) -> None:
        self._steps += number
        if self._steps > _MAX_STEPS:
            raise TemplateError(f"expanding takes more than {_MAX_STEPS} steps")


def _field(value: object, name: str) -> Any:
    """A label, empty where there is none of that name, or a part of a sample."""
    if isinstance(value, Mapping):
        return value.get(name, "")
    if isinstance(value, _Root | Sample) and name in value._fields:
        return getattr(value, name)
    raise TemplateError(f"nothing has a field {name} here")
