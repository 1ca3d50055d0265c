"""The plots and the table of routes of the status page, rendered for the first time, with 500 routes of 14 buckets.

Against `prometheus_client.generate_latest` of 5,000 series. Cost is processor time; that of a step is its thread's.
"""

from __future__ import annotations

from array import array
from collections.abc import Generator

import prometheus_client

from benchmarks.harness import Options, Result, cpu_seconds_of, low, milliseconds, take_turns, versions
from benchmarks.queries import piece_seconds
from benchmarks.series import as_http_metrics, fill_client
from ordinaut_ext_observability.background.clock import Clock
from ordinaut_ext_observability.history.history import History
from ordinaut_ext_observability.history.series import NAME, labels_of
from ordinaut_ext_observability.web.page.plots import Plots
from ordinaut_ext_observability.web.page.svg import figure_html

ROUTES = 500
TICKS = 240
RANGE_SECONDS = 3600.0
_BOUNDS = (*(str(bound / 100) for bound in (1, 2, 5, 7, 10, 25, 50, 75, 100, 250, 500, 750, 1000)), "+Inf")
_SECONDS = "_http_request_duration_seconds_bucket"
_QUEUE = ("queue_depth", "oldest_due_work_age_seconds", "work_items_processed_total")


def hour() -> History:
    """An hour until now: of each route two statuses and the buckets, of the queue what is plotted, what is recorded."""
    clock = Clock()
    history = History(clock, retention_seconds=RANGE_SECONDS, max_series=20_000)
    buckets = [(bound, number) for number, bound in enumerate(_BOUNDS, 1)]
    pairs: list[tuple[str, int, dict[str, str]]] = [(f"orchestrator_{name}", 3, {}) for name in _QUEUE]
    for route in range(ROUTES):
        of_route = {"endpoint": f"/resources/{route}/items/{{item_id}}", "method": "GET"}
        pairs += [("orchestrator_http_requests_total", 7, of_route | {"status_code": code}) for code in ("200", "503")]
        pairs += [(f"orchestrator{_SECONDS}", growth, of_route | {"le": bound}) for bound, growth in buckets]
    rows = [row for name, _, labels in pairs if (row := history.table.open(labels_of({**labels, NAME: name})))]
    recorded: list[tuple[str, float, dict[str, str]]] = [("http_requests", 9.0, {}), ("http_requests_failed", 0.1, {})]
    for name in (_SECONDS[1:], "schedule_drift_seconds_bucket"):
        recorded += [(name, float(growth), {"le": bound}) for bound, growth in buckets]
    results = [(labels_of({**labels, NAME: f"ordinaut:{name}:rate5m"}), value) for name, value, labels in recorded]
    now_ms = history.now_ms()
    for tick in range(1, TICKS + 1):
        time_ms = now_ms - (TICKS - tick) * 15_000
        history.append(time_ms, rows, array("d", [float(growth * tick) for _, growth, _ in pairs]))
        if tick % 4 == 0:
            history.record("http", time_ms, results)
    return history


def rendering(plots: Plots, history: History, route: str = "") -> Generator[None, None, None]:
    """What a page has of it."""
    drawn = yield from plots.read(history, route, RANGE_SECONDS)
    yield from plots.read_routes(history, RANGE_SECONDS)
    for plot in drawn.values():
        assert not plot.absent, plot
        assert "<path" in figure_html(plot, [(plot.end_ms - 60_000, "1.4.2")])
        yield


def run(options: Options) -> list[Result]:
    history, peer = hour(), prometheus_client.CollectorRegistry()
    fill_client(peer, as_http_metrics(5_000))
    route, known = "/resources/3/items/{item_id}", Plots(Clock())
    candidates = {
        "all": cpu_seconds_of(lambda: list(rendering(Plots(Clock()), history))),
        "route": cpu_seconds_of(lambda: list(rendering(Plots(Clock()), history, route))),
        "again": cpu_seconds_of(lambda: list(rendering(known, history))),
        "generate": cpu_seconds_of(lambda: prometheus_client.generate_latest(peer)),
    }
    rounds = options.pick(5, 25)
    figures = {name: low(values) for name, values in take_turns(candidates, rounds).items()}
    generated, peer_name = figures["generate"], f"{versions('prometheus-client')}, generate_latest of 5,000 series"
    pieces = [piece_seconds(rendering(Plots(Clock()), history)) for _ in range(rounds)]
    longest = max(low(piece) for piece in zip(*pieces, strict=True))
    results = []
    for name, budget in (("all", "page_plots"), ("route", "page_plots_route"), ("again", "page_plots_again")):
        ours = figures[name]
        results.append(Result(budget, milliseconds(ours), milliseconds(generated), ours / generated, peer_name))
    return [*results, Result("page_piece", milliseconds(longest), "-", longest * 1000, "nothing")]
