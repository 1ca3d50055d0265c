"""No way to a line lets through what splits lines or commands a terminal."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import pytest

from ordinaut_ext_observability.settings.parts import LogSettings
from ordinaut_ext_observability.compat.logging import StructuredLogger
from ordinaut_ext_observability.logs.access import AccessLog
from ordinaut_ext_observability.logs.event_types import Event
from ordinaut_ext_observability.logs.events import EventLog
from ordinaut_ext_observability.logs.records import JsonHandler
from ordinaut_ext_observability.scrub.plain_values import json_text
from ordinaut_ext_observability.logs.setup import LoggingSetup
from ordinaut_ext_observability.logs.writer import LogWriter

UNSAFE = "\x7f\x80\x85\x9b2J\u061c\u200e\u202e\u2028\u2029\u2066"


def log_standard(writer: LogWriter, fields: dict[str, str]) -> None:
    logger = logging.getLogger(UNSAFE)
    logger.addHandler(JsonHandler(writer))
    try:
        raise LookupError(UNSAFE)
    except LookupError:
        logger.exception(UNSAFE, extra=fields)
    finally:
        logger.handlers.clear()


def log_event(writer: LogWriter, fields: dict[str, str]) -> None:
    EventLog(writer, UNSAFE).emit(Event(UNSAFE, "ERROR", UNSAFE), **fields)


def log_unusual_event(writer: LogWriter, fields: dict[str, str]) -> None:
    EventLog(writer, UNSAFE).emit(Event(UNSAFE, "ERROR", UNSAFE), **fields, nested={UNSAFE: [UNSAFE]})


def log_long_event(writer: LogWriter, fields: dict[str, str]) -> None:
    more = {f"{number}{UNSAFE}": UNSAFE * 100 for number in range(100)}
    EventLog(writer, UNSAFE).emit(Event(UNSAFE, "ERROR", UNSAFE), **fields, **more)


def log_access(writer: LogWriter, fields: dict[str, str]) -> None:
    log = AccessLog(writer, LogSettings())
    details = "".join(f",{json_text(name)}:{json_text(value)}" for name, value in fields.items())
    log.emit("INFO", log.layout("GET", UNSAFE, 200), 0.0, 0.1, ("c", "t", "s", False), details)


def log_structlog(writer: LogWriter, fields: dict[str, str]) -> None:
    structlog = pytest.importorskip("structlog")
    setup = LoggingSetup(writer)
    setup.configure()
    structlog.get_logger("app").error(UNSAFE, **fields)
    setup.restore()


def log_domain_event(writer: LogWriter, fields: dict[str, str]) -> None:
    logger = logging.getLogger("tests.controls")
    logger.addHandler(JsonHandler(writer))
    StructuredLogger("tests.controls").error(UNSAFE, **fields)
    logger.handlers.clear()


@pytest.mark.usefixtures("clean_process")
@pytest.mark.parametrize(
    "log",
    [
        *(log_standard, log_event, log_unusual_event, log_long_event, log_access, log_structlog, log_domain_event),
    ],
)
def test_no_line_holds_what_splits_it_or_commands_a_terminal(
    log: Callable[[LogWriter, dict[str, str]], None], log_lines: Any, read_line: Callable[[str], dict[str, Any]]
) -> None:
    log(log_lines.writer, {UNSAFE: UNSAFE})
    (text,) = log_lines.texts()
    assert not set(UNSAFE) - set("2J") & set(text)
    assert text.splitlines() == [text]
    assert read_line(text)[UNSAFE] == UNSAFE
