"""Standard library records as lines: the order of the fields, every extra kept, exceptions, records that are odd."""

from __future__ import annotations

import json
import logging
import os
import re
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import pytest

from ordinaut_ext_observability.correlation.context import request_ids
from ordinaut_ext_observability.logs.records import JsonFormatter
from ordinaut_ext_observability.scrub.plain_values import MAX_TEXT_LENGTH

IDS = ("c0ffee-1", "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7", True)
WORK = {"task_id": "t", "run_id": "r", "step_id": "s", "agent_id": "a", "worker_id": "w"}

Format = Callable[[logging.LogRecord], dict[str, Any]]


@pytest.fixture
def formatted(read_line: Callable[[str], dict[str, Any]]) -> Format:
    """The fields of a record's line."""
    formatter = JsonFormatter()
    return lambda record: read_line(formatter.format(record))


@pytest.fixture
def in_request() -> Iterator[None]:
    token = request_ids.set(IDS)
    yield
    request_ids.reset(token)


@pytest.fixture
def other_factory() -> Iterator[Callable[[Any], None]]:
    """Sets what makes records, until the test ends."""
    before = logging.getLogRecordFactory()
    yield logging.setLogRecordFactory
    logging.setLogRecordFactory(before)


def make_record(message: object = "hello", *arguments: Any, **options: Any) -> logging.LogRecord:
    """A record as a logger makes it; options are those of a log call."""
    return logging.getLogger("app.mail").makeRecord(
        "app.mail",
        logging.WARNING,
        "/app/mail/sending.py",
        12,
        message,
        arguments,
        options.get("exc_info"),
        "send",
        options.get("extra"),
        options.get("sinfo"),
    )


def raised(error: BaseException) -> Any:
    try:
        raise error
    except BaseException:
        return sys.exc_info()


def test_a_plain_record_has_the_fields_every_line_has(formatted: Format) -> None:
    record = make_record("%d mails to %s", 2, "ann")
    record.created = datetime(2026, 11, 23, 22, 19, 4, 123000, UTC).timestamp()
    assert list(formatted(record).items()) == [
        ("timestamp", "2026-11-23T22:19:04.123Z"),
        ("level", "WARNING"),
        ("logger", "app.mail"),
        ("message", "2 mails to ann"),
        ("module", "sending"),
        ("function", "send"),
        ("line", 12),
        ("process", os.getpid()),
    ]


@pytest.mark.usefixtures("in_request")
def test_all_fields_are_in_the_documented_order(
    bound: Any, formatted: Format, documented_order: Callable[..., list[str]]
) -> None:
    extra = {"status_code": 200, "event_type": "sent", "duration_ms": 1.5}
    with bound(**WORK):
        fields = formatted(make_record(extra=extra, exc_info=raised(ValueError("no"))))
    assert list(fields) == documented_order("status_code", "duration_ms")
    assert {name: fields[name] for name in extra} == extra


@pytest.mark.usefixtures("in_request")
def test_ids_of_the_request_are_on_the_line(formatted: Format, documented_order: Callable[..., list[str]]) -> None:
    fields = formatted(make_record())
    assert [fields[name] for name in ("correlation_id", "request_id", "trace_id", "span_id")] == [IDS[0], *IDS[:3]]
    assert list(fields) == documented_order(
        without=("event_type", *WORK, "task_context", "exception_type", "exception")
    )


def test_ids_of_the_work_are_on_the_line_without_a_request(bound: Any, formatted: Format) -> None:
    with bound(task_id="t", worker_id="w"):
        fields = formatted(make_record())
    assert list(fields)[-3:] == ["task_id", "worker_id", "task_context"]
    assert fields["task_context"] == {"task_id": "t", "agent_id": None, "request_id": None}


@pytest.mark.usefixtures("in_request")
def test_the_task_context_is_the_seeds(bound: Any, formatted: Format) -> None:
    with bound(**WORK):
        fields = formatted(make_record())
    assert fields["task_context"] == {"task_id": "t", "agent_id": "a", "request_id": IDS[0]}
    assert {name: fields[name] for name in WORK} == WORK


