"""Standard library log records as JSON lines: every `extra` field kept, and nothing raised whatever it holds."""

from __future__ import annotations

import logging
import os

from ordinaut_ext_observability.context import WORK_FIELDS, request_ids, work_ids
from ordinaut_ext_observability.logs.line import Timestamps
from ordinaut_ext_observability.logs.values import encode_line, text_of

_USUAL_FIELDS = len(vars(logging.makeLogRecord({})))
"""The number of fields of a record without extras."""

# Fields that are no extras although they come later: formatters add the first two, `event_type` has its own place, and
# `color_message` is uvicorn's copy of the message for terminals.
_LATER_FIELDS = frozenset(("message", "asctime", "event_type", "color_message"))


class JsonFormatter(logging.Formatter):
    """Formats a record as one flat JSON object."""

    def __init__(self) -> None:
        super().__init__()
        self._timestamps = Timestamps()

    def format(self, record: logging.LogRecord) -> str:
        """The line. Extra fields whose names are taken get the suffix `_`."""
        line: dict[str, object] = {
            "timestamp": self._timestamps.format(record.created),
            "level": record.levelname,
            "logger": record.name,
            "message": _message(record),
        }
        fields = vars(record)
        if "event_type" in fields:
            line["event_type"] = fields["event_type"]
        line["module"] = record.module
        line["function"] = record.funcName
        line["line"] = record.lineno
        line["process"] = record.process if record.process is not None else os.getpid()
        add_context(line)
        if len(fields) > _USUAL_FIELDS:
            # What a record always has was set first, so extras stand after it.
            for name in list(fields)[_USUAL_FIELDS:]:
                if name not in _LATER_FIELDS:
                    _put(line, name, fields[name])
        if record.exc_info or record.exc_text or record.stack_info:
            self._add_exception(line, record)
        return encode_line(line)

    def _add_exception(self, line: dict[str, object], record: logging.LogRecord) -> None:
        if isinstance(record.exc_info, tuple) and record.exc_info[0] is not None:
            _put(line, "exception_type", record.exc_info[0].__name__)
        if not record.exc_text and isinstance(record.exc_info, tuple):
            try:
                record.exc_text = self.formatException(record.exc_info)
            except Exception as error:  # noqa: BLE001 - the exception's own `__str__` may raise
                record.exc_text = f"<traceback: {type(error).__name__}>"
        if record.exc_text:
            _put(line, "exception", record.exc_text)
        if record.stack_info:
            _put(line, "stack", record.stack_info)


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
        return record.msg if isinstance(record.msg, str) else text_of(record.msg)
    try:
        return record.getMessage()
    except Exception:  # noqa: BLE001 - arguments that do not fit the message
        return f"{text_of(record.msg)} {text_of(record.args)}"


def _put(line: dict[str, object], name: str, value: object) -> None:
    while name in line:
        name = f"{name}_"
    line[name] = value
