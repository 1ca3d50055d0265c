"""Rules as data, as they were read: expressions parsed, templates compiled."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

import orjson

from ordinaut_ext_observability.alerts.templates import Template, compile_template
from ordinaut_ext_observability.history.series import NAME
from ordinaut_ext_observability.promql.nodes import Node
from ordinaut_ext_observability.promql.query import Query
from ordinaut_ext_observability.promql.reach import earliest_ms, selectors_of


class TemplatedText:
    """The text of a label or annotation, and its template. Raises `TemplateError` where it is none."""

    __slots__ = ("template", "text")

    def __init__(self, text: str) -> None:
        self.text = text
        self.template: Template | None = compile_template(text) if "{{" in text else None
        """None: the text stands as it is."""

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True)
class _Rule:
    name: str
    query: str
    """The expression's text."""
    expression: Node

    @cached_property
    def key_of(group: RuleGroup, rule: Rule) -> str:
    """The text by which a rule is the same after a reload, and in another process."""
    labels = sorted((name, str(label)) for name, label in rule.labels.items())
    return orjson.dumps((group.file, group.name, type(rule).__name__, rule.name, labels)).decode()