def test_every_extra_is_kept_in_its_order(formatted: Format) -> None:
    extra = {
        "zeta": 1,
        "alpha": None,
        "user": {"name": "ann"},
        "": "no name",
        "with space": [1, "x"],
        "extra": {"a": 1},
    }
    fields = formatted(make_record(extra=extra))
    assert list(fields.items())[8:] == list(extra.items())


@pytest.mark.usefixtures("in_request")
@pytest.mark.parametrize(
    "name",
    ["timestamp", "level", "logger", "function", "line", "correlation_id", "request_id", "trace_id", "span_id"]
    + [*WORK, "task_context"],
)
def test_extras_whose_names_are_taken_get_a_suffix(bound: Any, formatted: Format, name: str) -> None:
    with bound(**WORK):
        usual = formatted(make_record())
        fields = formatted(make_record(extra={f"{name}_": "first", name: "second", "after": 1}))
    assert fields[f"{name}_"] == "first"
    assert fields[f"{name}__"] == "second"
    assert fields["after"] == 1
    assert name == "timestamp" or fields[name] == usual[name]


def test_ids_given_as_extras_keep_their_names_where_they_are_free(formatted: Format) -> None:
    fields = formatted(make_record(extra={"task_id": "7", "correlation_id": "c"}))
    assert (fields["task_id"], fields["correlation_id"]) == ("7", "c")


@pytest.mark.parametrize("name", ["exception", "exception_type", "stack"])
def test_an_extra_never_takes_the_place_of_the_exception(formatted: Format, name: str) -> None:
    fields = formatted(make_record(extra={name: "mine"}, exc_info=raised(ValueError("no")), sinfo="Stack: here"))
    assert fields[f"{name}_"] == "mine"
    assert fields["exception_type"] == "ValueError"
    assert fields["exception"].endswith("ValueError: no")
    assert fields["stack"] == "Stack: here"


def test_extras_with_names_that_are_no_text_are_kept(formatted: Format) -> None:
    fields = formatted(make_record(extra={1: "one", None: "none", (1, 2): "pair", b"b": "bytes"}))
    assert list(fields.items())[8:] == [("1", "one"), ("None", "none"), ("(1, 2)", "pair"), ("b'b'", "bytes")]


def test_a_name_that_only_becomes_taken_as_text_gets_a_suffix(formatted: Format) -> None:
    class Name:
        def __str__(self) -> str:
            return "level"

    fields = formatted(make_record(extra={Name(): "mine", 1: "number", "1": "text"}))
    assert fields["level"] == "WARNING"
    assert {"mine", "number", "text"} <= set(map(str, fields.values()))


def test_what_other_formatters_leave_on_the_record_is_no_extra(formatted: Format) -> None:
    record = make_record("%s", "x", extra={"kept": 1, "color_message": "\x1b[1mx"})
    logging.Formatter("%(asctime)s %(message)s").format(record)
    assert list(formatted(record))[8:] == ["kept"]


def test_a_record_can_be_formatted_again(formatted: Format) -> None:
    record = make_record("%s", "x", extra={"event_type": "e", "a": 1}, exc_info=raised(ValueError("no")))
    assert formatted(record) == formatted(record)


@pytest.mark.parametrize("early", [False, True], ids=["set after the record's own", "set before"])
def test_fields_that_a_record_factory_adds_are_kept(
    formatted: Format, other_factory: Callable[[Any], None], *, early: bool
) -> None:

    class TenantRecord(logging.LogRecord):
        def __init__(self, *arguments: Any, **options: Any) -> None:
            if early:
                self.tenant = "acme"
            super().__init__(*arguments, **options)
            if not early:
                self.tenant = "acme"

    other_factory(TenantRecord)
    assert list(formatted(make_record(extra={"after": 1})).items())[8:] == [("tenant", "acme"), ("after", 1)]


