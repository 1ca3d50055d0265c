"""One scrape shows what several processes counted: real processes, through Redis and through a file."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import sqlite3
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import httpx
import pytest

COMMAND = str(Path(sys.executable).with_name("ordinaut-observability"))
METRICS = "/ext/observability/metrics"
INTERVAL = 0.2
KILLS = 10 if os.environ.get("EVERY_CASE") else 5

WORKER = """
import itertools, sys, time
from observability.metrics import orchestrator_metrics
worker, pause, limit = sys.argv[1], float(sys.argv[2]), int(sys.argv[3])
orchestrator_metrics.update_active_workers(worker, "busy")
for number in itertools.count(1):
    if number <= limit:
        orchestrator_metrics.record_worker_heartbeat(worker)
        orchestrator_metrics.record_step_execution("tool", "step", "task", 0.01)
        print(number, flush=True)
    time.sleep(pause)
"""

SCHEDULER = """
import time
from observability.metrics import orchestrator_metrics
orchestrator_metrics.record_scheduler_tick("success")
orchestrator_metrics.update_scheduler_lag(1.5)
print(1, flush=True)
time.sleep(60)
"""

SHORT_LIVED = """
from observability.metrics import orchestrator_metrics
orchestrator_metrics.record_worker_heartbeat("short")
"""


@pytest.fixture(name="start_child")
def _start_child(start_child: Any) -> Iterator[Any]:
    """As the module's, but nothing runs on after the test: the next one has the same server."""
    children: list[Any] = []

    def run(*arguments: str, environ: Mapping[str, str]) -> Any:
        children.append(start_child(*arguments, environ=environ))
        return children[-1]

    yield run
    for child in children:
        child.clean_up()


@pytest.fixture(params=["redis", "file"])
def transport(request: pytest.FixtureRequest) -> dict[str, str]:
    """Variables for the processes of one test; where nothing is set, they find the file themselves."""
    where = {"REDIS_URL": request.getfixturevalue("redis_url")} if request.param == "redis" else {}
    return {"ORDINAUT_OBS_RELAY_INTERVAL_SECONDS": str(INTERVAL), **where}


def over(store: str) -> pytest.MarkDecorator:
    """Over this store alone, since minutes add up; over each by `tests/long/test_every_case.py`."""
    stores = ["redis", "file"] if os.environ.get("EVERY_CASE") else [store]
    return pytest.mark.parametrize("transport", stores, indirect=True)


class Api:
    """The command's stand-in host, which has us mounted."""

    def __init__(self, child: Any, base: str) -> None:
        self.child = child
        self._client = httpx.Client(base_url=base, timeout=10, trust_env=False, verify=False)

    def close(self) -> None:
        self._client.close()

    def page(self) -> str:
        return self._client.get(METRICS).text

    def value(self, name: str, page: str | None = None) -> float:
        """The sum of all samples of this name."""
        found = re.findall(rf"^{name}(?:\{{.*\}})? (\S+)$", page or self.page(), re.MULTILINE)
        return sum(map(float, found))


@pytest.fixture
def start_api(start_child: Any, eventually: Any) -> Iterator[Callable[..., Api]]:
    opened: list[Api] = []

    def run(environ: Mapping[str, str]) -> Api:
        child = start_child(COMMAND, "serve", "--port", "0", environ=environ)
        assert eventually(lambda: "Scrape it" in child.out, 30), child.err
        base = re.search(r"metrics +(http://\S+)/ext/", child.out)
        assert base
        child.wait_for_port(int(base[1].rpartition(":")[2]))
        opened.append(Api(child, base[1]))
        return opened[-1]

    yield run
    for api in opened:
        api.close()


def start_worker(start_child: Any, environ: Mapping[str, str], pause: float = 0.005, limit: int = 10**9) -> Any:
    return start_child("-c", WORKER, "w1", str(pause), str(limit), environ=environ)


def counted(worker: Any) -> int:
    """What the worker says it counted."""
    return int(worker.out.split("\n")[-2]) if "\n" in worker.out else 0


HEARTBEATS = "orchestrator_worker_heartbeat_total"


def test_one_scrape_shows_worker_and_scheduler(
    transport: dict[str, str], start_api: Any, start_child: Any, eventually: Any
) -> None:
    api = start_api(transport)
    worker = start_worker(start_child, transport, limit=5)
    start_child("-c", SCHEDULER, environ=transport)
    assert eventually(lambda: api.value(HEARTBEATS) == 5 and api.value("orchestrator_scheduler_ticks_total") == 1)
    page = api.page()
    assert 'orchestrator_worker_heartbeat_total{worker_id="w1"} 5.0' in page
    assert api.value("orchestrator_step_duration_seconds_count", page) == 5
    assert api.value("orchestrator_step_duration_seconds_sum", page) == pytest.approx(0.05)
    assert api.value("orchestrator_scheduler_lag_seconds", page) == 1.5
    assert 'orchestrator_worker_state{state="busy",worker_id="w1"} 1.0' in page or (
        'orchestrator_worker_state{worker_id="w1",state="busy"} 1.0' in page
    )
    worker.process.kill()
    assert eventually(lambda: "orchestrator_worker_state{" not in api.page())
    assert api.value(HEARTBEATS) == 5


