"""The handler that puts records into the log writer's queue."""

from __future__ import annotations

import logging

from ordinaut_ext_observability.logs.formatter import JsonFormatter
from ordinaut_ext_observability.logs.writer import LogWriter


class JsonHandler(logging.Handler):
    """Writes records as JSON lines without making the caller wait."""

    def __init__(self, writer: LogWriter) -> None:
        super().__init__()
        self._writer = writer
        self.owner: object = None
        """Who put it where it is."""
        self.setFormatter(JsonFormatter())

    def handle(self, record: logging.LogRecord) -> bool | logging.LogRecord:  # type: ignore[override]
        """Without the lock of other handlers: the writer's queue takes lines from any thread."""
        if not self.filters:
            self.emit(record)
            return True
        kept = self.filter(record)
        if kept:
            self.emit(kept if isinstance(kept, logging.LogRecord) else record)
        return kept

    def emit(self, record: logging.LogRecord) -> None:
        """Queue the record's line; those of errors are written first when there are too many."""
        try:
            self._writer.write(self.format(record), urgent=record.levelno >= logging.ERROR)
        except Exception:  # noqa: BLE001 - a log call must not fail its caller; the standard library says so on stderr
            self.handleError(record)

    def flush(self) -> None:
        """Wait until what is queued has been written, for a second at most.

        No thread is started for it: the standard library calls this with its lock held, for which a new thread may wait
        (collecting a handler as garbage takes it) before it counts as started.
        """
        if self._writer.is_running:
            self._writer.flush()
