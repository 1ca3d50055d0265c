"""The direct way to a log line: for events of ours, without a `LogRecord`.

Same line as the standard library's way through `formatter`, in a fraction of the time: what does not change is laid
out once, and only the fields are encoded. What is out of the ordinary takes the formatter's way.
"""

from __future__ import annotations

import logging
import os

from ordinaut_ext_observability.background.clock import wall_seconds
from ordinaut_ext_observability.background.fork import reset_in_forked_child
from ordinaut_ext_observability.correlation.context import WORK_FIELDS, RequestIds, request_ids, work_ids
from ordinaut_ext_observability.logs.formatter import add_context
from ordinaut_ext_observability.logs.timestamps import Timestamps
from ordinaut_ext_observability.logs.writer import LogWriter
from ordinaut_ext_observability.scrub.plain_values import MAX_LINE_BYTES, encode_line, put, text_of
from ordinaut_ext_observability.scrub.safe_json import encode, json_text

_TAKEN = frozenset(
    (
        *("timestamp", "level", "logger", "message", "event_type", "module", "function", "line", "process"),
        *("correlation_id", "request_id", "trace_id", "span_id", *WORK_FIELDS, "task_context"),
    )
)
_are_usual = frozenset((str, int, float, bool)).issuperset

_URGENT = frozenset(("ERROR", "CRITICAL"))
_MAX_HEADS = 1000
_MAX_MESSAGES = 256
_MAX_REMEMBERED_LENGTH = 200

# Text this short has no more bytes than a line may have: a character is four at most.
_SURELY_FITS = MAX_LINE_BYTES // 4


class EventLog:
    """Writes events under one logger's name."""

    def __init__(self, writer: LogWriter, logger_name: str, level: str = "INFO") -> None:
        """Events below `level` are not written."""
        self._writer = writer
        self._logger_name = logger_name
        self._threshold = _number(level)
        self._timestamps = Timestamps()
        self._message_texts: dict[str, str] = {}
        self.reset_after_fork()
        reset_in_forked_child(self)

    def reset_after_fork(self) -> None:
        """Lay the fixed parts of lines out anew: they name the process."""
        self._heads: dict[tuple[str, str], tuple[str, str] | None] = {}

    def emit(self, level: str, message: str, event_type: str, /, **fields: object) -> None:
        """Write one event; a field of None is left out. Never raises.

        `level` is a name of the standard library's levels; any other counts as INFO. Fields whose names are taken get
        the suffix `_`.
        """
        key = (level, event_type)
        head = self._heads[key] if key in self._heads else self._lay_out(level, event_type)
        if head is None:
            return
        message_text = self._message_texts.get(message) if type(message) is str else None
        if message_text is None:
            message_text = self._encode_message(message)
        ids = request_ids.get()
        line = None
        if not work_ids.get() and _are_usual(map(type, fields.values())) and _TAKEN.isdisjoint(fields):
            try:
                field_text = f",{encode(fields)[1:-1].decode()}" if fields else ""
            except TypeError:  # text that is not Unicode, or an integer past 64 bits
                pass
            else:
                before_message, after_message = head
                line = (
                    f'{{"timestamp":"{self._timestamps.format(wall_seconds())}{before_message}{message_text}'
                    f"{after_message}{'' if ids is None else _id_text(ids)}{field_text}}}"
                )
        if line is None or (len(line) > _SURELY_FITS and len(line.encode()) > MAX_LINE_BYTES):
            line = self._unusual_line(level, message, event_type, fields)
        self._writer.write(line, urgent=level in _URGENT)

    def _encode_message(self, message: object) -> str:
        """The message as JSON. The first ones are remembered: an event's message seldom varies."""
        text = text_of(message)
        encoded = json_text(text)
        if len(self._message_texts) < _MAX_MESSAGES and len(text) <= _MAX_REMEMBERED_LENGTH:
            self._message_texts[text] = encoded
        return encoded

    def _unusual_line(self, level: str, message: object, event_type: str, fields: dict[str, object]) -> str:
        code = EventLog.emit.__code__
        line: dict[str, object] = {
            "timestamp": self._timestamps.format(wall_seconds()),
            "level": level,
            "logger": self._logger_name,
            "message": text_of(message),
            "event_type": event_type,
            "module": "events",
            "function": code.co_name,
            "line": code.co_firstlineno,
            "process": os.getpid(),
        }
        add_context(line)
        for name, value in fields.items():
            if value is not None:
                put(line, name, value)
        return encode_line(line)

    def _lay_out(self, level: str, event_type: str) -> tuple[str, str] | None:
        """The text before and after the message; None for a level that is not written."""
        if len(self._heads) > _MAX_HEADS:
            self._heads.clear()
        code = EventLog.emit.__code__
        head = None
        if _number(level) >= self._threshold:
            after_message = (
                f',"event_type":{json_text(event_type)},"module":"events","function":"{code.co_name}"'
                f',"line":{code.co_firstlineno},"process":{os.getpid()}'
            )
            before_message = f'","level":{json_text(level)},"logger":{json_text(self._logger_name)},"message":'
            head = (before_message, after_message)
        self._heads[level, event_type] = head
        return head


def _number(level: str) -> int:
    return logging.getLevelNamesMapping().get(level, logging.INFO)


def _id_text(ids: RequestIds) -> str:
    correlation_id, trace_id, span_id, _ = ids
    return (
        f',"correlation_id":"{correlation_id}","request_id":"{correlation_id}"'
        f',"trace_id":"{trace_id}","span_id":"{span_id}"'
    )
