"""Events without a record: the same line, whatever the fields hold."""

from __future__ import annotations

import json
import logging
import os
import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from ordinaut_ext_observability.correlation.context import bound, request_ids
from ordinaut_ext_observability.logs.access import AccessLog, AccessLogOptions
from ordinaut_ext_observability.logs.events import EventLog
from ordinaut_ext_observability.logs.formatter import JsonFormatter

IDS = ("c0ffee-1", "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7", True)
WORK = {"task_id": "t", "run_id": "r", "step_id": "s", "agent_id": "a", "worker_id": "w"}


@pytest.fixture
def events(log_lines: Any) -> EventLog:
    return EventLog(log_lines.writer, "app.events", "DEBUG")


@pytest.fixture
def in_request() -> Iterator[None]:
    token = request_ids.set(IDS)
    yield
    request_ids.reset(token)


class BrokenEquality:
    __hash__ = None  # type: ignore[assignment]

    def __eq__(self, other: object) -> bool:
        raise LookupError

    def __str__(self) -> str:
        return "no comparing"


def test_an_event_has_the_fields_every_line_has(events: EventLog, log_lines: Any) -> None:
    events.emit("INFO", "mail sent", "mail")
    fields = log_lines.only()
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", fields.pop("timestamp"))
    assert list(fields.items()) == [
        ("level", "INFO"),
        ("logger", "app.events"),
        ("message", "mail sent"),
        ("event_type", "mail"),
        ("module", "events"),
        ("function", "emit"),
        ("line", EventLog.emit.__code__.co_firstlineno),
        ("process", os.getpid()),
    ]


@pytest.mark.usefixtures("in_request")
def test_all_fields_are_in_the_documented_order(
    events: EventLog, log_lines: Any, documented_order: Callable[..., list[str]]
) -> None:
    with bound(**WORK):
        events.emit("INFO", "m", "e", status_code=200, duration_ms=1.5)
    fields = log_lines.only()
    assert list(fields) == documented_order("status_code", "duration_ms", without=("exception_type", "exception"))
    assert fields["task_context"] == {"task_id": "t", "agent_id": "a", "request_id": IDS[0]}


@pytest.mark.usefixtures("in_request")
def test_without_work_there_are_the_requests_ids_alone(
    events: EventLog, log_lines: Any, documented_order: Callable[..., list[str]]
) -> None:
    events.emit("INFO", "m", "e", own=1)
    assert list(log_lines.only()) == documented_order(
        "own", without=(*WORK, "task_context", "exception_type", "exception")
    )


def test_without_a_request_there_are_the_works_ids_alone(events: EventLog, log_lines: Any) -> None:
    with bound(run_id="r"):
        events.emit("INFO", "m", "e", own=1)
    assert list(log_lines.only())[8 + 1 :] == ["run_id", "task_context", "own"]


@pytest.mark.usefixtures("in_request")
def test_an_event_and_a_record_differ_in_their_origin_only(events: EventLog, log_lines: Any) -> None:
    own = {"user": "ann", "sizes": [1, 2], "nested": {"a": None}, "level_": 1, "ratio": 0.5}
    record = logging.makeLogRecord(
        {"name": "app.events", "levelname": "INFO", "msg": "m", "event_type": "e", "module": "events", **own}
    )
    with bound(**WORK):
        events.emit("INFO", "m", "e", **own)
        line = json.loads(JsonFormatter().format(record))
    fields = log_lines.only()
    assert list(fields) == list(line)
    for name in ("timestamp", "function", "line"):
        del fields[name], line[name]
    assert fields == line


@pytest.mark.usefixtures("in_request")
def test_the_access_line_has_its_fields_in_the_documented_order(
    log_lines: Any, documented_order: Callable[..., list[str]]
) -> None:
    access = AccessLog(log_lines.writer, AccessLogOptions())
    access.emit("INFO", access.layout("GET", "/tasks/{task_id}", 200), 1.5, 0.01, IDS, "")
    assert list(log_lines.only()) == documented_order(
        "method", "path", "status_code", "duration_ms", without=(*WORK, "task_context", "exception_type", "exception")
    )


@pytest.mark.parametrize(
    ("least", "written"),
    [
        ("DEBUG", ["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"]),
        ("INFO", ["INFO", "WARNING", "ERROR", "CRITICAL"]),
        ("ERROR", ["ERROR", "CRITICAL"]),
        ("CRITICAL", ["CRITICAL"]),
    ],
)
def test_events_below_the_level_are_not_written(log_lines: Any, least: str, written: list[str]) -> None:
    events = EventLog(log_lines.writer, "app", least)
    for level in ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL") * 2:
        events.emit(level, "m", "e")
    assert [fields["level"] for fields in log_lines.all()] == written * 2


@pytest.mark.parametrize("level", ["NOPE", "info", "", 'A"B'])
def test_a_level_that_does_not_exist_fails_nobody(events: EventLog, log_lines: Any, level: str) -> None:
    events.emit(level, "m", "e")
    assert len(log_lines.all()) <= 1


@pytest.mark.parametrize("message", [5, None, ValueError("no"), b"x"], ids=str)
def test_a_message_that_is_no_text_is_made_one(events: EventLog, log_lines: Any, message: Any) -> None:
    events.emit("INFO", message, "e")
    assert log_lines.only()["message"] == str(message)


def test_fields_of_none_are_left_out(events: EventLog, log_lines: Any) -> None:
    events.emit("INFO", "m", "e", gone=None, kept=0, empty="", inner=[None])
    fields = log_lines.only()
    assert list(fields.items())[9:] == [("kept", 0), ("empty", ""), ("inner", [None])]


