"""Events without a record: the same line, whatever the fields hold."""

from __future__ import annotations

import json
import logging
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from ordinaut_ext_observability.settings.parts import LogSettings
from ordinaut_ext_observability.correlation.context import request_ids
from ordinaut_ext_observability.logs.access import AccessLog
from ordinaut_ext_observability.logs import event_types
from ordinaut_ext_observability.logs.event_types import EVENTS, NAMES_OF_EVERY_LINE, Event
from ordinaut_ext_observability.logs.events import EventLog
from ordinaut_ext_observability.logs.records import JsonFormatter

IDS = ("c0ffee-1", "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7", True)
WORK = {"task_id": "t", "run_id": "r", "step_id": "s", "agent_id": "a", "worker_id": "w"}

E: Event[...] = Event("e", "INFO", "m")


def at(level: str) -> Event[[]]:
    return Event("e", level, "m")


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
    events.emit(Event("mail", "INFO", "mail sent"))
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
    bound: Any, events: EventLog, log_lines: Any, documented_order: Callable[..., list[str]]
) -> None:
    with bound(**WORK):
        events.emit(E, status_code=200, duration_ms=1.5)
    fields = log_lines.only()
    assert list(fields) == documented_order("status_code", "duration_ms", without=("exception_type", "exception"))
    assert fields["task_context"] == {"task_id": "t", "agent_id": "a", "request_id": IDS[0]}


@pytest.mark.usefixtures("in_request")
def test_without_work_there_are_the_requests_ids_alone(
    events: EventLog, log_lines: Any, documented_order: Callable[..., list[str]]
) -> None:
    events.emit(E, own=1)
    assert list(log_lines.only()) == documented_order(
        "own", without=(*WORK, "task_context", "exception_type", "exception")
    )


def test_without_a_request_there_are_the_works_ids_alone(bound: Any, events: EventLog, log_lines: Any) -> None:
    with bound(run_id="r"):
        events.emit(E, own=1)
    assert list(log_lines.only())[8 + 1 :] == ["run_id", "task_context", "own"]


@pytest.mark.usefixtures("in_request")
def test_an_event_and_a_record_differ_in_their_origin_only(bound: Any, events: EventLog, log_lines: Any) -> None:
    own = {"user": "ann", "sizes": [1, 2], "nested": {"a": None}, "level_": 1, "ratio": 0.5}
    record = logging.makeLogRecord(
        {"name": "app.events", "levelname": "INFO", "msg": "m", "event_type": "e", "module": "events", **own}
    )
    with bound(**WORK):
        events.emit(E, **own)
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
    access = AccessLog(log_lines.writer, LogSettings())
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
        events.emit(at(level))
    assert [fields["level"] for fields in log_lines.all()] == written * 2


def test_fields_of_none_are_left_out(events: EventLog, log_lines: Any) -> None:
    events.emit(E, gone=None, kept=0, empty="", inner=[None])
    fields = log_lines.only()
    assert list(fields.items())[9:] == [("kept", 0), ("empty", ""), ("inner", [None])]


def test_an_event_of_nothing_but_none_is_whole(events: EventLog, log_lines: Any) -> None:
    events.emit(E, gone=None)
    assert "gone" not in log_lines.only()


def test_values_are_not_compared(events: EventLog, log_lines: Any) -> None:
    events.emit(E, value=BrokenEquality(), gone=None)
    assert list(log_lines.only().items())[9:] == [("value", "no comparing")]


@pytest.mark.parametrize("name", sorted(NAMES_OF_EVERY_LINE))
def test_an_event_cannot_have_fields_with_names_of_every_line(name: str) -> None:
    with pytest.raises(ValueError, match="that every line has"):
        event_types.declare("e", "INFO", "m")(eval(f"lambda {name}: None"))


def test_the_list_has_every_event_with_its_fields_and_marks_those_of_security() -> None:
    assert all(event.level in logging.getLevelNamesMapping() and event.name and event.message for event in EVENTS)
    assert event_types.RELAY_OPEN.fields == ("store",)
    assert {event.name for event in EVENTS if event.security} == {
        "access_refused",
        "alerts_escalated",
        "deployment",
        "error_group_resolved",
        "log_level_changed",
        "operator_action",
        "security_event",
        "silence_changed",
    }


