"""Levels that are changed for a while, in one process: what loggers have meanwhile, and after."""

from __future__ import annotations

import io
import logging
import os
from collections.abc import Iterator
from typing import Any

import pytest

from ordinaut_ext_observability.cluster.base import Document
from ordinaut_ext_observability.logs.access import LOGGER_NAME, AccessLog
from ordinaut_ext_observability.logs.event_types import Event
from ordinaut_ext_observability.logs.events import EventLog
from ordinaut_ext_observability.logs.setup import LoggingSetup
from ordinaut_ext_observability.relay.log_levels import MAX_CHANGED, LogLevels
from ordinaut_ext_observability.settings.parts import LogSettings
from tests.clock import ManualClock

NAME = "tests.levels"


class Process(LogLevels):
    """The levels of a process without a store, the events noted."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.events: list[tuple[Any, ...]] = []
        super().__init__(self.clock, self._note, "INFO", None)

    def _note(self, event: Any, /, **fields: Any) -> None:
        self.events.append((fields["previous_level"], fields["new_level"], fields["source"], fields["seconds"]))

    def set(self, level: str | None = "DEBUG", name: str = NAME, seconds: float = 600.0) -> None:
        assert self.change(name, level, seconds, "10.0.0.7") == "processes share no store"


@pytest.fixture
def levels() -> Iterator[Process]:
    root, before = logging.getLogger(), logging.getLogger().level
    process = Process()
    yield process
    process.apply({}, "")
    root.setLevel(before)
    for name in (NAME, LOGGER_NAME):
        logging.getLogger(name).setLevel(logging.NOTSET)


@pytest.mark.parametrize("before", [logging.NOTSET, 15, logging.ERROR])
def test_logger_has_the_level_from_before_once_the_time_is_over(levels: Process, before: int) -> None:
    logger = logging.getLogger(NAME)
    logger.setLevel(before)
    levels.set(seconds=600.0)
    levels.set("WARNING", seconds=60.0)
    assert logger.level == logging.WARNING
    levels.clock.advance(59.9)
    levels.end_expired()
    assert logger.level == logging.WARNING
    levels.clock.advance(0.2)
    levels.end_expired()
    name = logging.getLevelName(before)
    assert (logger.level, levels.describe(NAME)["changed"]) == (before, None)
    assert levels.events == [
        (name, "DEBUG", "request", 600),
        ("DEBUG", "WARNING", "request", 60),
        ("WARNING", name, "expired", 0),
    ]


def test_time_is_over_without_anybody_asking(levels: Process, eventually: Any) -> None:
    levels.set(seconds=0.01)
    levels.clock.advance(1)
    assert eventually(lambda: logging.getLogger(NAME).level == logging.NOTSET)


def test_level_that_the_host_sets_meanwhile_is_left_and_told(levels: Process) -> None:
    logger = logging.getLogger(NAME)
    levels.set()
    logger.setLevel(logging.ERROR)
    assert levels.describe(NAME)["notes"][-1] == "the host has set another level since"
    levels.set(None)
    assert (logger.level, levels.events[-1]) == (logging.ERROR, ("ERROR", "ERROR", "request", 0))


def test_changes_outlast_configuring_and_restoring_which_keep_the_levels_from_before(
    levels: Process, log_lines: Any
) -> None:
    root = logging.getLogger()
    root.setLevel(logging.ERROR)
    setup = LoggingSetup(log_lines.writer, "WARNING")
    setup.lifted = levels.lifted
    levels.set(name="root")
    levels.set(name=NAME)
    logger = setup.get_logger(NAME)
    setup.configure()
    assert root.level == logger.level == logging.DEBUG
    logger.debug("seen")
    levels.set(None, "root")
    assert root.level == logging.WARNING
    levels.set(name="root")
    setup.restore()
    assert root.level == logger.level == logging.DEBUG
    levels.apply({}, "stopped")
    assert (root.level, logger.level) == (logging.ERROR, logging.NOTSET)
    assert log_lines.messages() == ["seen"]


def test_our_own_logs_follow_the_loggers_of_their_names(levels: Process, log_lines: Any) -> None:
    events, access = EventLog(log_lines.writer, NAME), AccessLog(log_lines.writer, LogSettings())
    assert levels.describe(LOGGER_NAME)["effective_level"] == "INFO"
    shown = []
    for level in ("DEBUG", "ERROR", None):
        for name in (NAME, LOGGER_NAME):
            levels.set(level, name)
        for each in ("DEBUG", "INFO", "ERROR"):
            events.emit(Event(str(level), each, each))
        shown.append([access.level(status, 9.0 * slow, quiet=False) for status, slow in ((200, 0), (200, 1), (500, 0))])
    assert shown == [["INFO", "WARNING", "ERROR"], [None, None, "ERROR"], ["INFO", "WARNING", "ERROR"]]
    assert log_lines.messages() == ["DEBUG", "INFO", "ERROR", "ERROR", "INFO", "ERROR"]


def test_structlog_follows(levels: Process, log_lines: Any) -> None:
    structlog = pytest.importorskip("structlog")
    setup = LoggingSetup(log_lines.writer)
    setup.lifted = levels.lifted
    setup.configure()
    try:
        for level in ("DEBUG", None):
            levels.set(level)
            structlog.get_logger(NAME).debug("seen", level_asked=level)
    finally:
        setup.restore()
        structlog.reset_defaults()
    assert [line["level_asked"] for line in log_lines.all()] == ["DEBUG"]


def test_what_else_hides_lines_is_told(levels: Process, monkeypatch: pytest.MonkeyPatch) -> None:
    logger, handler = logging.getLogger(NAME), logging.StreamHandler(io.StringIO())
    handler.setLevel(logging.ERROR)
    monkeypatch.setattr(logger, "handlers", [handler])
    monkeypatch.setattr(logger, "disabled", True)
    levels.set()
    notes = levels.describe(f"{NAME}.below")["notes"], levels.describe(NAME)["notes"]
    assert [len(each) for each in notes] == [1, 2]
    assert "StreamHandler" in notes[0][0] and "disabled" in notes[1][1]


@pytest.mark.parametrize(
    "content",
    [b"", b"[1]", b'{"a": 1}', b'{"a": ["DEBUG"]}', b"\xff", b'{"a": {}}', b'{"a": ["TRACE", 2e9, ""]}']
    + [b'{"a": ["DEBUG", "soon", ""]}', b'{"a": ["DEBUG", 1e300, ""]}', b'{"a": [10, 2e9, ""]}'],
)
def test_document_of_another_version_ends_none(levels: Process, content: bytes) -> None:
    levels.set()
    levels.follow(Document(7, content))
    assert logging.getLogger(NAME).level == logging.DEBUG


def test_store_that_lost_the_changes_ends_none(levels: Process) -> None:
    until = levels.clock.wall() + 60
    levels.follow(Document(7, f'{{"{NAME}":["DEBUG",{until},"10.0.0.7"],"{NAME}.old":["DEBUG",1.0,""]}}'.encode()))
    levels.follow(Document(0, b""))
    assert (logging.getLogger(NAME).level, logging.getLogger(f"{NAME}.old").level) == (logging.DEBUG, logging.NOTSET)
    levels.follow(Document(8, b"{}"))
    assert logging.getLogger(NAME).level == logging.NOTSET
    assert [source for _, _, source, _ in levels.events] == ["store", "store"]


def test_so_many_loggers_are_changed_and_no_more(levels: Process) -> None:
    for number in range(MAX_CHANGED):
        levels.set(name=f"{NAME}.{number}")
    with pytest.raises(ValueError, match=f"{MAX_CHANGED} loggers are changed"):
        levels.set()
    levels.set("INFO", f"{NAME}.0")
    levels.set(None, f"{NAME}.0")
    levels.set()


def test_forked_child_has_the_levels_from_before(levels: Process) -> None:
    levels.set()
    child = os.fork()
    if child == 0:
        os._exit(logging.getLogger(NAME).level)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == logging.NOTSET
    assert logging.getLogger(NAME).level == logging.DEBUG
