"""Functions of histograms."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from ordinaut_ext_observability.history.series import Labels
from ordinaut_ext_observability.promql.aggregate import number_text
from ordinaut_ext_observability.promql.functions.buckets import Buckets, bucket_fraction, bucket_quantile
from ordinaut_ext_observability.promql.labels import Remembered, Vector, value_of, with_value
from ordinaut_ext_observability.promql.nodes import Call, String
from ordinaut_ext_observability.promql.work import pieces

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
        result += [(evaluator.drop_name(labels), compute(buckets)) for labels, buckets in some]
        yield
    return result


def histogram(evaluator: Evaluator, call: Call, time: int) -> Evaluating:
    """`histogram_quantile(share, buckets)` and `histogram_fraction(lower, upper, buckets)`."""
    numbers = yield from evaluator.scalars(call, time)
    vector = yield from evaluator.vector(call.arguments[-1], time)
    function = bucket_quantile if call.function == "histogram_quantile" else bucket_fraction
    result = yield from _each(evaluator, call, vector, lambda buckets: function(buckets, *numbers))
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
        quantiles = yield from _each(evaluator, call, vector, partial(bucket_quantile, share=share))
        result += [(with_value(labels, label, text), value) for labels, value in quantiles]
    return (yield from evaluator.checked(result))
