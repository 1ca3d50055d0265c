"""What every log line has: its time, its fixed head, the ids of what the code works for."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from types import CodeType
from typing import Any

from ordinaut_ext_observability.correlation.context import WORK_FIELDS, request_ids, work_ids
from ordinaut_ext_observability.logs.event_types import Event
from ordinaut_ext_observability.scrub.safe_json import json_text

# An instant that is a whole millisecond is a little less as a binary float: what is added makes up for that. The last
# entry is for what then comes to a thousand.
_MILLISECONDS = (*(f".{millisecond:03d}Z" for millisecond in range(1000)), ".999Z")
_FLOAT_ERROR = 0.0005


class Timestamps:
    """Formats instants as RFC 3339 in UTC with milliseconds; the second's text is kept until the next second."""

    __slots__ = ("_current",)

    def __init__(self) -> None:
        self._current = (-1, "")  # one tuple, so that threads never see one second with the text of another

    def format(self, instant_seconds: float) -> str:
        """`2026-11-23T22:19:04.123Z` for seconds since 1970.

        Raises:
            ValueError, OverflowError, OSError: it is no instant of the years 1 to 9999.
        """
        second = int(instant_seconds)
        known, text = self._current
        if second != known:
            text = datetime.fromtimestamp(second, UTC).strftime("%Y-%m-%dT%H:%M:%S")
            self._current = (second, text)
        return text + _MILLISECONDS[int((instant_seconds - second) * 1000 + _FLOAT_ERROR)]


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
