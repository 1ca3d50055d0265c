"""The things that living processes say of this moment, as JSON: their gauges, and whether they show the total."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import orjson

from ordinaut_ext_observability.metrics.family import AnyFamily, Gauge
from ordinaut_ext_observability.relay.store import Entry

LIVING_INTERVALS = 2
"""A process that said nothing for so many of its intervals has no gauges any more: it ended, or hangs."""

EXPIRY_INTERVALS = 30
"""An entry is kept for so many: whether others serve must be known for longer than a hiccup of the machine takes."""


class GaugeValue(NamedTuple):
    """One series of a gauge."""

    name: str
    label_names: tuple[str, ...]
    label_values: tuple[str, ...]
    value: float


class Said(NamedTuple):
    """An entry, read; `serves` is set where the process shows the total of all."""

    serves: bool
    living: bool
    gauges: list[GaugeValue]


def gauge_values(families: Iterable[AnyFamily]) -> Iterator[GaugeValue]:
    """The gauges among these families, as they are now."""
    for gauge in families:
        if isinstance(gauge, Gauge):
            for child in gauge.children():
                yield GaugeValue(gauge.name, gauge.label_names, child.label_values, child.value)


def encode_entry(families: Iterable[AnyFamily], *, serves: bool, interval_seconds: float) -> bytes:
    """The content of the entry of a process with these families."""
    gauges = [
        [gauge.name, gauge.label_names, [[child.label_values, child.value] for child in gauge.children()]]
        for gauge in families
        if isinstance(gauge, Gauge) and len(gauge)
    ]
    return orjson.dumps({"serves": serves, "interval": interval_seconds, "gauges": gauges})


def read_entry(entry: Entry) -> Said:
    """Read an entry, whichever version wrote it. Raises ValueError where it cannot be read."""
    try:
        fields = orjson.loads(entry.content)
        living = entry.age_seconds <= LIVING_INTERVALS * float(fields["interval"])
        return Said(bool(fields["serves"]), living, list(_gauges(fields["gauges"])))
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError("an entry of the relay store cannot be read") from error


def _gauges(families: Any) -> Iterator[GaugeValue]:
    for name, label_names, children, *_ in families:
        names = tuple(map(str, label_names))
        for label_values, value, *_rest in children:  # a newer version may add to both
            values = tuple(map(str, label_values))
            if len(values) == len(names):
                # JSON has neither NaN nor infinity: `orjson` writes null.
                yield GaugeValue(str(name), names, values, math.nan if value is None else float(value))
