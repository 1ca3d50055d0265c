"""Several API processes on one port, and the store stopped, frozen or restarted: sums do not go back, nothing raises."""

from __future__ import annotations

import re
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import httpx
import pytest

from ordinaut_ext_observability.demo.servers import RedisServer

METRICS = "/ext/observability/metrics"
INTERVAL = 0.2
HEARTBEATS = "orchestrator_worker_heartbeat_total"
REQUESTS = "orchestrator_http_requests_total"

WORKER = """
import itertools, sys, time
from observability.metrics import orchestrator_metrics
limit = int(sys.argv[1])
for number in itertools.count(1):
    if number <= limit:
        orchestrator_metrics.record_worker_heartbeat("w1")
        print(number, flush=True)
    time.sleep(0.01)
"""

API = """
import socket, sys
import uvicorn
from fastapi import FastAPI
from ordinaut_ext_observability.extension import ObservabilityExtension

app = FastAPI()
app.include_router(ObservabilityExtension().setup(app=app, mount_path="/ext/observability"), prefix="/ext/observability")

@app.get("/work")
async def work():
    return {}

shared = socket.socket()
shared.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
shared.bind(("127.0.0.1", int(sys.argv[1])))
shared.listen(100)
uvicorn.Server(uvicorn.Config(app, log_level="warning", access_log=False)).run(sockets=[shared])
"""


class Port:
    """One port behind which one or several API processes are; each request is a new connection."""

    def __init__(self, port: int) -> None:
        self.port = port
        self._client = httpx.Client(
            base_url=f"http://127.0.0.1:{port}",
            timeout=10,
            trust_env=False,
            verify=False,
            limits=httpx.Limits(max_keepalive_connections=0),
        )

    def get(self, path: str) -> str | None:
        """None where the process that had the connection was killed."""
        try:
            return self._client.get(path).text
        except httpx.TransportError:
            return None

    def value(self, name: str, *, having: str = "") -> float:
        page = None
        # One of several API processes shows no counters while it lacks the moment that is due.
        while page is None or f"# TYPE {name} " not in page:
            page = self.get(METRICS)
        return _sum(page, name, having)

    def watch(self, seconds: float, name: str = HEARTBEATS, *, having: str = "") -> list[float]:
        """What it shows, asked all the time."""
        end = time.monotonic() + seconds
        values = []
        while time.monotonic() < end:
            page = self.get(METRICS)
            if page is not None and f"# TYPE {name} " in page:
                values.append(_sum(page, name, having))
        return values

    def close(self) -> None:
        self._client.close()


def _sum(page: str, name: str, having: str) -> float:
    return sum(
        float(line.rpartition(" ")[2])
        for line in page.splitlines()
        if re.match(rf"{name}[ {{]", line) and having in line
    )


@pytest.fixture
def redis_server_of_its_own(redis_server: RedisServer) -> Iterator[RedisServer]:
    """One that the test may stop; there is one only where there is the shared one."""
    server = RedisServer()
    server.start()
    yield server
    server.stop()


@pytest.fixture
def run_child(start_child: Any) -> Iterator[Callable[..., Any]]:
    children: list[Any] = []

    def run(*arguments: str, environ: Mapping[str, str]) -> Any:
        children.append(start_child(*arguments, environ=environ))
        return children[-1]

    yield run
    for child in children:
        child.clean_up()


@pytest.fixture
def port(free_port: Callable[[], int]) -> Iterator[Port]:
    port = Port(free_port())
    yield port
    port.close()


def environ_of(url: str) -> dict[str, str]:
    return {"REDIS_URL": url, "ORDINAUT_OBS_RELAY_INTERVAL_SECONDS": str(INTERVAL)}


def start_apis(run_child: Any, port: Port, environ: Mapping[str, str], count: int = 1) -> list[Any]:
    children = [run_child("-c", API, str(port.port), environ=environ) for _ in range(count)]
    for child in children:
        child.wait_for_port(port.port)
    time.sleep(0.5 if count > 1 else 0)
    return children


def counted(worker: Any) -> int:
    return int(worker.out.split("\n")[-2]) if "\n" in worker.out else 0


def decreases(values: list[float]) -> list[tuple[float, float]]:
    return [(before, after) for before, after in zip(values, values[1:], strict=False) if after < before]


def relay_events(child: Any) -> list[str]:
    return [line["message"] for line in child.log_lines(event_type="relay")]


@pytest.mark.parametrize("count", [1, 2])
def test_redis_restarted_empty_begins_at_zero_and_loses_nothing_more(
    redis_server_of_its_own: RedisServer, run_child: Any, port: Port, eventually: Any, count: int
) -> None:
    """Nothing that was counted before comes back as a burst, and nothing that is counted after is lost."""
    server = redis_server_of_its_own
    environ = environ_of(server.url)
    apis = start_apis(run_child, port, environ, count=count)
    worker = run_child("-c", WORKER, "400", environ=environ)
    assert eventually(lambda: port.value(HEARTBEATS) > 50)
    before = port.watch(0.5)
    server.stop(keep=True)
    away = port.watch(1.5)
    server.start()
    after = port.watch(1.0)
    assert eventually(lambda: counted(worker) == 400)
    after += port.watch(1.0)
    assert decreases(before) == decreases(away) == []
    assert len(decreases(after)) <= 1
    # What was published before is gone, and of the rest at most what was in doubt when the store went.
    assert 400 - before[-1] - 60 < after[-1] <= 400 - before[-1]
    for child in (*apis, worker):
        assert "Traceback" not in child.err
        assert relay_events(child) == ["relay open", "relay store does not answer", "relay store answers again"]
    assert port.value("ordinaut_observability_internal_errors_total") == 0