def test_fields_of_a_record_factory_set_before_the_import_are_kept(run_code: Callable[[str], Any]) -> None:
    """The recipe of the logging cookbook, in the host's first lines."""
    child = run_code("""
import logging
usual = logging.getLogRecordFactory()
def factory(*arguments, **options):
    record = usual(*arguments, **options)
    record.tenant = "acme"
    return record
logging.setLogRecordFactory(factory)
from ordinaut_ext_observability.logs.records import JsonFormatter
print(JsonFormatter().format(logging.makeLogRecord({"msg": "m", "user": "ann"})))
logging.setLogRecordFactory(usual)
print(JsonFormatter().format(logging.makeLogRecord({"msg": "m", "user": "ann"})))
""")
    first, second = map(json.loads, child.out.splitlines())
    assert second["user"] == "ann"
    assert (first["user"], first["tenant"]) == ("ann", "acme")


@pytest.mark.parametrize(
    ("message", "arguments", "expected"),
    [
        ("100 %", (), "100 %"),
        ("%d", ("x",), "%d ('x',)"),
        ("%s %s", (1,), "%s %s (1,)"),
        ("none", (1, 2), "none (1, 2)"),
        ("%(a)s", ({"a": 1},), "1"),
        ("%(b)s", ({"a": 1},), "%(b)s {'a': 1}"),
        ("%", (1,), "% (1,)"),
        ("{}", (1,), "{} (1,)"),
        (5, (), "5"),
        (None, (), "None"),
        ({"a": 1}, (), "{'a': 1}"),
        (ValueError("bad"), (), "bad"),
        (b"b", (), "b'b'"),
        ("a\r\nb\u2028", (), "a\r\nb\u2028"),
        ("%s", ("\ud800",), "\\ud800"),
        ("", (), ""),
    ],
)
def test_any_message_and_arguments_make_a_message(
    formatted: Format, message: object, arguments: tuple[Any, ...], expected: str
) -> None:
    assert formatted(make_record(message, *arguments))["message"] == expected


def test_messages_and_arguments_that_fail_are_named(formatted: Format) -> None:
    class Broken:
        def __str__(self) -> str:
            raise LookupError

        __repr__ = __str__

    assert formatted(make_record(Broken()))["message"] == "<Broken: __str__ raised LookupError>"
    assert formatted(make_record("to %s", Broken()))["message"] == "to %s <tuple: __str__ raised LookupError>"


def test_an_argument_that_logs_itself_is_formatted(formatted: Format) -> None:
    inner = []

    class Talks:
        def __str__(self) -> str:
            inner.append(formatted(make_record("inside")))
            return "talks"

    assert formatted(make_record("%s", Talks()))["message"] == "talks"
    assert [fields["message"] for fields in inner] == ["inside"]


def test_an_exception_is_on_the_line_with_its_type(formatted: Format) -> None:
    fields = formatted(make_record(exc_info=raised(LookupError("line 1\nline 2"))))
    assert fields["exception_type"] == "LookupError"
    assert re.fullmatch(
        r"Traceback \(most recent call last\):\n.*LookupError: line 1\nline 2", fields["exception"], re.S
    )


def test_the_causes_of_an_exception_are_on_the_line(formatted: Format) -> None:
    try:
        try:
            raise KeyError("inner")
        except KeyError as error:
            raise ValueError("outer") from error
    except ValueError:
        fields = formatted(make_record(exc_info=sys.exc_info()))
    assert fields["exception_type"] == "ValueError"
    assert "KeyError: 'inner'" in fields["exception"]
    assert "ValueError: outer" in fields["exception"]


@pytest.mark.parametrize("group", [False, True])
def test_an_exception_without_a_text_is_on_the_line(formatted: Format, *, group: bool) -> None:
    class BrokenError(Exception):
        def __str__(self) -> str:
            raise LookupError

        __repr__ = __str__

    error: Exception = ExceptionGroup("many", [BrokenError()]) if group else BrokenError()
    fields = formatted(make_record(exc_info=raised(error)))
    assert fields["exception_type"] == type(error).__name__
    assert "BrokenError" in fields["exception"]


def test_exceptions_in_a_circle_are_on_the_line(formatted: Format) -> None:
    one, two = ValueError("one"), ValueError("two")
    one.__cause__, two.__cause__ = two, one
    assert "ValueError: one" in formatted(make_record(exc_info=raised(one)))["exception"]


