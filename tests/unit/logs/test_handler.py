"""The handler: records of any thread become lines, and a log call never fails its caller."""

from __future__ import annotations

import json
import logging
import logging.handlers
import os
import queue
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from ordinaut_ext_observability.logs.records import JsonHandler


def own_logger(name: str) -> logging.Logger:
    """A logger of the test alone: the process does not know it."""
    return logging.Logger(name, logging.DEBUG)  # noqa: LOG001


@pytest.fixture
def logger(log_lines: Any) -> Iterator[logging.Logger]:
    """A logger whose only handler is ours."""
    logger = own_logger("app.mail")
    logger.addHandler(JsonHandler(log_lines.writer))
    yield logger


def test_a_record_becomes_one_line(logger: logging.Logger, log_lines: Any) -> None:
    logger.info("to %s", "ann", extra={"user": "ann"})
    fields = log_lines.only()
    assert (fields["message"], fields["level"], fields["user"]) == ("to ann", "INFO", "ann")
    assert (fields["module"], fields["function"]) == ("test_handler", "test_a_record_becomes_one_line")


@pytest.mark.parametrize("message", ["a\nb", "a\r\nb\r", "\x0b\x0c\x1c\x1d\x1e\x85\u2028\u2029", "\x00", "\udcff"])
def test_a_line_break_never_ends_the_line_early(logger: logging.Logger, log_lines: Any, message: str) -> None:
    logger.info(message, extra={message: message})
    logger.info("next")
    assert len(log_lines.all()) == 2


def test_records_below_the_handlers_level_are_not_written(logger: logging.Logger, log_lines: Any) -> None:
    logger.handlers[0].setLevel(logging.WARNING)
    logger.info("no")
    logger.warning("yes")
    assert log_lines.messages() == ["yes"]


def test_filters_are_asked(logger: logging.Logger, log_lines: Any) -> None:
    logger.handlers[0].addFilter(lambda record: "secret" not in record.getMessage())
    logger.info("a secret")
    logger.info("a word")
    assert log_lines.messages() == ["a word"]


def test_another_formatter_may_be_set(logger: logging.Logger, log_lines: Any) -> None:
    logger.handlers[0].setFormatter(logging.Formatter('{"message":"%(message)s"}'))
    logger.info("x")
    assert log_lines.texts() == ['{"message":"x"}']


