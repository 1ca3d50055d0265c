"""A worker's lines carry the request that queued the work, through a real store."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from ordinaut_ext_observability.correlation.context import request_ids
from ordinaut_ext_observability.runtime.process import Runtime
from ordinaut_ext_observability.settings.load import load_settings

TRACES = ("1" * 32, "2" * 32)
HOSTILE = [
    b"",
    b"\x00\xff",
    b'id"\n{"level":"CRITICAL"} 00-' + b"1" * 32 + b"-" + b"2" * 16 + b"-01",
    b"x" * 500 + b" 00-" + b"1" * 32 + b"-" + b"2" * 16 + b"-01",
    b"good-id 00-" + b"1" * 32 + b"-" + b"2" * 16 + b"-01\nmore",
    b"good-id 00-" + b"g" * 32 + b"-" + b"2" * 16 + b"-01",
    "k\u00f6nig 00-".encode() + b"1" * 32 + b"-" + b"2" * 16 + b"-01",
    b"\x1b[31mred 00-" + b"1" * 32 + b"-" + b"2" * 16 + b"-01",
]

# Reads one instruction per line from a file that the test appends to.
WORKER = """
import sys, time
from observability.logging import worker_logger
from observability.metrics import orchestrator_metrics
from ordinaut_ext_observability.runtime.current import current_runtime
orchestrator_metrics.record_worker_heartbeat("w1")
if sys.argv[2] == "settled":
    assert current_runtime().merged.relay.state.settled.wait(20)
def waited():
    # Without the time in which it ran, or wanted to: a busy machine makes that longer.
    with open("/proc/thread-self/schedstat") as file:
        ran, wanted, _ = file.read().split()
    return time.monotonic() - (int(ran) + int(wanted)) / 1e9

print("ready", flush=True)
with open(sys.argv[1]) as instructions:
    while True:
        what, _, rest = instructions.readline().rstrip("\\n").partition(" ")
        if what == "lease":
            before = waited()
            worker_logger.lease_acquired(worker_id="w1", task_id=rest, lease_duration_seconds=60)
            print("leased", waited() - before, flush=True)
        elif what == "settle":
            assert current_runtime().merged.relay.state.settled.wait(20)
        elif what == "heartbeat":
            worker_logger.worker_heartbeat(worker_id="w1", queue_depth=0, active_leases=0)
        elif what == "log":
            worker_logger.info(rest)
        else:
            time.sleep(0.005)
"""


class Worker:
    def __init__(self, child: Any, instructions: Path, eventually: Any) -> None:
        self.child = child
        self._instructions = instructions
        self._eventually = eventually
        self._logged = 0
        assert eventually(lambda: "ready" in child.out), child.err

    def tell(self, *instructions: str) -> None:
        with self._instructions.open("a") as file:
            file.write("".join(f"{instruction}\n" for instruction in instructions))

    def lease(self, task_id: str) -> dict[str, Any]:
        """Begin the task; a line that is logged in it."""
        return self.log(f"lease {task_id}")

    def log(self, *before: str) -> dict[str, Any]:
        self._logged += 1
        message = f"line {self._logged}"
        self.tell(*before, f"log {message}")
        assert self._eventually(lambda: self.child.log_lines(message=message) != []), self.child.err
        (line,) = self.child.log_lines(message=message)
        return line

    def lease_seconds(self) -> list[float]:
        return [float(line.split()[1]) for line in self.child.out.splitlines() if line.startswith("leased ")]


@pytest.fixture(params=["redis", "file"])
def transport(request: pytest.FixtureRequest, clean_process: pytest.MonkeyPatch) -> dict[str, str]:
    clean_process.delenv("ORDINAUT_OBS_STORE")
    where = {"REDIS_URL": request.getfixturevalue("redis_url")} if request.param == "redis" else {}
    return {"ORDINAUT_OBS_RELAY_INTERVAL_SECONDS": "0.2", "ORDINAUT_OBS_INSTALLATION": "tests", **where}


@pytest.fixture
def start_worker(start_child: Any, tmp_path: Path, eventually: Any) -> Iterator[Callable[..., Worker]]:
    children: list[Any] = []

    def run(environ: Mapping[str, str], begins: str = "settled") -> Worker:
        instructions = tmp_path / "instructions"
        instructions.touch()
        child = start_child("-c", WORKER, str(instructions), begins, environ={"LOG_LEVEL": "DEBUG", **environ})
        children.append(child)
        return Worker(child, instructions, eventually)

    yield run
    for child in children:
        child.clean_up()


class Requests:
    """The runtime of an API process, with a request's ids bound when it is told that work was queued."""

    def __init__(self, runtime: Runtime, eventually: Any) -> None:
        self.runtime = runtime
        runtime.start()
        assert runtime.merged.relay is not None
        assert eventually(lambda: runtime.merged.relay.exchange.store_name is not None)

    def queue(self, task_id: str, correlation_id: str, trace_id: str) -> None:
        token = request_ids.set((correlation_id, trace_id, "a" * 16, True))
        self.runtime.merged.note_queued(task_id)
        request_ids.reset(token)
        assert self.runtime.merged.relay.read_total().result(10)  # comes after it in the relay's thread


