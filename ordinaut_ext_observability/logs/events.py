"""The direct way to a log line: for events of ours, without a `LogRecord`.

Same line as the standard library's way through `records`, in a fraction of the time: what does not change is laid out
once, and only the fields are encoded. What is out of the ordinary takes the way of records.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from datetime import UTC, datetime
from functools import lru_cache
from types import CodeType
from typing import Any

from ordinaut_ext_observability.background.clock import wall_seconds
from ordinaut_ext_observability.background.fork import reset_in_forked_child
from ordinaut_ext_observability.correlation.context import WORK_FIELDS, current_ids, work_ids
from ordinaut_ext_observability.logs.event_types import Event, FieldsP
from ordinaut_ext_observability.logs.writer import LogWriter
from ordinaut_ext_observability.scrub.plain_values import MAX_LINE_BYTES, encode, encode_line, json_text, put

THOUSANDTHS = tuple(f".{thousandth:03d}" for thousandth in range(1000))
"""The last three digits of a figure, faster than to format it."""

# An instant that is a whole millisecond is a little less as a binary float: what is added makes up for that. The last
# entry is for what then comes to a thousand.
_MILLISECONDS = (*(f"{thousandth}Z" for thousandth in THOUSANDTHS), ".999Z")
_FLOAT_ERROR = 0.0005

_text_of_second = lru_cache(2)(lambda second: datetime.fromtimestamp(second, UTC).strftime("%Y-%m-%dT%H:%M:%S"))


def timestamp(instant_seconds: float) -> str:
    """RFC 3339 in UTC with milliseconds, `2026-11-23T22:19:04.123Z`, for seconds since 1970.

    Raises ValueError, OverflowError or OSError where that is no instant of the years 1 to 9999.
    """
    second = int(instant_seconds)
    return _text_of_second(second) + _MILLISECONDS[int((instant_seconds - second) * 1000 + _FLOAT_ERROR)]


def lay_out_head(event: Event[Any], logger_name: str, code: CodeType) -> str:
    """The text of an event's lines between the instant and the ids, the same as long as the process lives."""
    module = os.path.basename(code.co_filename).partition(".")[0]  # noqa: PTH119 - of a path that may be no file
    security = ',"security_event":true' if event.security else ""
    return (
        f'","level":"{event.level}","logger":{json_text(logger_name)},"message":{json_text(event.message)}'
        f',"event_type":{json_text(event.name)},"module":"{module}","function":"{code.co_name}"'
        f',"line":{code.co_firstlineno},"process":{os.getpid()}{security}'
    )


def add_context(line: dict[str, object]) -> None:
    """Add the ids of the request and of the work the running code belongs to."""
    ids = current_ids()
    if ids is not None:
        line["correlation_id"] = line["request_id"] = ids[0]
        line["trace_id"] = ids[1]
        line["span_id"] = ids[2]
    work = work_ids.get()
    if work:
        line.update((name, work[name]) for name in WORK_FIELDS if name in work)
        line["task_context"] = {
            "task_id": work.get("task_id"),
            "agent_id": work.get("agent_id"),
            "request_id": ids[0] if ids is not None else None,
        }


_are_usual = frozenset((str, int, float, bool)).issuperset

# Text this short has no more bytes than a line may have: a character is four at most.
_SURELY_FITS = MAX_LINE_BYTES // 4

_HEAD_BYTES = len('{"timestamp":"2026-11-23T22:19:04.123Z,')


class EventLog:
    """Writes events under one logger's name."""

    def __init__(self, writer: LogWriter, logger_name: str, level: str = "INFO") -> None:
        """Events below `level` are not written, except those of security; the logger's own level takes its place."""
        self._writer = writer
        self._logger_name = logger_name
        self._logger = logging.getLogger(logger_name)
        self.audit: Callable[[str, dict[str, object]], None] = lambda _name, _fields: None  # of security events
        self._threshold = logging.getLevelNamesMapping()[level]
        self.reset_after_fork()
        reset_in_forked_child(self)

    def reset_after_fork(self) -> None:
        """Lay the fixed parts of lines out anew: they name the process."""
        self._heads: dict[Event[Any], tuple[str, bool, int]] = {}

    def emit(self, event: Event[FieldsP], /, *_: FieldsP.args, **fields: FieldsP.kwargs) -> None:
        """Write one event; a field of None is left out. Never raises."""
        text, urgent, level = self._heads.get(event) or self._lay_out(event)
        if event.security:
            self.audit(event.name, fields)
        elif level < (self._logger.level or self._threshold):
            return
        ids = current_ids()
        rest = None
        if not work_ids.get() and _are_usual(map(type, fields.values())):
            try:
                rest = f",{encode(fields)[1:-1].decode()}" if fields else ""
                if ids is not None:
                    correlation_id, trace_id, span_id, _sampled = ids
                    rest = (
                        f',"correlation_id":"{correlation_id}","request_id":"{correlation_id}"'
                        f',"trace_id":"{trace_id}","span_id":"{span_id}"{rest}'
                    )
            except TypeError:  # text that is not Unicode, or an integer past 64 bits
                pass
        if rest is None or len(rest) > _SURELY_FITS - len(text):
            rest = _unusual(fields, MAX_LINE_BYTES - _HEAD_BYTES - len(text.encode()))
        self._writer.write(f'{{"timestamp":"{timestamp(wall_seconds())}{text}{rest}}}', urgent=urgent)

    def _lay_out(self, event: Event[Any]) -> tuple[str, bool, int]:
        """The fixed text of the event's lines, whether they cannot wait, and their level."""
        level = logging.getLevelNamesMapping()[event.level]
        text = lay_out_head(event, self._logger_name, EventLog.emit.__code__)
        head = self._heads[event] = text, event.security or level >= logging.ERROR, level
        return head


def _unusual(fields: dict[str, object], max_bytes: int) -> str:
    """The ids and fields, whatever they are, in so many bytes."""
    line: dict[str, object] = {}
    add_context(line)
    for name, value in fields.items():
        if value is not None:
            put(line, name, value)
    return f",{encode_line(line, max_bytes)[1:-1]}" if line else ""