@over("redis")
def test_a_worker_killed_again_and_again_loses_an_interval_at_most(
    transport: dict[str, str], start_api: Any, start_child: Any, eventually: Any
) -> None:
    api = start_api(transport)
    true, allowed, sums = 0, 0, [0.0]
    for _ in range(KILLS):
        worker = start_worker(start_child, transport)
        assert eventually(lambda: counted(worker) > 60, 30)
        worker.process.kill()
        worker.process.wait()
        true += counted(worker)
        # An interval and its jitter, at 200 a second.
        allowed += int((1.1 * INTERVAL + 0.05) * 200)
        sums.append(api.value(HEARTBEATS))
    for _ in range(20):
        time.sleep(INTERVAL / 4)
        sums.append(api.value(HEARTBEATS))
    assert sums == sorted(sums)
    assert true - allowed <= sums[-1] <= true + 10  # killed between counting and telling


@over("file")
def test_a_worker_stopped_for_long_is_counted_once(
    transport: dict[str, str], start_api: Any, start_child: Any, eventually: Any
) -> None:
    environ = {**transport, "ORDINAUT_OBS_RELAY_INTERVAL_SECONDS": "0.1"}
    api, worker = start_api(environ), start_worker(start_child, environ, limit=200)
    assert eventually(lambda: counted(worker) > 60)
    worker.process.send_signal(signal.SIGSTOP)
    time.sleep(0.3)
    before, sums = api.value(HEARTBEATS), []
    end = time.monotonic() + 4.0  # its entry, with its gauges, is gone after three seconds
    while time.monotonic() < end:
        sums.append(api.value(HEARTBEATS))
        time.sleep(0.02)
    assert set(sums) == {before}
    worker.process.send_signal(signal.SIGCONT)
    while counted(worker) < 200:
        sums.append(api.value(HEARTBEATS))
    assert eventually(lambda: api.value(HEARTBEATS) == 200), api.value(HEARTBEATS)
    time.sleep(3 * 0.1)
    assert api.value(HEARTBEATS) == 200
    assert sums == sorted(sums)


@over("file")
def test_processes_that_live_for_a_moment_leave_only_the_total(
    transport: dict[str, str], start_api: Any, start_child: Any, eventually: Any
) -> None:
    environ = {**transport, "ORDINAUT_OBS_RELAY_INTERVAL_SECONDS": "0.1"}
    api = start_api(environ)
    for _ in range(3):
        children = [start_child("-c", SHORT_LIVED, environ=environ) for _ in range(4)]
        assert [child.process.wait(30) for child in children] == [0] * 4
        assert "".join(child.err for child in children if "Traceback" in child.err) == ""
    assert eventually(lambda: api.value(HEARTBEATS) == 12), api.value(HEARTBEATS)
    assert eventually(lambda: publishers(environ) == 1), publishers(environ)


def publishers(environ: Mapping[str, str]) -> int:
    """How many publishers the store knows."""
    if "REDIS_URL" in environ:
        import redis

        with redis.Redis.from_url(environ["REDIS_URL"]) as client:
            return int(client.zcard("{ordinaut-observability:tests}:relay:seen"))
    path = Path(os.environ["XDG_STATE_HOME"]) / "ordinaut-observability" / "tests.sqlite"
    with contextlib.closing(sqlite3.connect(path)) as db:
        ((count,),) = db.execute("SELECT count(*) FROM relay_publishers")
        return int(count)


@over("file")
def test_it_works_beside_the_directory_of_prometheus_client(
    transport: dict[str, str], start_api: Any, start_child: Any, eventually: Any, tmp_path: Path
) -> None:
    folder = tmp_path / "multiprocess"
    folder.mkdir()
    environ = {**transport, "PROMETHEUS_MULTIPROC_DIR": str(folder)}
    api, worker = start_api(environ), start_worker(start_child, environ, limit=5)
    assert eventually(lambda: api.value(HEARTBEATS) == 5)
    assert "Traceback" not in worker.err


def test_a_process_forked_from_a_worker_counts_for_itself(
    transport: dict[str, str], start_api: Any, start_child: Any, eventually: Any
) -> None:
    code = """
import os, time
from observability.metrics import orchestrator_metrics
for _ in range(5):
    orchestrator_metrics.record_worker_heartbeat("parent")
time.sleep(0.5)
if os.fork() == 0:
    orchestrator_metrics.record_worker_heartbeat("child")
    time.sleep(4)
os.wait()
"""
    api = start_api(transport)
    start_child("-c", code, environ=transport)
    assert eventually(lambda: 'worker_id="child"} 1.0' in api.page())
    time.sleep(3 * INTERVAL)
    assert api.value(HEARTBEATS) == 6
