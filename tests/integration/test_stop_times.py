"""A stop waits for nobody: what hangs, hangs without us. And commands end although no name server answers.

Measured is what the process waits for, from the signal to its end, with us and without: a busy machine makes everything
longer, but lets nothing wait longer.
"""

from __future__ import annotations

import contextlib
import http.client
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from ordinaut_ext_observability.metrics.budget import LabelBudgets
from ordinaut_ext_observability.relay.redis_store import RedisRelayStore
from ordinaut_ext_observability.relay.series_list import SeriesList, number_at
from tests.otlp import OtlpReceiver

MOST_ADDED_SECONDS = 0.5

LIBRARIES = "import asyncpg, fastapi, prometheus_client, pydantic, redis\n"
"""A host has these, with us or without: what it takes Python to clear them away is not ours."""

HOST = f"""{LIBRARIES}
import os
app = fastapi.FastAPI()
if os.environ.get("WITH_US"):
    from importlib.metadata import entry_points
    (point,) = entry_points(group="ordinaut.plugins", name="observability")
    options = {{"tool_registry": None, "grants": set(), "context": {{}}}}
    router = point.load()().setup(app=app, mount_path="/ext/observability", **options)
    app.include_router(router, prefix="/ext/observability")
"""

WORKER = f"""{LIBRARIES}
import os, signal, sys
signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
if os.environ.get("WITH_US"):
    from observability.logging import get_logger
    from observability.metrics import orchestrator_metrics
    get_logger("worker").info("ready")
    orchestrator_metrics.record_worker_heartbeat("worker")
print("ready", flush=True)
signal.pause()
"""

