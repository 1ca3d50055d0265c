"""Access lines: their fields, their levels, which requests get one."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest

from ordinaut_ext_observability.logs.access import AccessLog
from ordinaut_ext_observability.settings.parts import LogSettings
from ordinaut_ext_observability.logs.writer import GATHER_SECONDS, LogWriter

IDS = ("c0ffee-1", "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7", True)
ENDED_AT = datetime(2026, 11, 23, 22, 19, 4, 125_000, tzinfo=UTC).timestamp()


class LineReader:
    """Access logs on a pipe, and what they wrote."""

    def __init__(self) -> None:
        self._reader, self._file_descriptor = os.pipe()
        self.writer = LogWriter(self._file_descriptor)

    def access_log(self, **options: Any) -> AccessLog:
        return AccessLog(self.writer, LogSettings(**options))

    def lines(self) -> list[str]:
        """What was written; the pipe holds all that these tests write."""
        assert self.writer.flush(10)
        os.set_blocking(self._reader, False)
        try:
            return os.read(self._reader, 65536).decode().splitlines()
        except BlockingIOError:
            return []

    def close(self) -> None:
        self.writer.close(10)
        os.close(self._reader)
        os.close(self._file_descriptor)


@pytest.fixture
def reader(request: pytest.FixtureRequest) -> LineReader:
    reader = LineReader()
    request.addfinalizer(reader.close)
    return reader


def emit(
    log: AccessLog, *, level: str = "INFO", method: str = "GET", path: str = "/tasks/{task_id}", details: str = ""
) -> None:
    log.emit(level, log.layout(method, path, 200), ENDED_AT, 0.0123454, IDS, details)


def test_a_line_has_the_documented_fields_in_the_documented_order(reader: LineReader) -> None:
    emit(reader.access_log())
    (line,) = reader.lines()
    assert list(json.loads(line).items()) == [
        ("timestamp", "2026-11-23T22:19:04.125Z"),
        ("level", "INFO"),
        ("logger", "orchestrator.api"),
        ("message", "request"),
        ("event_type", "api_request"),
        ("module", "access"),
        ("function", "emit"),
        ("line", AccessLog.emit.__code__.co_firstlineno),
        ("process", os.getpid()),
        ("correlation_id", IDS[0]),
        ("request_id", IDS[0]),
        ("trace_id", IDS[1]),
        ("span_id", IDS[2]),
        ("method", "GET"),
        ("path", "/tasks/{task_id}"),
        ("status_code", 200),
        ("duration_ms", 12.345),
    ]
    assert line.startswith('{"timestamp":"2026-11-23T22:19:04.125Z","level":"INFO","logger":"orchestrator.api",')
    assert line.endswith(',"duration_ms":12.345}')


@pytest.mark.parametrize("level", ["INFO", "WARNING", "ERROR"])
def test_the_level_is_on_the_line(reader: LineReader, level: str) -> None:
    emit(reader.access_log(), level=level)
    assert [json.loads(line)["level"] for line in reader.lines()] == [level]


def test_details_are_appended_inside_the_object(reader: LineReader) -> None:
    emit(reader.access_log(), details=',"client":"10.0.0.1","bytes":5')
    (line,) = reader.lines()
    assert list(json.loads(line).items())[-2:] == [("client", "10.0.0.1"), ("bytes", 5)]


@pytest.mark.parametrize("path", ["", '/a"b', "/a\\b", "/a\nb", "/é/日本", "/%d%s{}", "/\udcff", "/" + "x" * 5000])
def test_any_method_and_path_make_one_line_of_json(reader: LineReader, path: str) -> None:
    emit(reader.access_log(), path=path, method=path)
    (line,) = reader.lines()
    fields = json.loads(line)
    assert fields["path"] == fields["method"]
    assert fields["path"][:2] == path[:2] or "\udcff" in path


@pytest.mark.parametrize(
    ("status_code", "duration_seconds", "level"),
    [
        (200, 0.0, "INFO"),
        (101, 0.0, "INFO"),
        (302, 0.999, "INFO"),
        (404, 0.1, "INFO"),
        (499, 0.1, "INFO"),
        (200, 1.0, "WARNING"),
        (404, 60.0, "WARNING"),
        (500, 0.0, "ERROR"),
        (503, 60.0, "ERROR"),
        (599, 0.0, "ERROR"),
    ],
)
def test_levels(reader: LineReader, status_code: int, duration_seconds: float, level: str) -> None:
    assert reader.access_log().level(status_code, duration_seconds, quiet=False) == level


@pytest.mark.parametrize(
    ("status_code", "duration_seconds", "level"),
    [(200, 0.0, None), (404, 0.9, None), (200, 1.0, "WARNING"), (500, 0.0, "ERROR")],
)
def test_quiet_requests_get_a_line_only_when_slow_or_failed(
    reader: LineReader, status_code: int, duration_seconds: float, level: str | None
) -> None:
    assert reader.access_log().level(status_code, duration_seconds, quiet=True) == level


def test_what_is_slow_can_be_chosen(reader: LineReader) -> None:
    log = reader.access_log(slow_request_seconds=0.25)
    assert log.level(200, 0.25, quiet=False) == "WARNING"
    assert log.level(200, 0.249, quiet=False) == "INFO"


def test_a_sample_of_none_leaves_failed_and_slow_requests(reader: LineReader) -> None:
    log = reader.access_log(access_log_sample_ratio=0.0)
    assert {log.level(200, 0.0, quiet=False) for _ in range(500)} == {None}
    assert log.level(500, 0.0, quiet=False) == "ERROR"
    assert log.level(200, 2.0, quiet=False) == "WARNING"


def test_a_sample_of_all_leaves_none_out(reader: LineReader) -> None:
    log = reader.access_log(access_log_sample_ratio=1.0)
    assert {log.level(200, 0.0, quiet=False) for _ in range(500)} == {"INFO"}


def test_a_sample_is_about_the_share_asked_for(reader: LineReader) -> None:
    """4 000 draws at a quarter: 850 to 1 150 is more than five standard deviations either way."""
    log = reader.access_log(access_log_sample_ratio=0.25)
    logged = sum(log.level(200, 0.0, quiet=False) == "INFO" for _ in range(4000))
    assert 850 < logged < 1150


def test_lines_of_errors_are_kept_when_others_are_dropped(request: pytest.FixtureRequest) -> None:
    """Nothing takes the lines while the first call back in the writer's thread waits."""
    gate = threading.Event()
    taken, file_descriptor = os.pipe()
    writer = LogWriter(file_descriptor)
    writer._max_queued_lines = 2
    request.addfinalizer(lambda: (gate.set(), writer.close(10), os.close(taken), os.close(file_descriptor)))
    log = AccessLog(writer, LogSettings())
    log.writer.before_writing.append(lambda: gate.wait(10) and None)
    for level in ("INFO", "INFO", "WARNING", "ERROR"):
        emit(log, level=level)
    gate.set()
    assert writer.flush(10)
    lines = os.read(taken, 65536).decode().splitlines()
    assert [json.loads(line)["level"] for line in lines] == ["INFO", "INFO", "ERROR"]


def test_waking_calls_back_in_the_writers_thread_and_writes_what_is_made_there(reader: LineReader) -> None:
    log = reader.access_log()
    called = threading.Event()

    def make_lines() -> None:
        if not called.is_set():
            emit(log)
            called.set()

    log.writer.before_writing.append(make_lines)
    log.wake()
    assert called.wait(10)
    assert len(reader.lines()) == 1


def test_waking_does_nothing_where_access_lines_are_off(reader: LineReader) -> None:
    log = reader.access_log(access_log=False)
    called = threading.Event()
    log.writer.before_writing.append(called.set)
    log.wake()
    assert log.enabled is False
    assert not called.wait(5 * GATHER_SECONDS)


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork.*:DeprecationWarning")
def test_a_forked_child_names_its_own_process(
    reader: LineReader, in_forked_child: Callable[[Callable[[], bytes]], bytes]
) -> None:
    log = reader.access_log()
    emit(log)

    def emit_in_child() -> bytes:
        emit(log)
        assert reader.writer.flush(5)
        return str(os.getpid()).encode()

    assert len(reader.lines()) == 1
    child = int(in_forked_child(emit_in_child))
    emit(log)
    assert [json.loads(line)["process"] for line in reader.lines()] == [child, os.getpid()]
