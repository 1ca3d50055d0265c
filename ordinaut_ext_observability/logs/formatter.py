"""Standard library log records as JSON lines: every `extra` field kept, and nothing raised whatever it holds."""

from __future__ import annotations

import logging
import os

from ordinaut_ext_observability.background.clock import wall_seconds
from ordinaut_ext_observability.correlation.context import WORK_FIELDS, request_ids, work_ids
from ordinaut_ext_observability.logs.timestamps import Timestamps
from ordinaut_ext_observability.scrub.plain_values import encode_line, put, text_of

RECORD_FIELDS = frozenset(vars(logging.LogRecord("", 0, "", 0, "", (), None)))
"""The fields of a record without extras."""

_USUAL_FIELDS = len(RECORD_FIELDS)

# Formatters add the first two, `event_type` has its own place, and `color_message` is uvicorn's copy of the message
# for terminals.
_NO_EXTRAS = RECORD_FIELDS | {"message", "asctime", "event_type", "color_message"}

_EXCEPTION_FIELDS = frozenset(("exception_type", "exception", "stack"))

# Of a long traceback, where it began and what was raised in the end.
_EXCEPTION_HEAD, _EXCEPTION_TAIL = 500, 1500


class JsonFormatter(logging.Formatter):
    """Formats a record as one flat JSON object."""

    def __init__(self) -> None:
        super().__init__()
        self._timestamps = Timestamps()

    def format(self, record: logging.LogRecord) -> str:
        """The line. Extra fields whose names are taken get the suffix `_`."""
        fields = vars(record)
        try:
            timestamp = self._timestamps.format(record.created)
        except (TypeError, ValueError, OverflowError, OSError):  # a record put together by hand
            timestamp = self._timestamps.format(wall_seconds())
        line: dict[str, object] = {
            "timestamp": timestamp,
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
        if record.exc_text:
            put(line, "exception", _shorten(text_of(record.exc_text)))
        if record.stack_info:
            put(line, "stack", _shorten(text_of(record.stack_info)))


def add_context(line: dict[str, object]) -> None:
    """The ids of the request and of the work the running code belongs to."""
    ids = request_ids.get()
    if ids is not None:
        line["correlation_id"] = line["request_id"] = ids[0]
        line["trace_id"] = ids[1]
        line["span_id"] = ids[2]
    work = work_ids.get()
    if work:
        for name in WORK_FIELDS:
            if name in work:
                line[name] = work[name]
        line["task_context"] = {
            "task_id": work.get("task_id"),
            "agent_id": work.get("agent_id"),
            "request_id": ids[0] if ids is not None else None,
        }


def _message(record: logging.LogRecord) -> str:
    if not record.args:
        return text_of(record.msg)
    try:
        return text_of(record.getMessage())
    except Exception:  # noqa: BLE001 - arguments that do not fit the message
        return f"{text_of(record.msg)} {text_of(record.args)}"


def _shorten(text: str) -> str:
    if len(text) <= _EXCEPTION_HEAD + _EXCEPTION_TAIL:
        return text
    return f"{text[:_EXCEPTION_HEAD]}…{text[-_EXCEPTION_TAIL:]}"