def test_records_of_many_threads_are_all_written(eager_switching: None, logger: logging.Logger, log_lines: Any) -> None:
    def work(thread: int) -> None:
        for number in range(200):
            logger.info("%d", number, extra={"thread_number": thread})

    threads = [threading.Thread(target=work, args=(thread,)) for thread in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    lines = log_lines.all()
    assert len(lines) == 1600
    for thread_number in range(8):
        mine = [fields["message"] for fields in lines if fields["thread_number"] == thread_number]
        assert mine == [str(number) for number in range(200)]


def test_a_value_that_logs_while_it_is_formatted_loses_no_line(logger: logging.Logger, log_lines: Any) -> None:
    class Talks:
        def __str__(self) -> str:
            logger.warning("inside")
            return "talks"

    logger.info("%s", Talks())
    logger.info("extra", extra={"value": Talks()})
    assert log_lines.messages() == ["inside", "talks", "inside", "extra"]


def test_a_filter_that_logs_loses_no_line(logger: logging.Logger, log_lines: Any) -> None:
    def talk(record: logging.LogRecord) -> bool:
        if record.getMessage() != "inside":
            logger.info("inside")
        return True

    logger.handlers[0].addFilter(talk)
    logger.info("outside")
    assert log_lines.messages() == ["inside", "outside"]


def test_a_value_that_logs_itself_for_ever_ends(
    logger: logging.Logger, log_lines: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logging, "raiseExceptions", False)

    class Endless:
        def __str__(self) -> str:
            logger.info("%s", self)
            return "done"

    logger.info("%s", Endless())
    logger.info("after")
    assert log_lines.messages()[-1] == "after"


def test_a_failing_formatter_is_told_as_the_standard_library_does(
    logger: logging.Logger, log_lines: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    class Failing(logging.Formatter):
        def format(self, record: logging.LogRecord) -> str:
            raise LookupError("formatter")

    logger.handlers[0].setFormatter(Failing())
    logger.info("lost")
    assert "LookupError: formatter" in capsys.readouterr().err
    assert log_lines.texts() == []


@pytest.mark.parametrize(
    ("level", "urgent"),
    [("debug", False), ("info", False), ("warning", False), ("error", True), ("critical", True), ("exception", True)]
    + [("security", True)],
)
def test_lines_of_errors_are_kept_when_there_are_too_many(
    request: pytest.FixtureRequest, log_lines: Any, logger: logging.Logger, level: str, *, urgent: bool
) -> None:
    reached, may_go_on = threading.Event(), threading.Event()

    def hold() -> None:
        reached.set()
        may_go_on.wait(10)

    request.addfinalizer(may_go_on.set)
    log_lines.writer._max_queued_lines = 1
    log_lines.writer.before_writing.append(hold)
    logger.info("first")
    assert reached.wait(10)
    if level == "security":
        logger.info("second", extra={"event_type": "security_event"})
    else:
        getattr(logger, level)("second")
    may_go_on.set()
    assert log_lines.messages() == ["first", *(["second"] if urgent else [])]


def test_flush_waits_until_all_is_written(logger: logging.Logger, log_lines: Any) -> None:
    for number in range(100):
        logger.info("%d", number)
    logger.handlers[0].flush()
    assert log_lines._path.read_text().count("\n") == 100


def test_a_closed_handler_writes_on(logger: logging.Logger, log_lines: Any) -> None:
    """The standard library closes every handler at exit and in `dictConfig`; what is logged later still counts."""
    logger.info("before")
    logger.handlers[0].close()
    logger.info("after")
    assert log_lines.messages() == ["before", "after"]


def test_the_handler_has_what_the_standard_library_asks_of_handlers(log_lines: Any) -> None:
    handler = JsonHandler(log_lines.writer)
    handler.acquire()
    handler.release()
    handler.set_name("json")
    assert handler.get_name() == "json"
    handler.close()
    assert "NOTSET" in repr(handler)


def test_records_through_a_queue_keep_their_fields(log_lines: Any) -> None:
    """As with the standard library's QueueHandler, which formats the message and drops what cannot be sent."""
    records: queue.SimpleQueue[Any] = queue.SimpleQueue()
    logger = own_logger("app.queued")
    logger.addHandler(logging.handlers.QueueHandler(records))
    listener = logging.handlers.QueueListener(records, JsonHandler(log_lines.writer))
    listener.start()
    try:
        raise LookupError("here")
    except LookupError:
        logger.exception("to %s", "ann", extra={"user": "ann"})
    listener.stop()
    fields = log_lines.only()
    assert fields["user"] == "ann"
    assert fields["message"].startswith("to ann")
    assert "LookupError: here" in fields["message"] + fields.get("exception", "")


def test_another_handlers_changes_to_the_record_do_no_harm(log_lines: Any) -> None:
    class Colouring(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            record.levelname = f"\x1b[31m{record.levelname}"
            record.colour = "red"

    logger = own_logger("app.coloured")
    logger.addHandler(Colouring())
    logger.addHandler(JsonHandler(log_lines.writer))
    logger.info("x")
    fields = log_lines.only()
    assert (fields["level"], fields["colour"]) == ("\x1b[31mINFO", "red")


def test_a_forked_child_logs_its_own_lines_once(
    logger: logging.Logger, log_lines: Any, in_forked_child: Callable[[Callable[[], bytes]], bytes]
) -> None:
    logger.info("before the fork")

    def child() -> bytes:
        logger.info("in the child")
        logger.handlers[0].flush()
        return json.dumps(os.getpid()).encode()

    child_id = json.loads(in_forked_child(child))
    logger.info("in the parent")
    lines = {fields["message"]: fields["process"] for fields in log_lines.all()}
    assert lines == {"before the fork": os.getpid(), "in the child": child_id, "in the parent": os.getpid()}
    assert len(log_lines.all()) == 3


def test_flushing_starts_no_thread(log_lines: Any) -> None:
    """`dictConfig` flushes every handler with the lock of `logging` held; a new thread might wait for that lock."""
    log_lines.writer.before_writing.append(lambda: None)
    handler = JsonHandler(log_lines.writer)
    before = threading.active_count()
    handler.flush()
    assert threading.active_count() == before
    assert log_lines.writer.thread is None
