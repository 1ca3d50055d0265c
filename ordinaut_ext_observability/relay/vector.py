"""What a process publishes: the series it has, laid out once, and their numbers as one flat list.

The text of the layout stays the same, byte for byte, while no series comes or goes, so whoever has read it once need
not read it again. Content of a vector: five lines of JSON, see `encode`; further lines
are whoever's who wrote them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import orjson

from ordinaut_ext_observability.errors import ObservabilityError
from ordinaut_ext_observability.metrics.family import AnyFamily, Counter, Gauge, Histogram


class VectorError(ObservabilityError):
    """What another process published cannot be read: it is damaged, or of another version."""


class FamilyLayout(NamedTuple):
    """The series of one family, in the order of their numbers."""

    name: str
    kind: str
    label_names: tuple[str, ...]
    bounds: tuple[float, ...]
    """Of a histogram's buckets; empty for others."""
    series: tuple[tuple[str, ...], ...]
    """The label values of each."""

    @property
    def width(self) -> int:
        """Numbers per series: one, or a histogram's sum and the count of each bucket."""
        return len(self.bounds) + 2 if self.kind == Histogram.kind else 1


class Numbers(NamedTuple):
    """Series and their numbers."""

    layout: bytes
    """As of `encode_layout`."""
    values: list[float]


NO_NUMBERS = Numbers(b"[]", [])


class About(NamedTuple):
    """Whose vector it is."""

    serves: bool
    """Whether the process shows the sums of all."""
    ended: bool
    """Whether it was the last vector: the process ended in order."""
    process: int
    """Its number on its machine."""


class Vector(NamedTuple):
    """One publication, read."""

    sequence: int
    epoch: int
    about: About
    counts: Numbers
    """Counters and histograms."""
    gauges: Numbers


class NumberReader:
    """Reads the numbers of families; lays their series out anew when some came or went."""

    def __init__(self, families: Callable[[], Iterable[AnyFamily]]) -> None:
        self._families = families
        self._laid_out: list[tuple[AnyFamily, object, int]] = []
        self._layout = NO_NUMBERS.layout

    def read(self) -> Numbers:
        """The numbers as they are now. Other threads may be counting meanwhile."""
        laid_out: list[tuple[AnyFamily, object, int]] = []
        children: list[tuple[AnyFamily, list[Any]]] = []
        for family in self._families():
            blocks: list[list[Any]] = family.blocks
            present = [child for block in list(blocks) for child in list(block)]
            laid_out.append((family, blocks, len(present)))
            children.append((family, present))
        if not _same(laid_out, self._laid_out):
            self._layout = encode_layout(
                FamilyLayout(
                    family.name,
                    family.kind,
                    family.label_names,
                    family.bounds if isinstance(family, Histogram) else (),
                    tuple(child.label_values for child in present),
                )
                for family, present in children
                if present
            )
            self._laid_out = laid_out
        values: list[float] = []
        for family, present in children:
            if isinstance(family, Histogram):
                for child in present:
                    values.append(child.sum)
                    values += child.counts
            else:
                values += [child.value for child in present]
        return Numbers(self._layout, values)


def counting(families: Iterable[AnyFamily]) -> list[AnyFamily]:
    """The families whose numbers only grow."""
    return [family for family in families if isinstance(family, (Counter, Histogram))]


def measuring(families: Iterable[AnyFamily]) -> list[Gauge]:
    """The families whose numbers are of the moment."""
    return [family for family in families if isinstance(family, Gauge)]


def encode_layout(families: Iterable[FamilyLayout]) -> bytes:
    """The layout as one line of JSON."""
    return orjson.dumps([list(family) for family in families])


def decode_layout(layout: bytes) -> list[FamilyLayout]:
    """The families of `encode_layout`.

    Raises:
        VectorError: it is not such text.
    """
    try:
        families = [
            FamilyLayout(
                str(name),
                str(kind),
                tuple(map(str, labels)),
                tuple(map(float, bounds)),
                tuple(tuple(map(str, values)) for values in series),
            )
            for name, kind, labels, bounds, series in orjson.loads(layout)
        ]
    except (ValueError, TypeError) as error:
        raise VectorError("the layout of a vector cannot be read") from error
    for family in families:
        if not {len(family.label_names)}.issuperset(map(len, family.series)):
            raise VectorError("a series has more or fewer label values than its family has labels")
    return families


def count_numbers(families: Iterable[FamilyLayout]) -> int:
    """How many numbers belong to a layout."""
    return sum(family.width * len(family.series) for family in families)


def gauge_values(numbers: Numbers) -> dict[tuple[str, tuple[str, ...]], float]:
    """The numbers of gauges by family and label values."""
    values = iter(numbers.values)
    families = decode_layout(numbers.layout)
    return {(family.name, series): next(values) for family in families for series in family.series}


def encode_values(values: list[float]) -> bytes:
    """The numbers as one line of JSON; infinities and NaN become null, integers beyond 64 bits become floats."""
    try:
        return orjson.dumps(values)
    except TypeError:
        return orjson.dumps(list(map(float, values)))


def decode_values(text: bytes) -> list[float]:
    """The numbers of `encode_values`; null becomes NaN.

    Raises:
        VectorError: it is not such text.
    """
    try:
        values = orjson.loads(text)
    except ValueError as error:
        raise VectorError("the numbers of a vector cannot be read") from error
    if not isinstance(values, list) or not set(map(type, values)) <= {int, float, type(None)}:
        raise VectorError("the numbers of a vector are not numbers")
    return [math.nan if value is None else value for value in values] if None in values else values


def encode(about: About, counts: Numbers, gauges: Numbers) -> bytes:
    """A vector's content: who, layout and numbers of the counts, layout and numbers of the gauges; a line each."""
    return b"\n".join(
        (
            orjson.dumps(list(about)),
            counts.layout,
            encode_values(counts.values),
            gauges.layout,
            encode_values(gauges.values),
        )
    )


def decode(content: bytes, sequence: int, epoch: int, *, like: Vector | None = None) -> Vector:
    """The vector of `encode`. Layouts that are those of the vector `like` become the same objects.

    Raises:
        VectorError: it is not such text.
    """
    lines = content.split(b"\n", 5)
    if len(lines) < 5:
        raise VectorError("a vector has fewer than five lines")
    try:
        serves, ended, process = orjson.loads(lines[0])
        about = About(bool(serves), bool(ended), int(process))
    except (ValueError, TypeError) as error:
        raise VectorError("a vector does not say whose it is") from error
    return Vector(
        sequence,
        epoch,
        about,
        _decode_numbers(lines[1], lines[2], like.counts if like is not None else NO_NUMBERS),
        _decode_numbers(lines[3], lines[4], like.gauges if like is not None else NO_NUMBERS),
    )


def _decode_numbers(layout: bytes, values_text: bytes, like: Numbers) -> Numbers:
    values = decode_values(values_text)
    if layout == like.layout:
        layout, count = like.layout, len(like.values)
    else:
        count = count_numbers(decode_layout(layout))
    if len(values) != count:
        raise VectorError("a vector has more or fewer numbers than its layout")
    return Numbers(layout, values)


def _same(some: list[tuple[AnyFamily, object, int]], others: list[tuple[AnyFamily, object, int]]) -> bool:
    """Whether these are the same families with the same series: blocks only grow, or there are new ones."""
    return len(some) == len(others) and all(
        family is other and blocks is other_blocks and count == other_count
        for (family, blocks, count), (other, other_blocks, other_count) in zip(some, others, strict=True)
    )