def test_api_and_redis_restarted_together_show_what_is_counted_then(
    redis_server_of_its_own: RedisServer, run_child: Any, port: Port, eventually: Any
) -> None:
    server = redis_server_of_its_own
    environ = environ_of(server.url)
    (api,) = start_apis(run_child, port, environ)
    worker = run_child("-c", WORKER, "600", environ=environ)
    assert eventually(lambda: port.value(HEARTBEATS) > 20)
    api.process.kill()
    server.stop(keep=True)
    api.process.wait()
    server.start()
    (api,) = start_apis(run_child, port, environ)
    assert eventually(lambda: port.value(HEARTBEATS) > 20), port.value(HEARTBEATS)
    values = port.watch(1.0)
    assert decreases(values) == []
    assert values[-1] < counted(worker) + 1
    assert "Traceback" not in worker.err + api.err


def test_two_api_processes_on_one_port_show_the_same(
    redis_url: str, run_child: Any, port: Port, eventually: Any
) -> None:
    """Whichever answers: of the worker's counts and of their own requests none is seen to go back."""
    environ = environ_of(redis_url)
    apis = start_apis(run_child, port, environ, count=2)
    worker = run_child("-c", WORKER, "10000", environ=environ)
    assert eventually(lambda: port.value(HEARTBEATS) > 0)
    heartbeats, requests, asked = [], [], 0
    end = time.monotonic() + 3
    while time.monotonic() < end:
        asked += port.get("/work") is not None
        page = port.get(METRICS) or ""
        heartbeats.append(number_in(page, rf'{HEARTBEATS}\{{worker_id="w1"\}} (\S+)'))
        requests.append(number_in(page, rf'{REQUESTS}\{{[^}}]*endpoint="/work"[^}}]*\}} (\S+)'))
    assert decreases(heartbeats) == []
    assert decreases(requests) == []
    worker.process.kill()
    assert eventually(lambda: port.value(REQUESTS, having='"/work"') == asked), (asked, requests[-1])
    assert port.value("ordinaut_observability_relay_processes") >= 2
    assert all("Traceback" not in api.err for api in apis)


def number_in(page: str, pattern: str) -> float:
    found = re.search(pattern, page)
    return float(found[1]) if found else 0.0


def test_one_of_two_api_processes_is_killed_and_started_again(
    redis_url: str, run_child: Any, port: Port, eventually: Any
) -> None:
    environ = environ_of(redis_url)
    apis = start_apis(run_child, port, environ, count=2)
    run_child("-c", WORKER, "10000", environ=environ)
    assert eventually(lambda: port.value(HEARTBEATS) > 0)
    values = port.watch(0.5)
    apis[0].process.kill()
    values += port.watch(1.0)
    run_child("-c", API, str(port.port), environ=environ)
    values += port.watch(3.0)
    assert decreases(values) == []
    assert values[-1] > values[0]


def test_while_the_store_hangs_two_api_processes_show_no_counters(
    redis_server_of_its_own: RedisServer, run_child: Any, port: Port, eventually: Any
) -> None:
    server = redis_server_of_its_own
    environ = environ_of(server.url)
    start_apis(run_child, port, environ, count=2)
    worker = run_child("-c", WORKER, "500", environ=environ)
    assert eventually(lambda: port.value(HEARTBEATS) > 20)
    values: list[float] = []
    assert server.process is not None
    for _ in range(2):
        values += port.watch(0.3)
        server.process.send_signal(signal.SIGSTOP)
        values += port.watch(2.0)
        assert port.watch(0.3) == []
        server.process.send_signal(signal.SIGCONT)
        values += port.watch(1.0)
    assert eventually(lambda: counted(worker) == 500)
    assert eventually(lambda: port.value(HEARTBEATS) == 500)
    assert decreases(values) == []


def test_while_redis_does_not_answer_the_api_does(
    redis_server_of_its_own: RedisServer, run_child: Any, port: Port, eventually: Any
) -> None:
    """Redis is stopped as by SIGSTOP: connections are accepted, answers never come."""
    server = redis_server_of_its_own
    environ = environ_of(server.url)
    (api,) = start_apis(run_child, port, environ)
    worker = run_child("-c", WORKER, "30", environ=environ)
    assert eventually(lambda: port.value(HEARTBEATS) == 30)
    assert server.process is not None
    server.process.send_signal(signal.SIGSTOP)
    seconds = []
    try:
        for _ in range(50):
            started = time.monotonic()
            assert port.value(HEARTBEATS) == 30
            seconds.append(time.monotonic() - started)
            started = time.monotonic()
            assert port.get("/ext/observability/health/live") is not None
            seconds.append(time.monotonic() - started)
            time.sleep(0.02)
    finally:
        server.process.send_signal(signal.SIGCONT)
    assert sorted(seconds)[len(seconds) // 2] < 0.5  # whoever asked the store would wait for a second
    assert eventually(lambda: "relay store answers again" in relay_events(api))
    assert "Traceback" not in api.err + worker.err
