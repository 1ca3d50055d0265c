"""The status page of a host with 500 routes of 14 buckets: rendered for the first time, and again.

Against `prometheus_client.generate_latest` of 5,000 series. Cost is processor time; that of a step is its thread's.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator

import prometheus_client
from fastapi import FastAPI

from benchmarks.harness import Options, Result, cpu_seconds_of, low, milliseconds, take_turns, versions
from benchmarks.queries import piece_seconds
from benchmarks.series import as_http_metrics, fill_client
from ordinaut_ext_observability.background.clock import Clock
from ordinaut_ext_observability.extension import ObservabilityExtension
from ordinaut_ext_observability.history.history import History
from ordinaut_ext_observability.history.series import NAME, labels_of
from ordinaut_ext_observability.manifest import MOUNT_PATH
from ordinaut_ext_observability.web.page.page import StatusPage, View, _make_environment

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
    now_ms = history.begin_tick()
    for tick in range(1, TICKS + 1):
        time_ms = now_ms - (TICKS - tick) * 15_000
        history.append(time_ms, rows, array("d", [float(growth * tick) for _, growth, _ in pairs]))
        if tick % 4 == 0:
            list(history.record("http", time_ms, results))
    return history


class Installation:
    """A host with the extension that has this hour, and a page of it."""

    def __init__(self) -> None:
        app = FastAPI()
        ObservabilityExtension().setup(app=app, mount_path=MOUNT_PATH)
        face = app.state.ordinaut_observability
        face._runtime.history.history = hour()
        self._context, self._scope = face._endpoint_context, {"type": "http", "app": app}
        self._environment = _make_environment(self._context.scrubber)
        self.page = StatusPage(Clock())

    def steps(self, page: StatusPage, route: str = "") -> Iterator[tuple[str, str]]:
        """The steps of rendering."""
        return page._render_parts(self._environment, self._context, self._scope, View(route, "1h", may_change=True))


def run(options: Options) -> list[Result]:
    host, peer = Installation(), prometheus_client.CollectorRegistry()
    fill_client(peer, as_http_metrics(5_000))
    candidates = {
        "page": cpu_seconds_of(lambda: list(host.steps(StatusPage(Clock())))),
        "page_route": cpu_seconds_of(lambda: list(host.steps(StatusPage(Clock()), "/resources/3/items/{item_id}"))),
        "page_again": cpu_seconds_of(lambda: list(host.steps(host.page))),
        "generate": cpu_seconds_of(lambda: prometheus_client.generate_latest(peer)),
    }
    rounds = options.pick(5, 25)
    figures = {name: low(values) for name, values in take_turns(candidates, rounds).items()}
    generated, peer_name = figures.pop("generate"), f"{versions('prometheus-client')}, generate_latest of 5,000 series"
    results = [
        Result(name, milliseconds(ours), milliseconds(generated), ours / generated, peer_name)
        for name, ours in figures.items()
    ]
    pieces = [piece_seconds(host.steps(StatusPage(Clock()))) for _ in range(rounds)]
    longest = max(low(piece) for piece in zip(*pieces, strict=True))
    texts = "".join(text for name, text in host.steps(host.page) if name == "page")
    kilobytes = len((texts + host.page.style + host.page.script).encode()) / 1000
    return [
        *results,
        Result("page_piece", milliseconds(longest), "-", longest * 1000, "nothing"),
        Result("page_size", f"{kilobytes:.0f} kB", "-", kilobytes, "nothing"),
    ]
