"""The access line: one JSON line per request, most of it laid out before the request comes.

What is fixed for a level and for a method, route and status is text already; a request adds its time, its ids (which
need no escaping: see `ids.match_client_id`) and its duration.
"""

from __future__ import annotations

import logging

from ordinaut_ext_observability.background.fork import reset_in_forked_child
from ordinaut_ext_observability.background.jitter import draw
from ordinaut_ext_observability.correlation.context import RequestIds
from ordinaut_ext_observability.logs.event_types import ACCESS
from ordinaut_ext_observability.logs.events import THOUSANDTHS, lay_out_head, timestamp
from ordinaut_ext_observability.logs.writer import LogWriter
from ordinaut_ext_observability.scrub.plain_values import json_text
from ordinaut_ext_observability.settings.parts import LogSettings

LOGGER_NAME = "orchestrator.api"


class AccessLog:
    def __init__(self, writer: LogWriter, settings: LogSettings) -> None:
        """Failed requests are ERROR, slow ones WARNING, a share of the others is INFO, as the settings say.

        A level of the logger `LOGGER_NAME` takes the place of theirs.
        """
        self.writer = writer
        self.enabled = settings.access_log
        self._logger = logging.getLogger(LOGGER_NAME)
        self._threshold = logging.getLevelNamesMapping()[settings.level]
        self._slow_seconds = settings.slow_request_seconds
        self._sample_ratio = settings.access_log_sample_ratio
        self.reset_after_fork()
        reset_in_forked_child(self)

    def reset_after_fork(self) -> None:
        """Lay the fixed parts of lines out anew: they name the process."""
        code = AccessLog.emit.__code__
        self._heads = {
            level: f'{lay_out_head(event, LOGGER_NAME, code)},"correlation_id":"' for level, event in ACCESS.items()
        }

    def layout(self, method: str, path: str, status_code: int) -> str:
        """The part of the line that is the same for every request of a method, route and status."""
        return f'","method":{json_text(method)},"path":{json_text(path)},"status_code":{status_code},"duration_ms":'

    def level(self, status_code: int, duration_seconds: float, *, quiet: bool) -> str | None:
        """The level of a request's line; None for no line, as for a `quiet` one that neither failed nor was slow."""
        least = self._logger.level or self._threshold
        if status_code >= 500:
            return "ERROR" if least <= logging.ERROR else None
        if duration_seconds >= self._slow_seconds and least <= logging.WARNING:
            return "WARNING"
        if quiet or least > logging.INFO or (self._sample_ratio < 1.0 and draw() >= self._sample_ratio):
            return None
        return "INFO"

    def emit(
        self, level: str, layout: str, ended_at: float, duration_seconds: float, ids: RequestIds, details: str
    ) -> None:
        """Write a request's line. `ended_at` is seconds since 1970, `details` more of the object: empty, or `,"…`."""
        correlation_id, trace_id, span_id, _ = ids
        microseconds = int(duration_seconds * 1_000_000 + 0.5)
        end = "" if "url_path" in details else "\n"  # a line with its break is not scrubbed
        self.writer.write(
            f'{{"timestamp":"{timestamp(ended_at)}{self._heads[level]}{correlation_id}'
            f'","request_id":"{correlation_id}","trace_id":"{trace_id}","span_id":"{span_id}'
            f"{layout}{microseconds // 1000}{THOUSANDTHS[microseconds % 1000]}{details}}}{end}",
            urgent=level == "ERROR",
        )

    def wake(self, *, urgent: bool = False) -> None:
        """Have the writer's thread make what lines it can and write, soon, or now."""
        if self.enabled:
            self.writer.wake(urgent=urgent)
