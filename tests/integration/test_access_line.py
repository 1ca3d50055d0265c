"""The access line: its fields and their order, its level, and which requests get one."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
from typing import Any

import pytest

from ordinaut_ext_observability.logs.destination import Destination
from fastapi import FastAPI

MOUNT = "/ext/observability"
FIELDS = [
    "timestamp",
    "level",
    "logger",
    "message",
    "event_type",
    "module",
    "function",
    "line",
    "process",
    "correlation_id",
    "request_id",
    "trace_id",
    "span_id",
    "method",
    "path",
    "status_code",
    "duration_ms",
    "response_bytes",
]
TRACE_ID = "4bf92f3577b34da6a3ce929d0e0e4736"


def make_app() -> FastAPI:
    app = FastAPI()

    @app.api_route("/tasks/{task_id}", methods=["GET", "POST"])
    async def task(task_id: str) -> str:
        return task_id

    @app.post("/echo")
    async def echo(body: dict[str, str]) -> dict[str, str]:
        return body

    @app.get("/slow")
    async def slow() -> None:
        await asyncio.sleep(0.06)

    @app.get("/health")
    async def health() -> str:
        return "ok"

    @app.get("/health/failing")
    async def failing() -> None:
        raise RuntimeError("unhealthy")

    @app.get("/unhandled")
    async def fail() -> None:
        raise RuntimeError("a secret in the text")

    return app


@pytest.fixture
def served(serve: Any) -> Any:
    return serve(make_app())


def last_line_of(served: Any, path: str = "/tasks/last") -> list[dict[str, Any]]:
    """All lines up to that of one more request: what is not there by then never comes."""
    served.get(path, headers={"X-Request-ID": "the-last-one"})
    served.log.lines(1, correlation_id="the-last-one")
    return [line for line in served.log.all_lines() if line.get("correlation_id") != "the-last-one"]


def test_line_has_the_documented_fields_in_their_order(served: Any) -> None:
    traceparent = f"00-{TRACE_ID}-00f067aa0ba902b7-01"
    served.get("/tasks/41?secret=1", headers={"X-Request-ID": "mine", "traceparent": traceparent})
    line = served.log.line(message="request")
    assert list(line) == FIELDS
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", line["timestamp"])
    assert (line["level"], line["logger"], line["event_type"]) == ("INFO", "orchestrator.api", "api_request")
    assert line["process"] == os.getpid()
    assert line["correlation_id"] == line["request_id"] == "mine"
    assert line["trace_id"] == TRACE_ID
    assert re.fullmatch(r"[0-9a-f]{16}", line["span_id"])
    assert (line["method"], line["path"], line["status_code"]) == ("GET", "/tasks/{task_id}", 200)
    assert 0 < line["duration_ms"] < 5000
    assert line["response_bytes"] == len('"41"')


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork.*:DeprecationWarning")
def test_a_forked_child_writes_no_line_of_a_request_of_its_parent(served: Any) -> None:
    served.get("/tasks/41")  # its line waits to be gathered with others
    child = os.fork()
    if not child:
        with contextlib.suppress(BaseException):
            served.runtime.logs.writer.flush(5.0)
        os._exit(0)
    os.waitpid(child, 0)
    assert len([line for line in last_line_of(served) if line["message"] == "request"]) == 1


def test_line_of_a_request_with_a_body_tells_its_bytes(served: Any) -> None:
    served.post("/echo", content=b'{"a":"b"}', headers={"Content-Type": "application/json"})
    assert served.log.line(message="request")["request_bytes"] == 9


def test_neither_query_nor_parameter_is_written(served: Any) -> None:
    served.get("/tasks/private-value?token=private-value")
    served.log.line(message="request")
    assert "private-value" not in served.log.path.read_text()


def test_line_of_an_unmatched_request_tells_its_path(served: Any) -> None:
    served.get('/no"where/%0A\u20ac?q=hidden')
    line = served.log.line(message="request")
    assert (line["path"], line["url_path"], line["status_code"]) == ("<unmatched>", '/no"where/\n€', 404)


def test_path_that_is_not_text_does_not_break_the_line(served: Any) -> None:
    served.raw(b"GET /%FF%FE%00%1b[31m%E2%80%A8 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    assert served.log.line(message="request")["status_code"] == 404
    lines = served.log.path.read_text().splitlines()
    assert sum('"event_type":"api_request"' in line for line in lines) == 1
    assert all(map(json.loads, lines))


def test_long_unmatched_path_is_cut(served: Any) -> None:
    served.get("/" + "a" * 5000)
    assert len(served.log.line(message="request")["url_path"]) == 200


def test_failed_request_is_an_error_with_its_exception_type(served: Any) -> None:
    served.get("/unhandled")
    line = served.log.line(message="request")
    assert (line["level"], line["status_code"], line["exception_type"]) == ("ERROR", 500, "RuntimeError")
    assert "secret" not in served.log.path.read_text()


def test_refused_request_is_no_error(served: Any) -> None:
    served.get("/nowhere")
    assert served.log.line(message="request")["level"] == "INFO"


def test_slow_request_is_a_warning(serve: Any) -> None:
    served = serve(make_app(), SLOW_REQUEST_SECONDS="0.05")
    served.get("/slow")
    assert served.log.line(message="request")["level"] == "WARNING"


def test_probes_and_scrapes_are_left_out(serve: Any) -> None:
    served = serve(make_app(), SLOW_REQUEST_SECONDS="60")
    for path in ("/health", "/metrics", f"{MOUNT}/metrics", f"{MOUNT}/health", f"{MOUNT}/health/live"):
        assert served.get(path).status_code == 200
    assert last_line_of(served) == []


def test_failed_probe_is_logged(served: Any) -> None:
    served.get("/health/failing")
    assert served.log.line(message="request")["path"] == "/health/failing"


def test_slow_probe_is_logged(serve: Any) -> None:
    served = serve(make_app(), SLOW_REQUEST_SECONDS="0.05", ACCESS_LOG_QUIET_ENDPOINTS="/slow")
    served.get("/slow")
    assert served.log.line(message="request")["level"] == "WARNING"


def test_quiet_endpoints_follow_the_setting(serve: Any) -> None:
    served = serve(make_app(), ACCESS_LOG_QUIET_ENDPOINTS="/tasks/*")
    served.get("/tasks/41")
    served.get("/health")
    assert served.log.line(message="request")["path"] == "/health"


def test_sampling_keeps_none_of_the_good_ones_at_zero(serve: Any) -> None:
    served = serve(make_app(), ACCESS_LOG_SAMPLE_RATIO="0", SLOW_REQUEST_SECONDS="0.05")
    for _ in range(20):
        served.get("/tasks/41")
    served.get("/unhandled")
    served.get("/slow")
    served.log.lines(1, path="/slow")
    assert [(line["path"], line["level"]) for line in served.log.all_lines()] == [
        ("/unhandled", "ERROR"),
        ("/slow", "WARNING"),
    ]


def test_sampling_keeps_about_its_share(serve: Any) -> None:
    served = serve(make_app(), ACCESS_LOG_SAMPLE_RATIO="0.5")
    for _ in range(200):
        served.get("/tasks/41")
    served.expect("orchestrator_http_requests_total", 200)
    served.runtime.logs.writer.flush()
    assert 50 < len(served.log.all_lines()) < 150  # outside with a chance of less than 1 in 10^12


def test_access_log_can_be_switched_off(serve: Any) -> None:
    served = serve(make_app(), ACCESS_LOG="false")
    served.get("/unhandled")
    served.expect("orchestrator_http_requests_total", 1)
    served.runtime.logs.writer.flush()
    assert served.log.all_lines() == []


def test_every_request_has_its_line_when_the_server_stops(served: Any) -> None:
    for number in range(100):
        served.get("/tasks/41", headers={"X-Request-ID": f"id-{number}"})
    served.stop()
    lines = [line for line in served.log.all_lines() if line["event_type"] == "api_request"]
    assert [line["correlation_id"] for line in lines] == [f"id-{number}" for number in range(100)]


def test_lines_come_without_a_scrape(served: Any) -> None:
    served.get("/tasks/41")
    assert served.log.line(message="request")["path"] == "/tasks/{task_id}"


def test_the_line_of_a_failed_request_does_not_wait_for_others(served: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ordinaut_ext_observability.logs.writer.GATHER_SECONDS", 3600.0)
    served.get("/tasks/41")
    served.get("/unhandled")
    assert [line["status_code"] for line in served.log.lines(2, message="request")] == [200, 500]


def test_full_pipe_drops_lines_and_answers_go_on(serve: Any) -> None:
    served = serve(make_app())
    reader, writer = os.pipe()
    os.set_blocking(writer, True)
    served.runtime.logs.writer._destination = Destination(writer)
    served.runtime.logs.writer._max_queued_lines = 50
    try:
        for _ in range(1200):  # 64 kB of pipe hold about 150 lines
            assert served.get("/tasks/41").status_code == 200
        assert served.value("ordinaut_observability_log_lines_total", outcome="dropped") > 0
        served.expect("orchestrator_http_requests_total", 1200)
    finally:
        os.close(reader)
        served.stop()
        os.close(writer)