def test_an_event_of_nothing_but_none_is_whole(events: EventLog, log_lines: Any) -> None:
    events.emit("INFO", "m", "e", gone=None)
    assert "gone" not in log_lines.only()


def test_values_are_not_compared(events: EventLog, log_lines: Any) -> None:
    events.emit("INFO", "m", "e", value=BrokenEquality(), gone=None)
    assert list(log_lines.only().items())[9:] == [("value", "no comparing")]


@pytest.mark.usefixtures("in_request")
@pytest.mark.parametrize(
    "name",
    ["timestamp", "level", "logger", "message", "event_type", "module", "function", "line", "process"]
    + ["correlation_id", "request_id", "trace_id", "span_id"],
)
def test_fields_whose_names_are_taken_get_a_suffix(events: EventLog, log_lines: Any, name: str) -> None:
    events.emit("INFO", "m", "e", **{"before": 1, name: "mine", "after": 2})
    assert list(log_lines.only().items())[-3:] == [("before", 1), (f"{name}_", "mine"), ("after", 2)]


@pytest.mark.parametrize("name", list(WORK))
def test_the_works_ids_are_taken_within_the_work(events: EventLog, log_lines: Any, name: str) -> None:
    with bound(**WORK):
        events.emit("INFO", "m", "e", **{name: "mine"})
    fields = log_lines.only()
    assert (fields[name], fields[f"{name}_"]) == (WORK[name], "mine")


def test_no_field_is_lost_to_a_suffix(events: EventLog, log_lines: Any) -> None:
    events.emit("INFO", "m", "e", level="first", level_="second")
    assert list(log_lines.only().items())[9:] == [("level_", "first"), ("level__", "second")]


@pytest.mark.parametrize(
    "fields",
    [
        {"big": 2**70},
        {"cycle": (around := {})},
        {"bytes": b"\xff"},
        {"\ud800": "\ud800"},
        {"": 1},
        {"self": 1, "writer": 2, "a b": 3, '"': 4},
        {"error": ValueError("no")},
        {"keys": {1: 2, None: 3}},
        {"deep": [[[[[[[[[]]]]]]]]]},
        {"text": "\n\r\x00"},
        {"nan": float("nan"), "inf": [float("inf")]},
    ],
    ids=lambda fields: next(iter(fields)).encode("ascii", "replace").decode(),
)
def test_any_fields_make_one_line(events: EventLog, log_lines: Any, fields: dict[str, Any]) -> None:
    around["again"] = around
    events.emit("INFO", "m", "e", **fields)
    line = log_lines.only()
    assert line["message"] == "m"
    assert len(line) == 9 + len(fields)


@pytest.mark.parametrize(
    ("message", "fields"),
    [
        pytest.param("m", {"text": "x" * 100_000}, id="a long field"),
        pytest.param("x" * 100_000, {}, id="a long message"),
        pytest.param("m", {f"f{number}": "x" * 100 for number in range(1000)}, id="many fields"),
        pytest.param("m", {"text": "x" * (16 * 1024 - 12)}, id="just the length without the head"),
        pytest.param("m", {"text": "é" * 16_000}, id="letters of two bytes"),
        pytest.param("\x00" * 2000, {"text": "x" * 10_000}, id="a message to escape, and a field"),
        pytest.param("m", {"text": "😀" * 4090}, id="letters of four bytes"),
    ],
)
def test_no_event_is_longer_than_a_line_may_be(
    events: EventLog, log_lines: Any, message: str, fields: dict[str, Any]
) -> None:
    events.emit("INFO", message, "e", **fields)
    line = log_lines.only()
    assert line["message"][0] == message[0]
    assert "…" in line["message"] or not fields or len(line) > 9


def test_any_name_of_a_logger_and_type_makes_one_line(log_lines: Any) -> None:
    odd = '"\n\\\udcff' + "x" * 5000
    events = EventLog(log_lines.writer, odd)
    events.emit("INFO", "m", odd)
    fields = log_lines.only()
    assert fields["logger"] == fields["event_type"]
    assert fields["logger"].startswith('"\n\\')


def test_more_types_than_are_remembered_are_written(events: EventLog, log_lines: Any) -> None:
    for number in range(2500):
        events.emit("INFO", "m", str(number))
    assert [fields["event_type"] for fields in log_lines.all()] == [str(number) for number in range(2500)]
    assert len(events._heads) < 1100


@pytest.mark.parametrize(("level", "kept"), [("INFO", 1), ("WARNING", 1), ("ERROR", 2), ("CRITICAL", 2)])
def test_events_of_errors_are_kept_when_there_are_too_many(log_lines: Any, level: str, kept: int) -> None:
    """Two lines at a time fit for errors, one for others."""
    events = EventLog(log_lines.writer, "app")
    log_lines.writer._max_queued_lines = 1
    log_lines.writer._awake = True  # its thread does not look yet
    events.emit(level, "1", "e")
    events.emit(level, "2", "e")
    events.emit(level, "3", "e")
    assert len(log_lines.all()) == kept


def test_a_forked_child_names_itself(
    events: EventLog, log_lines: Any, in_forked_child: Callable[[Callable[[], bytes]], bytes]
) -> None:
    events.emit("INFO", "parent", "e")

    def child() -> bytes:
        events.emit("INFO", "child", "e")
        log_lines.writer.flush(10)
        return str(os.getpid()).encode()

    child_id = int(in_forked_child(child))
    assert {fields["message"]: fields["process"] for fields in log_lines.all()} == {
        "parent": os.getpid(),
        "child": child_id,
    }
