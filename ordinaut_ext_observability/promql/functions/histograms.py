"""Functions of histograms."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from ordinaut_ext_observability.history.series import Labels
from ordinaut_ext_observability.promql.functions.buckets import Buckets, bucket_fraction, bucket_quantile
from ordinaut_ext_observability.promql.labels import Remembered, Vector, drop_name, value_of, with_value
from ordinaut_ext_observability.promql.nodes import Call
from ordinaut_ext_observability.promql.work import pieces, unique

if TYPE_CHECKING:
    from ordinaut_ext_observability.promql.evaluator import Evaluating, Evaluator


def _bound(labels: Labels) -> tuple[Labels, float] | None:
    """The histogram and the upper bound of a bucket; None where its bound is no number."""
    try:
        return with_value(labels, "le", ""), float(value_of(labels, "le"))
    except ValueError:
        return None


def _each(evaluator: Evaluator, call: Call, vector: Vector, compute: Callable[[Buckets], float]) -> Evaluating:
    """A function's result for each histogram."""
    bounds = evaluator.state(call, lambda: Remembered(_bound))
    histograms: dict[Labels, Buckets] = {}
    for piece in pieces(vector):
        for labels, count in piece:
            found = bounds[labels]
            if found is not None:
                histograms.setdefault(found[0], []).append((found[1], count))
        yield
    result: Vector = []
    for some in pieces(list(histograms.items())):
        result += [(drop_name(labels), compute(buckets)) for labels, buckets in some]
        yield
    return result


def histogram(evaluator: Evaluator, call: Call, time: int) -> Evaluating:
    """`histogram_quantile(share, buckets)` and `histogram_fraction(lower, upper, buckets)`."""
    numbers = yield from evaluator.scalars(call, time)
    vector = yield from evaluator.vector(call.arguments[-1], time)
    function = bucket_quantile if call.function == "histogram_quantile" else bucket_fraction
    result = yield from _each(evaluator, call, vector, lambda buckets: function(buckets, *numbers))
    return (yield from unique(result))
