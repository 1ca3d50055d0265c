"""Functions and aggregations of the query language: the arguments they take, and what they give.

The parser checks calls against these tables; the evaluator has one implementation for each name in them.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from ordinaut_ext_observability.promql.nodes import ValueType


class Signature(NamedTuple):
    """Types of a function's arguments and of its result.

    `round(v instant-vector, to_nearest scalar)`, of which the second may be left out, is::

        Signature(("vector", "scalar"), optional=1)
    """

    arguments: tuple[ValueType, ...]
    optional: int = 0
    """Arguments at the end that may be left out."""
    repeated: int = 0
    """Times that the last argument may be given again."""
    returns: ValueType = "vector"


_ANY_NUMBER: Final = 100
"""Labels of one call: Prometheus has no bound, the length of a query is one."""

_BY_SIGNATURE: Final[dict[Signature, str]] = {
    Signature(("vector",)): (
        "abs absent acos acosh asin asinh atan atanh ceil cos cosh deg exp floor ln log10 log2 rad sgn sin sinh "
        "sort sort_desc sqrt tan tanh timestamp"
    ),
    Signature(("matrix",)): (
        "absent_over_time avg_over_time changes count_over_time delta deriv idelta increase irate last_over_time "
        "max_over_time min_over_time present_over_time rate resets stddev_over_time stdvar_over_time sum_over_time"
    ),
    Signature(("vector",), optional=1): ("day_of_month day_of_week day_of_year days_in_month hour minute month year"),
    Signature((), returns="scalar"): "pi time",
    Signature(("vector",), returns="scalar"): "scalar",
    Signature(("scalar",)): "vector",
    Signature(("vector", "scalar")): "clamp_max clamp_min",
    Signature(("vector", "scalar"), optional=1): "round",
    Signature(("vector", "scalar", "scalar")): "clamp",
    Signature(("matrix", "scalar")): "predict_linear",
    Signature(("scalar", "matrix")): "quantile_over_time",
    Signature(("scalar", "vector")): "histogram_quantile",
    Signature(("scalar", "scalar", "vector")): "histogram_fraction",
    Signature(("vector", "string", "string", "string", "string")): "label_replace",
    Signature(("vector", "string", "string", "string"), optional=1, repeated=_ANY_NUMBER): "label_join",
}

FUNCTIONS: Final[dict[str, Signature]] = {
    name: signature for signature, names in _BY_SIGNATURE.items() for name in names.split()
}
"""Signatures by a function's name."""

AGGREGATIONS: Final[dict[str, ValueType | None]] = {
    "avg": None,
    "bottomk": "scalar",
    "count": None,
    "count_values": "string",
    "group": None,
    "max": None,
    "min": None,
    "quantile": "scalar",
    "stddev": None,
    "stdvar": None,
    "sum": None,
    "topk": "scalar",
}
"""Types of an aggregation's parameter by its name, None where it takes none."""

_EXPERIMENTAL: Final = (
    "double_exponential_smoothing end first_over_time histogram_quantiles holt_winters info integral limitk "
    "limit_ratio mad_over_time max_of min_of range sort_by_label sort_by_label_desc start step "
    "ts_of_first_over_time ts_of_last_over_time ts_of_max_over_time ts_of_min_over_time"
)

REFUSED: Final[dict[str, str]] = {
    **dict.fromkeys(
        ("histogram_avg", "histogram_count", "histogram_stddev", "histogram_stdvar", "histogram_sum"),
        "reads native histograms, which are not kept here; use a histogram's _bucket, _count and _sum series",
    ),
    **dict.fromkeys(_EXPERIMENTAL.split(), "is experimental in Prometheus and not supported"),
}
"""Reasons why a function or aggregation of Prometheus is not supported, by its name."""
