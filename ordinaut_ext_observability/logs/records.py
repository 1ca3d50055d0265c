"""Standard library log records as JSON lines: every `extra` field kept, and nothing raised whatever it holds."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable

from ordinaut_ext_observability.background.clock import wall_seconds
from ordinaut_ext_observability.logs.caller import RECORD_FIELDS
from ordinaut_ext_observability.logs.events import add_context, timestamp
from ordinaut_ext_observability.logs.writer import LogWriter
from ordinaut_ext_observability.scrub.plain_values import cut, encode_line, put, text_of
from ordinaut_ext_observability.scrub.text import scrub_text

# `event_type` has its own place, and `color_message` is uvicorn's copy of the message for terminals.
_NO_EXTRAS = RECORD_FIELDS | {"event_type", "color_message"}
_USUAL_FIELDS = len(RECORD_FIELDS) - len(("message", "asctime"))
_EXCEPTION_FIELDS = frozenset(("exception_type", "exception", "stack"))

# Of a long traceback, where it began and what was raised in the end.
_EXCEPTION_HEAD, _EXCEPTION_TAIL, _EXCEPTION_LOOKED_AT = 500, 1500, 16 * 1024


class JsonFormatter(logging.Formatter):
    """Formats a record as one flat JSON object."""

    def format(self, record: logging.LogRecord) -> str:
        """The line. Extra fields whose names are taken get the suffix `_`."""
        fields = vars(record)
        try:
            instant = timestamp(record.created)
        except (TypeError, ValueError, OverflowError, OSError):  # a record put together by hand
            instant = timestamp(wall_seconds())
        line: dict[str, object] = {
            "timestamp": instant,
            "level": record.levelname,
            "logger": record.name,
            "message": record.msg if not record.args and type(record.msg) is str else _message(record),
        }
        if "event_type" in fields:
            line["event_type"] = fields["event_type"]
        line["module"] = record.module
        line["function"] = record.funcName
        line["line"] = record.lineno
        line["process"] = record.process if record.process is not None else os.getpid()
        add_context(line)
        has_exception = bool(record.exc_info or record.exc_text or record.stack_info)
        if len(fields) > _USUAL_FIELDS:
            for name in [name for name in fields if name not in _NO_EXTRAS]:
                if name not in line and type(name) is str and not (has_exception and name in _EXCEPTION_FIELDS):
                    line[name] = fields[name]
                else:
                    # Of an exception, too: its own fields come after the extras, and keep their names.
                    put(line, f"{name}_" if name in _EXCEPTION_FIELDS else name, fields[name])
        if has_exception:
            self._add_exception(line, record)
        return encode_line(line)

    def _add_exception(self, line: dict[str, object], record: logging.LogRecord) -> None:
        exc_info = record.exc_info
        if isinstance(exc_info, tuple) and exc_info:
            if isinstance(exc_info[0], type):
                put(line, "exception_type", exc_info[0].__name__)
            if not record.exc_text:
                try:
                    record.exc_text = self.formatException(exc_info)
                except Exception as error:  # noqa: BLE001 - the exception's own `__str__` may raise
                    record.exc_text = f"<traceback: {type(error).__name__}>"
        for name, value in (("exception", record.exc_text), ("stack", record.stack_info)):
            if value:
                text = text_of(value)
                if len(text) > _EXCEPTION_HEAD + _EXCEPTION_TAIL:
                    # What is cut may be half a secret, of a list of parameters the part without its beginning.
                    tail = scrub_text(text[-_EXCEPTION_LOOKED_AT:])[-_EXCEPTION_TAIL:]
                    text = f"{cut(text, _EXCEPTION_HEAD)}{tail.partition(' ')[2] or tail}"
                put(line, name, text)


class JsonHandler(logging.Handler):
    """Writes records as JSON lines without making the caller wait."""

    def __init__(self, writer: LogWriter) -> None:
        super().__init__()
        self._writer = writer
        self.note_error: Callable[[BaseException | None, str, object], None] = lambda *_: None
        """Called with an exception that is logged as an error, the logger's name, and the place of the call."""
        self.setFormatter(JsonFormatter())

    def handle(self, record: logging.LogRecord) -> bool | logging.LogRecord:  # type: ignore[override]
        """Without the lock of other handlers: the writer's queue takes lines from any thread."""
        kept: bool | logging.LogRecord = self.filter(record) if self.filters else True
        if kept:
            self.emit(record if kept is True else kept)
        return kept

    def emit(self, record: logging.LogRecord) -> None:
        """Queue the record's line; errors and security events go at once, and are kept when others are not."""
        try:
            is_error = record.levelno >= logging.ERROR
            urgent = is_error or vars(record).get("event_type") == "security_event"
            self._writer.write(self.format(record), urgent=urgent)
            if is_error and record.exc_info:
                self.note_error(record.exc_info[1], record.name, (record.pathname, record.lineno))
        except Exception:  # noqa: BLE001 - a log call must not fail its caller; the standard library says so on stderr
            self.handleError(record)

    def flush(self) -> None:
        """Wait until what is queued has been written, for a second at most.

        No thread is started for it: the standard library calls this with its lock held, for which a new thread may wait
        (collecting a handler as garbage takes it) before it counts as started.
        """
        if self._writer.thread is not None:
            self._writer.flush()


def _message(record: logging.LogRecord) -> str:
    try:
        return text_of(record.getMessage() if record.args else record.msg)
    except Exception:  # noqa: BLE001 - arguments that do not fit the message
        return f"{text_of(record.msg)} {text_of(record.args)}"
