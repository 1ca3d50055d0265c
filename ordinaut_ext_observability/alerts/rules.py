"""Rules as data, as they were read: expressions parsed, templates compiled."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

import orjson

if TYPE_CHECKING:  # what parses and evaluates is imported in a thread, not while the host starts
    from ordinaut_ext_observability.alerts.templates import Template
    from ordinaut_ext_observability.promql.nodes import Node


@dataclass(frozen=True)
class _Rule:
    name: str
    query: str
    """The expression's text."""
    expression: Node

    @cached_property
    def lookback_ms(self) -> int:
        """Milliseconds that the rule looks back: 300,000 for `rate(requests_total[5m])`, 0 for `up == 0`."""
        from ordinaut_ext_observability.promql.query import Query

        earliest = Query(self.expression, start_ms=0, end_ms=0).earliest_ms()
        return max(0, -earliest) if earliest is not None else 0

    @cached_property
    def names_read(self) -> frozenset[str | None]:
        """Names of the series that the rule asks for, None for any."""
        from ordinaut_ext_observability.promql.nodes import names_read

        return names_read(self.expression)


@dataclass(frozen=True)
class RecordingRule(_Rule):
    """An expression whose results become series of another name."""

    kind = "recording"

    labels: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class AlertingRule(_Rule):
    """An expression whose every result is an alert."""

    kind = "alerting"

    for_ms: int = 0
    """Milliseconds for which the condition holds before the alert fires."""
    keep_firing_for_ms: int = 0
    """Milliseconds for which the alert still fires once the condition holds no more."""
    labels: Mapping[str, Template] = field(default_factory=dict)
    annotations: Mapping[str, Template] = field(default_factory=dict)
    no_data: bool = False
    """True: where the expression finds no series to look at, that is an alert, too."""


Rule = RecordingRule | AlertingRule


@dataclass(frozen=True, slots=True)
class RuleGroup:
    """Rules that are evaluated one after the other, at the same time."""

    name: str
    file: str
    rules: tuple[Rule, ...]
    interval_ms: int = 0
    """Milliseconds between two evaluations; 0: as often as samples are taken."""
    limit: int = 0
    """Results that a rule may have; with more it fails and has none. 0: any number."""
    query_offset_ms: int = 0
    """Milliseconds before the time of the evaluation at which expressions are evaluated."""


def key_of(group: RuleGroup, rule: Rule) -> str:
    """The text by which a rule is the same after a reload, and in another process."""
    labels = sorted((name, str(label)) for name, label in rule.labels.items())
    return orjson.dumps((group.file, group.name, type(rule).__name__, rule.name, labels)).decode()


def show_duration(milliseconds: int) -> str:
    """A duration in its largest whole unit, as rule files have it: `90s`, `6h`."""
    sizes = {"d": 86_400_000, "h": 3_600_000, "m": 60_000, "s": 1_000, "ms": 1}
    unit = next((unit for unit, size in sizes.items() if milliseconds and milliseconds % size == 0), "s")
    return f"{milliseconds // sizes[unit]}{unit}"