def test_a_long_exception_is_cut_and_its_type_stays(formatted: Format) -> None:
    fields = formatted(make_record(exc_info=raised(ValueError("x" * 100_000)), extra={"after": "kept"}))
    assert fields["exception_type"] == "ValueError"
    assert len(fields["exception"]) == MAX_TEXT_LENGTH + 1
    assert fields["after"] == "kept"


def test_a_long_exception_says_what_was_raised(formatted: Format) -> None:
    error = ValueError("the reason")
    for number in range(200):
        error.add_note(f"note {number}")
    cause: BaseException = error
    for number in range(100):
        outer = LookupError(f"step {number} " + "." * 100)
        outer.__cause__ = cause
        cause = outer
    exception = formatted(make_record(exc_info=raised(cause)))["exception"]
    assert len(exception) <= MAX_TEXT_LENGTH + 1
    assert "step 99" in exception


def test_what_is_kept_of_a_long_list_of_parameters_is_scrubbed_with_its_beginning(formatted: Format) -> None:
    error = ValueError(f"[SQL: INSERT {'x' * 600}]\n[parameters: {['bob', 'hunter2'] * 500}]\n(Background)")
    exception = formatted(make_record(exc_info=raised(error)))["exception"]
    assert "hunter2" not in exception
    assert exception.endswith("[parameters: [REDACTED_SQL]\n(Background)")


def test_the_text_of_an_exception_made_elsewhere_is_used(formatted: Format) -> None:
    """As from another process: the traceback itself is gone."""
    record = make_record()
    record.exc_text = "Traceback: there"
    assert formatted(record)["exception"] == "Traceback: there"


def test_the_stack_is_on_the_line_when_asked_for(formatted: Format) -> None:
    fields = formatted(make_record(sinfo="Stack (most recent call last):\n  here"))
    assert fields["stack"] == "Stack (most recent call last):\n  here"


@pytest.mark.parametrize("exc_info", [None, (), False, True, 5, "text", [], ValueError("x"), (None, None, None)])
def test_odd_exception_information_makes_a_line(formatted: Format, exc_info: Any) -> None:
    record = make_record(extra={"after": 1})
    record.exc_info = exc_info
    fields = formatted(record)
    assert (fields["message"], fields["after"]) == ("hello", 1)
    assert "exception_type" not in fields


@pytest.mark.parametrize(
    "exc_info",
    [(int, 1, 2), (int, 1), pytest.param(("a", "b", "c"), id="texts"), (5,), ("", None, None)],
)
def test_exception_information_of_the_wrong_kind_makes_a_line(formatted: Format, exc_info: Any) -> None:
    assert formatted(make_record(exc_info=exc_info))["message"] == "hello"


@pytest.mark.parametrize(
    ("name", "value", "fails"),
    [
        ("created", 0, False),
        ("created", -5.25, False),
        ("created", float("nan"), True),
        ("created", float("inf"), True),
        ("created", 1e300, True),
        ("created", None, True),
        ("created", "now", True),
        ("levelname", None, False),
        ("levelname", "\x1b[31mERROR", False),
        ("name", 5, False),
        ("lineno", "12", False),
        ("process", None, False),
        ("funcName", None, False),
        ("args", 5, False),
        ("args", [1], False),
        ("msg", object, False),
        ("exc_text", 5, False),
        ("stack_info", object, False),
    ],
)
def test_a_record_put_together_by_hand_makes_a_line(
    formatted: Format, name: str, value: object, *, fails: bool
) -> None:
    fields = formatted(logging.makeLogRecord({"msg": "m", "after": 1, name: value}))
    assert fields["after"] == 1


def test_a_pickled_record_keeps_its_extras(formatted: Format) -> None:
    """As the standard library's socket handler sends it."""
    sent = vars(make_record("%s", "x", extra={"user": "ann"}))
    fields = formatted(logging.makeLogRecord(dict(sent)))
    assert list(fields.items())[3:4] + list(fields.items())[8:] == [("message", "x"), ("user", "ann")]
