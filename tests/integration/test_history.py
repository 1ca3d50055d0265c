"""History in hosts on real servers: it fills, has the merged numbers in every process, and ends with the host."""

from __future__ import annotations

import re
import threading
import time
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from ordinaut_ext_observability.history.series import is_stale

REQUESTS = "orchestrator_http_requests_total"
THREAD = "observability-history"

API = """
import sys
import uvicorn
from fastapi import FastAPI
from ordinaut_ext_observability.extension import ObservabilityExtension
app = FastAPI()
app.include_router(ObservabilityExtension().setup(app=app, mount_path="/o"), prefix="/o")
history = app.state.ordinaut_observability._runtime.history.history

@app.get("/hello/{name}")
def hello(name: str):
    return name

@app.get("/last")
def last():
    return {
        dict(series.labels)["endpoint"]: series.values[-1]
        for series in history.select([], 0, 2**62)
        if series is not None and dict(series.labels)["__name__"] == "orchestrator_http_requests_total"
    }

uvicorn.run(app, port=int(sys.argv[1]), log_config=None)
"""


class Named:
    """A matcher of one metric's name."""

    name = "__name__"

    def __init__(self, name: str) -> None:
        self.equal_to = name

    def matches(self, value: str) -> bool:
        return value == self.equal_to


def make_app() -> FastAPI:
    app = FastAPI()

    @app.get("/hello")
    async def hello() -> str:
        return "hello"

    return app


def kept(served: Any, name: str, **labels: str) -> list[list[float]]:
    """The values of each series of this metric with these labels, the ends left out."""
    selected = served.runtime.history.history.select([Named(name)], 0, 2**62)
    return [
        [value for value in series.values if not is_stale(value)]
        for series in selected
        if series is not None and labels.items() <= dict(series.labels).items()
    ]


def test_the_history_of_a_host_fills_at_every_interval(serve: Any, eventually: Any) -> None:
    served = serve(make_app(), HISTORY_INTERVAL_SECONDS="1")
    history = served.runtime.history.history
    assert eventually(lambda: history.kept_since_ms is not None)
    assert abs(history.kept_since_ms / 1000 - time.time()) < 10
    served.get("/hello")
    assert eventually(lambda: kept(served, REQUESTS, endpoint="/hello") == [[1.0]])
    served.get("/hello")
    assert eventually(lambda: any(values[-1] == 2.0 for values in kept(served, REQUESTS, endpoint="/hello")))
    (buckets,) = kept(served, "orchestrator_http_request_duration_seconds_bucket", endpoint="/hello", le="+Inf")
    assert buckets[-1] == 2.0
    served.expect("ordinaut_observability_history_series_refused_total", 0.0)
    assert served.value("ordinaut_observability_history_series") == history.series_count()
    assert served.value("ordinaut_observability_overhead_seconds_total", component="history") > 0
    assert re.match(r"kept since 20\S+: \d+ series, about \d\.\d MB", served.runtime.notes()["history"])
    assert served.internal_errors() == {}


def test_two_processes_over_one_store_each_keep_the_merged_numbers(
    start_child: Any, free_port: Any, eventually: Any, tmp_path: Any
) -> None:
    environ = {
        "ORDINAUT_OBS_STORE": f"file:{tmp_path}/store.db",
        "ORDINAUT_OBS_HISTORY_INTERVAL_SECONDS": "1",
        "ORDINAUT_OBS_RELAY_INTERVAL_SECONDS": "0.2",
    }
    ports = [free_port(), free_port()]
    for port, child in [(port, start_child("-c", API, str(port), environ=environ)) for port in ports]:
        child.wait_for_port(port)
    with httpx.Client(trust_env=False, verify=False) as client:
        for port in (ports[0], ports[0], ports[1]):
            assert client.get(f"http://127.0.0.1:{port}/hello/you").json() == "you"
        for port in ports:
            assert eventually(lambda: client.get(f"http://127.0.0.1:{port}/last").json().get("/hello/{name}") == 3.0)


@pytest.mark.parametrize("settings", [{"HISTORY": "false"}, {"HISTORY": "true"}])
def test_no_thread_is_left_after_the_host(serve: Any, eventually: Any, settings: dict[str, str]) -> None:
    served = serve(make_app(), **settings)
    threads = {thread.name for thread in threading.enumerate()}
    assert (THREAD in threads) == (settings["HISTORY"] == "true")
    served.runtime.stop()
    assert eventually(lambda: THREAD not in {thread.name for thread in threading.enumerate()})


def test_a_tick_that_fails_is_counted_and_the_next_one_is_written(serve: Any, eventually: Any) -> None:
    served = serve(make_app(), HISTORY_INTERVAL_SECONDS="1")
    history = served.runtime.history.history
    assert eventually(lambda: history.kept_since_ms is not None)

    def fail() -> None:
        if (
            threading.current_thread().name == THREAD
            and served.runtime.metrics.registry._refreshers.remove(fail) is None
        ):
            raise RuntimeError("once")

    served.runtime.metrics.registry.refresh_with(fail)
    assert eventually(lambda: served.internal_errors().get("history") == 1)
    ticks = history.count_samples()
    assert eventually(lambda: history.count_samples() > ticks)
