"""Functions of histograms."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Final

from ordinaut_ext_observability.history.series import Labels
from ordinaut_ext_observability.promql.aggregate import number_text
from ordinaut_ext_observability.promql.functions.buckets import Buckets, bucket_fraction, bucket_quantile
from ordinaut_ext_observability.promql.labels import Vector, value_of, with_value
from ordinaut_ext_observability.promql.nodes import Call, String
from ordinaut_ext_observability.promql.work import pieces

if TYPE_CHECKING:
    from ordinaut_ext_observability.promql.evaluator import Evaluating, Evaluator

_BOUND: Final = "le"


class _Bounds(dict[Labels, tuple[Labels, float] | None]):
    """Histograms and upper bounds by the labels of a bucket; None where the bound is no number."""

    def __missing__(self, labels: Labels) -> tuple[Labels, float] | None:
        found: tuple[Labels, float] | None
        try:
            found = (with_value(labels, _BOUND, ""), float(value_of(labels, _BOUND)))
        except ValueError:
            found = None
        self[labels] = found
        return found


def _each(evaluator: Evaluator, call: Call, vector: Vector, compute: Callable[[Buckets], float]) -> Evaluating:
    """What a function gives for each histogram."""
    bounds = evaluator.state(call, _Bounds)
    histograms: dict[Labels, Buckets] = {}
    for piece in pieces(vector):
        for labels, count in piece:
            found = bounds[labels]
            if found is not None:
                histograms.setdefault(found[0], []).append((found[1], count))
        yield
    result: Vector = []
    for some in pieces(list(histograms.items())):
        result += [(evaluator.drop_name(labels), compute(buckets)) for labels, buckets in some]
        yield
    return result


def histogram_quantile(evaluator: Evaluator, call: Call, time: int) -> Evaluating:
    """`histogram_quantile(share, buckets)`."""
    [share] = yield from evaluator.scalars(call, time)
    vector = yield from evaluator.vector(call.arguments[1], time)
    result = yield from _each(evaluator, call, vector, partial(bucket_quantile, share))
    return (yield from evaluator.checked(result))


def histogram_fraction(evaluator: Evaluator, call: Call, time: int) -> Evaluating:
    """`histogram_fraction(lower, upper, buckets)`."""
    lower, upper = yield from evaluator.scalars(call, time)
    vector = yield from evaluator.vector(call.arguments[2], time)
    result = yield from _each(evaluator, call, vector, partial(bucket_fraction, lower, upper))
    return (yield from evaluator.checked(result))


def histogram_quantiles(evaluator: Evaluator, call: Call, time: int) -> Evaluating:
    """`histogram_quantiles(buckets, label, share, ...)`: each share's quantile, with the share as that label."""
    vector = yield from evaluator.vector(call.arguments[0], time)
    name = call.arguments[1]
    label = name.value if isinstance(name, String) else ""
    result: Vector = []
    for share in (yield from evaluator.scalars(call, time)):
        text = number_text(share)
        if text.lstrip("-").isdigit():
            text += ".0"
        quantiles = yield from _each(evaluator, call, vector, partial(bucket_quantile, share))
        result += [(with_value(labels, label, text), value) for labels, value in quantiles]
    return (yield from evaluator.checked(result))
