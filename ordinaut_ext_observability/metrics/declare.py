"""Metrics as data: declared in sets, which need no registry, and bound to one when a process is built.

A metric is one entry of a set; its family is an attribute of the set's instance, ready to count::

    class QueueMetrics(MetricSet, title="Queue"):
        depth = gauge("orchestrator_queue_depth{queue}", "Work that is due.")


    QueueMetrics(registry).depth.labels("nightly").set(3)

Documentation, dashboards, rules, history and the relay read the declarations.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Generic, NamedTuple, Self, TypeVar, overload

from ordinaut_ext_observability.metrics.family import AnyFamily, Counter, Gauge, Histogram, MergedBy

if TYPE_CHECKING:
    from ordinaut_ext_observability.metrics.registry import Registry

FamilyT = TypeVar("FamilyT", bound=AnyFamily)

_UNITS = ("seconds", "bytes", "ratio")
_LABEL = re.compile("[^{},]+")


class Buckets(NamedTuple):
    """Upper bounds of a histogram's buckets, ascending, and why it has these."""

    reason: str
    bounds: tuple[float, ...]


@dataclass(frozen=True, eq=False)
class Declaration(Generic[FamilyT]):
    """One metric as it is documented. In a set's instance its name stands for the family."""

    family_type: type[FamilyT]
    series: str
    """Its name and, in braces, its labels."""
    help: str
    source: Source
    merged_by: MergedBy = "sum"
    """The value that stands for those several processes have for one series; counts are always added up."""
    buckets: Buckets | None = None
    max_values: int | None = None
    """Distinct values of a label, in place of what the settings allow."""

    @overload
    def __get__(self, instance: None, owner: type[MetricSet]) -> Self: ...
    @overload
    def __get__(self, instance: MetricSet, owner: type[MetricSet]) -> FamilyT: ...
    def __get__(self, instance: MetricSet | None, owner: type[MetricSet]) -> Self | FamilyT:
        return self  # an instance has the family under this name: it is found there, and this is not asked

    @property
    def name(self) -> str:
        return self.series.partition("{")[0]

    @property
    def label_names(self) -> tuple[str, ...]:
        return tuple(_LABEL.findall(self.series.partition("{")[2]))

    @property
    def kind(self) -> str:
        """The type that Prometheus knows: counter, gauge or histogram."""
        return self.family_type.kind

    @property
    def unit(self) -> str:
        """The unit in the metric's name: seconds, bytes, ratio, or empty for a number of things."""
        return next((unit for unit in _UNITS if f"_{unit}" in self.name), "")


class Source(NamedTuple):
    """Where numbers come from; without a table this process counts them, or asks a server for them."""

    table: str = ""
    """A table of the host's."""
    collector: str = ""
    """The collector that reads it."""

    def counter(self, series: str, documentation: str, *, max_values: int | None = None) -> Declaration[Counter]:
        """A number that only grows; its name ends in `_total`."""
        return Declaration(Counter, series, documentation, self, max_values=max_values)

    def gauge(self, series: str, documentation: str, *, merged_by: MergedBy = "max") -> Declaration[Gauge]:
        """A number that goes up and down."""
        return Declaration(Gauge, series, documentation, self, merged_by)

    def histogram(self, series: str, documentation: str, *, buckets: Buckets) -> Declaration[Histogram]:
        """Observations counted in buckets."""
        return Declaration(Histogram, series, documentation, self, buckets=buckets)


_HERE = Source()
counter, gauge, histogram = _HERE.counter, _HERE.gauge, _HERE.histogram


class MetricSet:
    """The metrics of one part. A subclass declares them; an instance has their families on a registry."""

    title: ClassVar[str] = ""
    """Heading in the documentation."""

    def __init_subclass__(cls, *, title: str = "") -> None:
        cls.title = title or cls.title

    def __init__(self, registry: Registry) -> None:
        """Bind every declaration; those another set has bound to the registry are shared with it.

        Raises MetricDefinitionError where a metric of another declaration has the name of one of these.
        """
        for name, declaration in declarations_of(type(self)):
            self.__dict__[name] = registry.bind(declaration)


def declarations_of(metric_set: type[MetricSet]) -> Iterator[tuple[str, Declaration[AnyFamily]]]:
    """The declarations of a set and of those it consists of, with their attributes' names, in their order."""
    for part in reversed(metric_set.__mro__):
        for name, value in vars(part).items():
            if isinstance(value, Declaration):
                yield name, value
