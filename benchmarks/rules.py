"""200 rules evaluated at a tick over 5,000 series, against `prometheus_client.generate_latest` of 10,000.

The rules are mixed as public ones are (a third rates, a tenth quantiles of histograms, comparisons, sums), a tenth is
recorded, and one in ten has alerts. Cost is processor time; states and report included, the store left out.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from itertools import islice, pairwise
from time import perf_counter

import prometheus_client

from benchmarks.harness import Options, Result, low, milliseconds, process_cpu_seconds, take_turns, versions
from benchmarks.series import as_http_metrics, fill_client
from ordinaut_ext_observability.alerts.evaluation import Engine
from ordinaut_ext_observability.alerts.report import build_report
from ordinaut_ext_observability.alerts.rounds import _KEPT_SERIES, _TABLE
from ordinaut_ext_observability.alerts.rule_files import parse_rules
from ordinaut_ext_observability.alerts.storage import encode
from ordinaut_ext_observability.background.clock import Clock
from ordinaut_ext_observability.history.history import History
from ordinaut_ext_observability.history.series import labels_of
from ordinaut_ext_observability.settings.parts import HistorySettings

RULES = 200
SERIES = 5000
TICKS = 60
INTERVAL_MS = 15_000
_BOUNDS = ("0.1", "0.5", "1", "5", "+Inf")

_EXPRESSIONS = (
    *("sum by (job) (rate(m{0}_total[5m])) > {1}", "rate(m{0}_total[5m]) > {1}", "increase(m{0}_total[10m]) > {1}"),
    *("m{0}_total > {1}", "max by (job) (m{0}_total) > {1}", "m{0}_total == {1} and on (job) m{0}_total > 5"),
    *("avg_over_time(m{0}_total[10m]) > {1}", "sum(m{0}_total) by (job) / count(m{0}_total) by (job) > {1}"),
    "histogram_quantile(0.95, sum by (le) (rate(m{0}_bucket[5m]))) > {1}",
)


def _rules() -> str:
    lines = ["groups:"]
    for number in range(RULES):
        if number % 20 == 0:
            lines.append(f"- name: g{number}\n  rules:")
        threshold = 0 if number % 10 == 0 else 10**9
        expression = _EXPRESSIONS[number % len(_EXPRESSIONS)].format(number, threshold)
        if number % 10 == 9:
            lines.append(f"  - record: r{number}\n    expr: {expression.rpartition(' > ')[0] or expression}")
        else:
            lines.append(f"  - alert: a{number}\n    expr: {expression}\n    for: 1m\n    labels: {{severity: page}}")
            lines.append("    annotations: {summary: '{{ $labels.job }} has {{ $value | humanize }}'}")
    return "\n".join(lines)


class Evaluated:
    """A history with series, and rules over them."""

    def __init__(self) -> None:
        self.history = History(Clock(), retention_seconds=3600.0, max_series=2 * SERIES)
        self.rows = []
        for number in range(RULES):
            is_histogram = number % len(_EXPRESSIONS) == len(_EXPRESSIONS) - 1
            for each in range(SERIES // RULES):
                labels = {"job": f"job{each % 3}", "instance": f"instance{each // len(_BOUNDS)}", "path": f"/{each}"}
                if is_histogram:
                    labels |= {"le": _BOUNDS[each % len(_BOUNDS)], "path": "/"}
                name = f"m{number}_{'bucket' if is_histogram else 'total'}"
                row = self.history.table.open(labels_of({**labels, "__name__": name}))
                assert row is not None
                self.rows.append(row)
        self.time_ms, self.ticks = 1_700_000_000_000, 0
        self.engine = Engine(self.history, HistorySettings())
        self.engine.load(parse_rules(_rules(), "rules.yml"), self.time_ms)
        for _ in range(TICKS):
            self.sample()

    def sample(self) -> None:
        """Take a tick of the history."""
        self.time_ms += INTERVAL_MS
        self.ticks += 1
        self.history.append(self.time_ms, self.rows, array("d", [float(self.ticks * 3)] * len(self.rows)))

    def steps(self) -> Iterator[None]:
        """A tick of rules, in the pieces between which a thread lets others go on."""
        yield from self.engine.evaluate_due(self.time_ms, alerts=True)
        for _ in encode(self.engine.alerting_states(), self.time_ms):
            yield
        report = yield from build_report(self.engine, self.time_ms)
        yield from self.history.record(_TABLE, self.time_ms, islice(report.samples.items(), _KEPT_SERIES))
        self.report = report
        yield

    def tick(self) -> float:
        """Processor time of a tick of rules."""
        self.sample()
        started = process_cpu_seconds()
        for _ in self.steps():
            pass
        return process_cpu_seconds() - started

    def piece_seconds(self) -> list[float]:
        """The duration of each piece of a tick."""
        self.sample()
        ends = [perf_counter(), *(perf_counter() for _ in self.steps())]
        return [end - start for start, end in pairwise(ends)]


def run(options: Options) -> list[Result]:
    evaluated, peer = Evaluated(), prometheus_client.CollectorRegistry()
    change_peer = fill_client(peer, as_http_metrics(2 * SERIES))

    def generate() -> float:
        change_peer()
        started = process_cpu_seconds()
        prometheus_client.generate_latest(peer)
        return process_cpu_seconds() - started

    rounds = options.pick(4, 20)
    figures = take_turns({"tick": evaluated.tick, "generate": generate}, rounds, warm_up=5)
    tick, generated = low(figures["tick"]), low(figures["generate"])
    pieces = [evaluated.piece_seconds() for _ in range(rounds)]
    longest = max(low(piece) for piece in zip(*pieces, strict=True))
    failing = [each.rule.name for each in evaluated.report.rules() if each.state.health != "ok"]
    assert not failing, failing
    firing = sum(alert.state == "firing" for alert in evaluated.report.alerts())
    return [
        Result(
            "rules_tick",
            milliseconds(tick),
            milliseconds(generated),
            tick / generated,
            f"{versions('prometheus-client')}, generate_latest",
            [f"{RULES} rules, {firing} alerts firing, {len(pieces[0])} pieces"],
        ),
        Result("rules_piece", milliseconds(longest), "-", longest * 1000, "nothing", []),
    ]