Start = Callable[..., subprocess.Popen[bytes]]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Starts a program, by `around` if there is something to be around it; killed at the end if it still runs."""
    started: list[subprocess.Popen[bytes]] = []

    def run(source: str, *arguments: str, environ: Mapping[str, str], around: Any = list) -> subprocess.Popen[bytes]:
        (tmp_path / "program.py").write_text(source)
        inherited = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith("ORDINAUT_") and name not in ("DATABASE_URL", "REDIS_URL")
        }
        process = subprocess.Popen(
            around([sys.executable, *arguments]),
            cwd=tmp_path,
            env={**inherited, **environ},
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        started.append(process)
        return process

    yield run
    for process in started:
        process.kill()
        process.wait()
        assert process.stdout is not None
        process.stdout.close()


def is_open(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), 1.0).close()
    except OSError:
        return False
    return True


@pytest.fixture
def stop_host(start: Start, free_port: Callable[[], int], eventually: Callable[..., bool]) -> Callable[..., float]:
    """How long a host on uvicorn takes to end."""

    def run(environ: Mapping[str, str], around: Any, wait: Callable[[], None]) -> float:
        port = free_port()
        process = start(HOST, "-m", "uvicorn", "--port", str(port), "program:app", environ=environ, around=around)
        assert eventually(lambda: process.poll() is not None or is_open(port), 90.0)
        with contextlib.closing(http.client.HTTPConnection("127.0.0.1", port, timeout=30.0)) as connection:
            connection.request("GET", "/nowhere")
            assert connection.getresponse().status == 404
        return stop(process, wait)

    return run


@pytest.fixture
def stop_worker(start: Start) -> Callable[..., float]:
    """How long a worker takes to end."""

    def run(environ: Mapping[str, str], around: Any, wait: Callable[[], None]) -> float:
        process = start(WORKER, "program.py", environ=environ, around=around)
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        return stop(process, wait)

    return run


def running_seconds(pid: int) -> float:
    """How long the main thread has used a processor, or wanted to."""
    used, waited, _ = Path(f"/proc/{pid}/schedstat").read_text().split()
    return (int(used) + int(waited)) / 1e9


def waiting_seconds(process: subprocess.Popen[bytes], begun: float, ran: float) -> float:
    """How long its main thread has waited until the end of the process, since it had run for so long."""
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    return time.monotonic() - begun - (running_seconds(process.pid) - ran)


def stop(process: subprocess.Popen[bytes], wait: Callable[[], None]) -> float:
    wait()
    process.send_signal(signal.SIGTERM)
    return waiting_seconds(process, time.monotonic(), running_seconds(process.pid))


@pytest.mark.parametrize(
    ("what", "hanging"),
    # All four by `tests/long/test_every_case.py`.
    [
        ("host", "PostgreSQL Redis"),
        ("worker", "DNS"),
        *([("host", "DNS"), ("worker", "Redis")] if os.environ.get("EVERY_CASE") else []),
    ],
)
def test_a_stop_waits_half_a_second_longer_at_most(
    what: str, hanging: str, silent_server: Callable[[], Any], request: pytest.FixtureRequest
) -> None:
    measure: Callable[..., float] = request.getfixturevalue(f"stop_{what}")
    around: Any = list
    asked: list[Any] = []
    environ = {"WITH_US": "1"}
    if "DNS" in hanging:
        resolver = request.getfixturevalue("silent_resolver")
        around, asked = resolver.around, [resolver.asked]
    for name, variable, url in (
        ("PostgreSQL", "DATABASE_URL", "postgresql://u@{}/db"),
        ("Redis", "REDIS_URL", "redis://{}/0"),
    ):
        if name in hanging:
            server = silent_server()
            environ[variable] = url.format(f"127.0.0.1:{server.port}")
            asked.append(server.asked)
        elif "DNS" in hanging:
            environ[variable] = url.format(f"{name.lower()}.hanging.test:1")

    def wait() -> None:
        for event in asked:
            event.wait(20.0)

    with ThreadPoolExecutor() as pool:
        without, with_us = pool.map(measure, ({}, environ), (around, around), (lambda: None, wait))
    assert with_us - without < MOST_ADDED_SECONDS, (without, with_us)


def test_a_stop_waits_half_a_second_longer_at_most_for_a_collector_of_spans(stop_host: Callable[..., float]) -> None:
    receivers = {trouble: OtlpReceiver() for trouble in ("refused", "hanging", "503")}
    receivers["refused"].close()
    receivers["hanging"].hanging = True
    receivers["503"].status = 503

    def measure(trouble: str) -> float:
        if trouble == "none":
            return stop_host({}, list, lambda: None)
        receiver = receivers[trouble]
        wait = (lambda: None) if trouble == "refused" else lambda: assert_set(receiver.asked)
        return stop_host({"WITH_US": "1", "OTEL_EXPORTER_OTLP_ENDPOINT": receiver.url}, list, wait)

    def assert_set(event: threading.Event) -> None:
        assert event.wait(30.0)

    with ThreadPoolExecutor(2) as pool:
        without, *with_us = pool.map(measure, ("none", *receivers))
    for trouble in ("hanging", "503"):
        receivers[trouble].close()
    assert max(with_us) - without < MOST_ADDED_SECONDS, (without, with_us)


LOGS_A_LINE = """
import fcntl, os, time
_, standard_error = os.pipe()
os.dup2(standard_error, 2)
os.write(2, b"x" * fcntl.fcntl(2, fcntl.F_GETPIPE_SZ))
from observability.logging import get_logger
get_logger("script").info("the last line")
used, waited, _ = open("/proc/self/schedstat").read().split()
print(time.monotonic(), (int(used) + int(waited)) / 1e9, flush=True)
"""


def test_a_script_ends_at_once_although_nobody_takes_its_lines(start: Start) -> None:
    process = start(LOGS_A_LINE, "program.py", environ={})
    assert process.stdout is not None
    begun, ran = (float(number) for number in process.stdout.readline().split())
    assert waiting_seconds(process, begun, ran) < MOST_ADDED_SECONDS


def test_an_ordinary_end_loses_neither_lines_nor_counts(start_child: Callable[..., Any], redis_url: str) -> None:
    source = (
        "from observability.logging import get_logger\n"
        "from observability.metrics import orchestrator_metrics\n"
        "for number in range(2000): get_logger('w').info('line', extra={'number': number})\n"
        "orchestrator_metrics.record_worker_heartbeat('w')\n"
    )
    child = start_child("-c", source, environ={"REDIS_URL": redis_url, "ORDINAUT_OBS_RELAY_INTERVAL_SECONDS": "2"})
    assert child.process.wait(30.0) == 0
    assert [line["number"] for line in child.log_lines(message="line")] == list(range(2000))
    store = RedisRelayStore(redis_url, "tests")
    series = SeriesList(LabelBudgets())
    reading = series.read(store)
    store.close()
    reading.total.extend([0] * (series.size - len(reading.total)))
    counted = {key[0].name: number_at(reading.total, place) for key, place, _ in series.series if key[1] == ("w",)}
    assert counted == {"orchestrator_worker_heartbeat_total": 1}
    assert list(reading.entries) == []


COMMANDS = {
    "check http://host.hanging.test:8000": "no name server answers for host.hanging.test",
    "doctor --url http://host.hanging.test:8000": "no name server answers for host.hanging.test",
    "doctor --url http://127.0.0.1:1": "REDIS_URL: no name server answers for redis.hanging.test",
    "db --timeout 2": "postgresql.hanging.test:5432/db: no answer within 2 s",
    "advise --timeout 2": "postgresql.hanging.test:5432/db: no answer within 2 s",
}


def test_commands_end_soon_although_no_name_server_answers(start: Start, silent_resolver: Any) -> None:
    """Runs all at once: each waits for seconds."""
    environ = {
        "COLUMNS": "300",
        "DATABASE_URL": "postgresql://u@postgresql.hanging.test/db",
        "REDIS_URL": "redis://redis.hanging.test/0",
    }

    def run(command: str) -> tuple[str, float, int]:
        arguments = ["-m", "ordinaut_ext_observability", *command.split()]
        process = start("", *arguments, environ=environ, around=silent_resolver.around)
        assert process.stdout is not None
        begun, ran = time.monotonic(), running_seconds(process.pid)
        said = process.stdout.read().decode()
        return said, waiting_seconds(process, begun, ran), process.wait()

    with ThreadPoolExecutor() as pool:
        for (command, expected), (said, seconds, status) in zip(COMMANDS.items(), pool.map(run, COMMANDS), strict=True):
            assert expected in said, command
            assert seconds < 4.0, command
            assert status in (1, 2), command