@pytest.fixture
def requests(transport: dict[str, str], clean_process: pytest.MonkeyPatch, eventually: Any) -> Iterator[Requests]:
    for name, value in transport.items():
        clean_process.setenv(name, value)
    runtime = Runtime(load_settings())
    yield Requests(runtime, eventually)
    runtime.stop()


def ids(line: dict[str, Any]) -> tuple[Any, ...]:
    return line.get("correlation_id"), line.get("request_id"), line.get("trace_id")


def test_lines_of_the_run_carry_the_request(requests: Requests, transport: dict[str, str], start_worker: Any) -> None:
    worker = start_worker(transport)
    requests.queue("task-1", "req-of-the-test", TRACES[0])
    line, later = worker.lease("task-1"), worker.log()
    assert ids(line) == ids(later) == ("req-of-the-test", "req-of-the-test", TRACES[0])
    assert (line["task_id"], line["worker_id"]) == ("task-1", "w1")
    assert line["run_id"] == later["run_id"]
    assert line["span_id"] != "a" * 16
    (leased,) = worker.child.log_lines(event_type="lease_acquired")
    assert ids(leased) == ids(line)
    idle = worker.log("heartbeat")
    assert not any(idle.get(name) for name in ("correlation_id", "request_id", "trace_id", "task_id", "run_id"))


def test_a_second_run_of_the_task_does_not_carry_it(
    requests: Requests, transport: dict[str, str], start_worker: Any
) -> None:
    worker = start_worker(transport)
    requests.queue("task-1", "first", TRACES[0])
    first, second = worker.lease("task-1"), worker.lease("task-1")
    assert ids(first)[0] == "first"
    assert "first" not in json.dumps(second)
    assert TRACES[0] not in json.dumps(second)
    assert second["task_id"] == "task-1"
    assert second["run_id"] != first["run_id"]


def test_queued_twice_the_oldest_is_first(requests: Requests, transport: dict[str, str], start_worker: Any) -> None:
    worker = start_worker(transport)
    requests.queue("task-1", "first", TRACES[0])
    requests.queue("task-1", "second", TRACES[1])
    requests.queue("task-2", "other", TRACES[1])
    assert [ids(worker.lease(task))[0] for task in ("task-2", "task-1", "task-1")] == ["other", "first", "second"]


def test_a_lease_while_the_driver_is_imported_costs_the_later_ones_nothing(
    requests: Requests, transport: dict[str, str], start_worker: Any
) -> None:
    worker = start_worker(transport, begins="at once")
    requests.queue("task-1", "too-early", TRACES[0])
    worker.lease("task-1")
    worker.tell("settle")
    worker.log()
    requests.queue("task-2", "in-time", TRACES[1])
    assert ids(worker.lease("task-2"))[0] == "in-time"


@pytest.mark.parametrize("content", HOSTILE, ids=range(len(HOSTILE)))
def test_what_else_is_in_the_store_reaches_no_line(
    transport: dict[str, str], clean_process: Any, content: bytes
) -> None:
    """The worker's side in this process, since all that matters is what it makes of the bytes."""
    from ordinaut_ext_observability.cluster.base import Append
    from ordinaut_ext_observability.compat.context import begin_work, clear_request_context
    from ordinaut_ext_observability.runtime.current import current_runtime

    for name, value in transport.items():
        clean_process.setenv(name, value)
    runtime = current_runtime()
    runtime.start()
    relay = runtime.merged.relay
    assert relay is not None and relay.state.settled.wait(5)
    assert relay.exchange.store is not None
    relay.exchange.store.write(rows=[Append("origin:task", content, 60)])
    begin_work("w1", "task")
    try:
        assert request_ids.get() is None
    finally:
        clear_request_context()
    assert relay.origins.pop("task") is None


def test_without_the_store_a_lease_is_not_held_up(redis_server: Any, start_worker: Any) -> None:
    from ordinaut_ext_observability.demo.servers import RedisServer

    import signal

    server = RedisServer()
    server.start()
    try:
        worker = start_worker({"REDIS_URL": server.url, "ORDINAUT_OBS_RELAY_INTERVAL_SECONDS": "0.2"})
        line = worker.lease("task-0")
        assert server.process is not None
        server.process.send_signal(signal.SIGSTOP)
        line = worker.lease("task-1")
        worker.lease("task-2")
        assert not line.get("correlation_id")
        assert line["task_id"] == "task-1"
        assert max(worker.lease_seconds()) < 0.2
        assert worker.lease_seconds()[2] < 0.02  # not asked again so soon
    finally:
        server.stop()
    assert "Traceback" not in worker.child.err


def test_with_no_store_at_all_lines_carry_the_work(start_worker: Any) -> None:
    worker = start_worker({"REDIS_URL": "redis://127.0.0.1:1/0"}, begins="at once")
    line = worker.lease("task-1")
    assert (line["task_id"], line["worker_id"]) == ("task-1", "w1")
    assert not line.get("correlation_id")
    assert max(worker.lease_seconds()) < 0.2
