"""Queries made at random, of the functions and operators that rules use, over the metrics of `scraped`.

Times are multiples of `STEP_MS`, and ranges within subqueries `within_ms` more: whoever evaluates them chooses this, and
the time, so that no range begins at a sample. `exact` expressions have the same bits however sums are rounded: only on
these there is rounding, sorting, and comparing for equality.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import TypeVar

from tests.promql.scraped import KINDS, ZONES

STEP_MS = 250

FINITE_GAUGES = ("depth", "temperature", "visitors")
GAUGES = (*FINITE_GAUGES, "odd")
COUNTERS = ("requests_total", "errors_total", "visits_total", "latency_seconds_count", "latency_seconds_bucket")
OF_COUNTERS = ("rate", "rate", "rate", "increase", "increase", "irate", "resets", "changes")
OF_GAUGES = ["delta", "idelta", "changes", "avg_over_time", "min_over_time", "max_over_time", "sum_over_time"] + [
    "count_over_time",
    "last_over_time",
    "stddev_over_time",
    "stdvar_over_time",
    "present_over_time",
]
EXACT_OVER_TIME = ("min_over_time", "max_over_time", "sum_over_time", "count_over_time", "last_over_time", "changes")
OF_VALUES = [
    "abs",
    "exp",
    "ln",
    "log2",
    "log10",
    "sqrt",
    "sin",
    "cos",
    "tan",
    "asin",
    "acos",
    "atan",
    "sinh",
    "cosh",
    "tanh",
] + ["asinh", "acosh", "atanh", "deg", "rad"]
OF_EXACT_VALUES = ("ceil", "floor", "round", "sgn", "abs")
DATES = ("minute", "hour", "day_of_week", "day_of_month", "month", "year", "days_in_month", "day_of_year")  # fmt: skip
AGGREGATIONS = ("sum", "sum", "sum", "avg", "min", "max", "count", "group")
OVER_SUBQUERIES = [
    "max_over_time",
    "min_over_time",
    "avg_over_time",
    "sum_over_time",
    "count_over_time",
    "last_over_time",
] + ["rate", "delta", "deriv", "changes"]
COMPARISONS = (">", "<", ">=", "<=", "==", "!=")


ChoiceT = TypeVar("ChoiceT")


class Queries:
    """`Queries(Random(1), at_ms=…, within_ms=3).query()`."""

    def __init__(self, random: Random, at_ms: int, within_ms: int) -> None:
        self._random = random
        self._at_ms = at_ms
        """A time for `@`."""
        self._within_ms = within_ms

    def query(self) -> str:
        made = self._one_of(self._vector, self._vector, self._vector, self._vector, self._scalar)
        return made(self._random.randint(1, 3), 0)

    def _one_of(self, *choices: ChoiceT) -> ChoiceT:
        return self._random.choice(choices)

    def _chance(self, share: float) -> bool:
        return self._random.random() < share

    # Durations and selectors

    def _range(self, inside: int) -> str:
        milliseconds = self._random.randint(2, 24) * STEP_MS + (self._within_ms if inside else 0)
        return f"{milliseconds}ms" if milliseconds % 1_000 else f"{milliseconds // 1_000}s"

    def _offset(self) -> str:
        if self._chance(0.12):
            return f" offset {self._one_of('', '', '-')}{self._random.randint(1, 12) * STEP_MS}ms"
        return ""

    def _moved(self, inside: int) -> str:
        moved = self._offset()
        if self._chance(0.06):
            # Within a subquery, the time of the query would be where its ranges may begin at a sample.
            moved += (
                f" @ {self._at_ms / 1000:.3f}"
                if inside or self._chance(0.5)
                else self._one_of(" @ start()", " @ end()")
            )
        return moved

    def _selector(self, names: tuple[str, ...] = GAUGES + COUNTERS) -> str:
        matchers = []
        if self._chance(0.25):
            zone = self._one_of(*ZONES)
            matchers.append(
                self._one_of(f'zone="{zone}"', f'zone!="{zone}"', f'zone=~"{zone}|east"', 'zone=~".*th"', 'zone!~"n.+"')
            )
        if self._chance(0.15):
            matchers.append(
                self._one_of('kind="cold"', 'kind!=""', 'kind=~"c.*|x"', 'kind=""', 'nothing=""', 'le=~"0.[15]|"')
            )
        name = self._one_of(*names)
        if self._chance(0.04):
            return f'{{__name__=~"{name}|up"{"".join(f",{matcher}" for matcher in matchers)}}}'
        return name + (f"{{{','.join(matchers)}}}" if matchers else "")

    # Expressions

    def _scalar(self, depth: int, inside: int) -> str:
        made: list[Callable[[], str]] = [self._number, self._number, lambda: self._one_of("time()", "pi()")]
        if depth:
            made.append(lambda: f"scalar({self._aggregated(depth - 1, inside, by=())})")
            made.append(
                lambda: f"({self._scalar(depth - 1, inside)} {self._arithmetic()} {self._scalar(depth - 1, inside)})"
            )
            made.append(lambda: f"({self._scalar(depth - 1, inside)} > bool {self._number()})")
            made.append(lambda: f"-{self._number()}")
        return self._one_of(*made)()

    def _number(self) -> str:
        return self._one_of("0", "1", "2", "10", "100", "0.5", "1e3", "3.25", "60")

    def _arithmetic(self) -> str:
        return self._one_of("+", "-", "*", "/", "+", "-", "*", "/", "^")

    def _exact(self, depth: int, inside: int) -> str:
        """A vector whose values do not depend on how sums are rounded."""
        if not depth or self._chance(0.3):
            return self._selector() + self._moved(inside)
        names = ("depth", "temperature", "visitors", "requests_total")
        return self._one_of(
            lambda: f"{self._one_of(*EXACT_OVER_TIME)}({self._matrix(names, inside)})",
            lambda: f"{self._one_of('sum', 'min', 'max', 'count')}{self._grouping()}({self._selector(names)})",
            lambda: f"({self._exact(depth - 1, inside)} {self._one_of('+', '-', '*')} {self._one_of('1', '2', '0.5')})",
            lambda: f"timestamp({self._selector()})",
            lambda: f"{self._one_of('resets', 'changes')}({self._matrix(('requests_total',), inside)})",
        )()

    def _matrix(self, names: tuple[str, ...], inside: int) -> str:
        return f"{self._selector(names)}[{self._range(inside)}]{self._moved(inside)}"

    def _vector(self, depth: int, inside: int) -> str:
        if depth <= 0:
            return self._one_of(self._rate, self._rate, self._over_time, lambda at: self._selector() + self._moved(at))(
                inside
            )
        made = [self._aggregated, self._aggregated, self._aggregated, self._binary, self._binary, self._matched]
        made += [self._set, self._set, self._filtered, self._filtered, self._function, self._function, self._rounded]
        made += [self._quantile, self._extremes, self._labelled, self._missing, self._predicted]
        if inside < 2:
            made += [self._subquery, self._subquery]
        return self._one_of(*made)(depth, inside)

    def _rate(self, inside: int) -> str:
        return f"{self._one_of(*OF_COUNTERS)}({self._matrix(COUNTERS, inside)})"

    def _over_time(self, inside: int) -> str:
        if self._chance(0.1):
            return f"deriv({self._matrix(FINITE_GAUGES, inside)})"
        if self._chance(0.1):
            return f"quantile_over_time({self._one_of('0.5', '0.9', '0', '1', '1.5', '-1')}, {self._matrix(GAUGES, inside)})"
        return f"{self._one_of(*OF_GAUGES)}({self._matrix(GAUGES, inside)})"

    def _predicted(self, depth: int, inside: int) -> str:
        matrix = f"{self._selector(FINITE_GAUGES)}[{self._range(inside)}]{self._offset()}"
        return f"predict_linear({matrix}, {self._one_of('1', '60', '3600')})"

    def _grouping(self) -> str:
        return self._one_of(
            " by (zone) ",
            " by (zone, kind) ",
            " by (kind) ",
            " without (kind) ",
            " without (zone, instance) ",
            " ",
            " by (le) ",
        )

    def _aggregated(self, depth: int, inside: int, by: tuple[str, ...] | None = None) -> str:
        grouping = self._grouping() if by is None else f" by ({', '.join(by)}) " if by else " "
        if self._chance(0.1):
            return f"quantile{grouping}({self._one_of('0.5', '0.95', '0.25', '2')}, {self._vector(depth - 1, inside)})"
        if self._chance(0.2):
            return f"{self._one_of('stddev', 'stdvar')}{grouping}({self._finite(inside)})"
        return f"{self._one_of(*AGGREGATIONS)}{grouping}({self._vector(depth - 1, inside)})"

    def _finite(self, inside: int) -> str:
        """A vector without NaN and infinity."""
        return self._one_of(
            lambda: self._rate(inside),
            lambda: f"{self._one_of(*OF_GAUGES)}({self._matrix(FINITE_GAUGES, inside)})",
            lambda: self._selector(FINITE_GAUGES) + self._moved(inside),
        )()

    def _binary(self, depth: int, inside: int) -> str:
        sides = [self._vector(depth - 1, inside), self._scalar(depth - 1, inside)]
        self._random.shuffle(sides)
        return f"({sides[0]} {self._arithmetic()} {sides[1]})"

    def _matched(self, depth: int, inside: int) -> str:
        operator = self._one_of("+", "-", "*", "/", "/", ">", "<", "> bool", "<= bool")
        numbers = operator if ">" in operator or "<" in operator else self._one_of(operator, operator, "atan2")
        both, zones = ("zone", "kind"), ("zone",)
        return self._one_of(
            lambda: f"({self._rate_of('requests_total', inside)} {operator} {self._rate_of('errors_total', inside)})",
            lambda: (
                f"({self._aggregated(depth - 1, inside, both)} {numbers} on (zone, kind) {self._aggregated(depth - 1, inside, both)})"
            ),
            lambda: (
                f"({self._aggregated(depth - 1, inside, zones)} {numbers} {self._aggregated(depth - 1, inside, zones)})"
            ),
            lambda: (
                f"({self._aggregated(depth - 1, inside, both)} {operator} on (zone) group_left {self._aggregated(depth - 1, inside, zones)})"
            ),
            lambda: (
                f"({self._rate_of('requests_total', inside)} {operator} on (zone) group_left (version, note) about)"
            ),
            lambda: f"(temperature {operator} ignoring (kind) group_right () {self._selector(('depth', 'visitors'))})",
            lambda: (
                f"({self._selector(('depth',))} {operator} ignoring (nothing) {self._selector(('visitors', 'depth'))})"
            ),
            lambda: f"({self._vector(depth - 1, inside)} {operator} {self._vector(depth - 1, inside)})",
        )()

    def _rate_of(self, name: str, inside: int) -> str:
        return f"{self._one_of('rate', 'increase')}({name}[{self._range(inside)}])"

    def _set(self, depth: int, inside: int) -> str:
        matching = self._one_of("", "", " on (zone)", " on (zone, kind)", " ignoring (kind)", " on ()")
        operator = self._one_of("and", "or", "unless")
        return f"({self._vector(depth - 1, inside)} {operator}{matching} {self._vector(depth - 1, inside)})"

    def _filtered(self, depth: int, inside: int) -> str:
        if self._chance(0.5):
            operator = self._one_of(*COMPARISONS)
            return f"({self._exact(depth, inside)} {operator}{self._one_of('', '', ' bool')} {self._number()})"
        return f"({self._vector(depth - 1, inside)} {self._one_of('>', '<')}{self._one_of('', '', ' bool')} {self._number()})"

    def _function(self, depth: int, inside: int) -> str:
        inner = self._vector(depth - 1, inside)
        return self._one_of(
            lambda: f"{self._one_of(*OF_VALUES)}({inner})",
            lambda: f"clamp({inner}, {self._scalar(0, inside)}, {self._scalar(0, inside)})",
            lambda: f"{self._one_of('clamp_min', 'clamp_max')}({inner}, {self._scalar(depth - 1, inside)})",
            lambda: f"-{inner}",
            lambda: f"timestamp({inner})",
            lambda: f"vector({self._scalar(depth - 1, inside)})",
            lambda: f"{self._one_of('sort', 'sort_desc')}({self._exact(depth, inside)})",
        )()

    def _rounded(self, depth: int, inside: int) -> str:
        if self._chance(0.2):
            return f"round({self._exact(depth, inside)}, {self._one_of('5', '0.5', '0.1', '100')})"
        if self._chance(0.1):
            return f"({self._exact(depth, inside)} % {self._one_of('7', '2.5', '10')})"
        if self._chance(0.5):
            return f"{self._one_of(*DATES)}({self._selector(COUNTERS)} * 86400)"
        return f"{self._one_of(*OF_EXACT_VALUES)}({self._exact(depth, inside)})"

    def _quantile(self, depth: int, inside: int) -> str:
        share = self._one_of("0.5", "0.9", "0.99", "0.1", "0", "1", "1.1", "-0.1", "0.3")
        return self._one_of(
            lambda: f"histogram_quantile({share}, rate(latency_seconds_bucket[{self._range(inside)}]))",
            lambda: f"histogram_quantile({share}, sum by (le) (rate(latency_seconds_bucket[{self._range(inside)}])))",
            lambda: (
                f"histogram_quantile({share}, sum by (le, zone) (increase(latency_seconds_bucket[{self._range(inside)}])))"
            ),
            lambda: f"histogram_quantile({share}, latency_seconds_bucket)",
        )()

    def _extremes(self, depth: int, inside: int) -> str:
        if self._chance(0.2):
            return f'count_values{self._grouping()}("value", {self._one_of("floor", "sgn")}({self._exact(depth - 1, inside)}))'
        distinct = self._selector(("depth", "visitors", "temperature"))
        return f"{self._one_of('topk', 'bottomk')}{self._one_of(' ', ' by (zone) ', ' without (zone) ')}({self._one_of('1', '2', '3', '0', '100')}, {distinct})"

    def _labelled(self, depth: int, inside: int) -> str:
        inner = self._vector(depth - 1, inside)
        return self._one_of(
            lambda: f'label_replace({inner}, "{self._one_of("place", "kind", "zone")}", "$1-x", "zone", "(.).*(h|t)")',
            lambda: f'label_replace({inner}, "__name__", "new_$1", "zone", "(n.*)")',
            lambda: f'label_replace({inner}, "kind", "", "zone", "north")',
            lambda: f'label_join({inner}, "both", "/", "zone", "kind", "nothing")',
        )()

    def _missing(self, depth: int, inside: int) -> str:
        zone = self._one_of(*ZONES, "east")
        return self._one_of(
            lambda: f'absent(visits_total{{zone="{zone}",kind="{self._one_of(*KINDS)}"}})',
            lambda: f'absent_over_time(visitors{{zone="{zone}",kind=~"c.*"}}[{self._range(inside)}])',
            lambda: f"absent({self._aggregated(depth - 1, inside)})",
            lambda: f'absent(depth{{zone="{zone}",zone=~".*st"}})',
        )()

    def _subquery(self, depth: int, inside: int) -> str:
        function = self._one_of(*OVER_SUBQUERIES)
        inner = {
            "changes": lambda: self._exact(depth - 1, inside + 1),
            "deriv": lambda: self._finite(inside + 1),
            "rate": lambda: self._selector(COUNTERS),
        }.get(function, lambda: self._vector(depth - 1, inside + 1))()
        step = self._one_of("", "500ms", "750ms", "1s", "2s")
        return f"{function}(({inner})[{self._range(inside)}:{step}]{self._moved(inside)})"