def test_every_event_in_the_list_is_logged_somewhere() -> None:
    package = Path(event_types.__file__).parents[1]
    code = "".join(path.read_text() for path in package.rglob("*.py") if path.name != "event_types.py")
    public = {name: value for name, value in vars(event_types).items() if name.isupper() and not name.startswith("_")}
    listed = [name for name, value in public.items() if isinstance(value, (Event, dict))]
    assert [name for name in listed if name not in code] == []


def test_every_event_has_one_of_six_categories_and_each_of_these_has_events() -> None:
    categories = {event.name: event.category for event in EVENTS}
    assert set(categories.values()) == {"system", "request", "task", "integration", "security", "error"}
    assert categories["lifecycle"] == "error"
    assert categories["task_completed"] == categories["pipeline_step_started"] == "task"
    assert categories["settings_problem"] == categories["scheduler_tick"] == "system"


def test_an_event_of_security_says_so_and_does_not_wait(events: EventLog, log_lines: Any) -> None:
    events.emit(Event("e", "INFO", "m", security=True))
    assert log_lines.writer._pace == 2
    assert log_lines.only()["security_event"] is True


@pytest.mark.parametrize("name", list(WORK))
def test_the_works_ids_are_taken_within_the_work(bound: Any, events: EventLog, log_lines: Any, name: str) -> None:
    with bound(**WORK):
        events.emit(E, **{name: "mine"})
    fields = log_lines.only()
    assert (fields[name], fields[f"{name}_"]) == (WORK[name], "mine")


@pytest.mark.parametrize(
    "fields",
    [
        {"big": 2**70},
        {"cycle": (around := {})},
        {"bytes": b"\xff"},
        {"\ud800": "\ud800"},
        {"": 1},
        {"writer": 2, "a b": 3, '"': 4},
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
    events.emit(E, **fields)
    line = log_lines.only()
    assert line["message"] == "m"
    assert len(line) == 9 + len(fields)


@pytest.mark.parametrize(
    ("message", "fields"),
    [
        pytest.param("m", {"text": "x" * 100_000}, id="a long field"),
        pytest.param("m", {f"f{number}": "x" * 100 for number in range(1000)}, id="many fields"),
        pytest.param("m", {"text": "x" * (16 * 1024 - 12)}, id="just the length without the head"),
        pytest.param("m", {"text": "é" * 16_000}, id="letters of two bytes"),
        pytest.param("\x00" * 1000, {"text": "x" * 10_000}, id="a message to escape, and a field"),
        pytest.param("m", {"text": "😀" * 4090}, id="letters of four bytes"),
    ],
)
def test_no_event_is_longer_than_a_line_may_be(
    events: EventLog, log_lines: Any, message: str, fields: dict[str, Any]
) -> None:
    events.emit(Event("e", "INFO", message), **fields)
    line = log_lines.only()
    assert line["message"] == message
    assert len(line) > 9


def test_any_name_of_a_logger_and_type_makes_one_line(log_lines: Any) -> None:
    odd = '"\n\\\udcff' + "x" * 5000
    events = EventLog(log_lines.writer, odd)
    events.emit(Event(odd, "INFO", "m"))
    fields = log_lines.only()
    assert fields["logger"] == fields["event_type"]
    assert fields["logger"].startswith('"\n\\')


@pytest.mark.parametrize(("level", "kept"), [("INFO", 1), ("WARNING", 1), ("ERROR", 2), ("CRITICAL", 2)])
def test_events_of_errors_are_kept_when_there_are_too_many(log_lines: Any, level: str, kept: int) -> None:
    """Two lines at a time fit for errors, one for others."""
    events = EventLog(log_lines.writer, "app")
    log_lines.writer._max_queued_lines = 1
    log_lines.writer._pace = 2  # its thread does not look yet
    for _ in range(3):
        events.emit(at(level))
    log_lines.writer._pace = 0
    assert len(log_lines.all()) == kept


def test_a_forked_child_names_itself(
    events: EventLog, log_lines: Any, in_forked_child: Callable[[Callable[[], bytes]], bytes]
) -> None:
    events.emit(E, who="parent")

    def child() -> bytes:
        events.emit(E, who="child")
        log_lines.writer.flush(10)
        return str(os.getpid()).encode()

    child_id = int(in_forked_child(child))
    assert {fields["who"]: fields["process"] for fields in log_lines.all()} == {
        "parent": os.getpid(),
        "child": child_id,
    }
