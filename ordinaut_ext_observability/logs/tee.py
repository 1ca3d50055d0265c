"""Lines to several destinations, none of which waits for another."""

from __future__ import annotations

from collections.abc import Iterable

from ordinaut_ext_observability.background.clock import monotonic_seconds
from ordinaut_ext_observability.logs.writer import CLOSE_SECONDS, LogWriter, WriterReports

LEVEL_AT = len('{"timestamp":"2026-11-23T22:19:04.123Z","level":"')
"""Place of the level in every line."""

_KEPT_LEVELS = ("ERROR", "CRITICAL")
_KEPT_EVENT = '"security_event":true'


class TeeWriter(LogWriter):
    """Hands its lines to other writers, which have a queue and a thread each, and drop what they have no room for."""

    def __init__(self, writers: Iterable[LogWriter], reports: WriterReports) -> None:
        self._writers = tuple(writers)
        super().__init__(self, reports)

    def write_lines(self, data: bytes) -> int:
        """Queue lines, each with its line break; their number."""
        lines = data.decode().split("\n")[:-1]
        for writer in self._writers:
            for line in lines:
                writer.write(line, urgent=line.startswith(_KEPT_LEVELS, LEVEL_AT) or _KEPT_EVENT in line)
            writer.wake(urgent=True)  # they have waited already
        return len(lines)

    def flush(self, timeout_seconds: float = 1.0) -> bool:
        ends_at = monotonic_seconds() + timeout_seconds
        handed_on = super().flush(timeout_seconds)
        return all(writer.flush(ends_at - monotonic_seconds()) for writer in self._writers) and handed_on

    def close(self, timeout_seconds: float = CLOSE_SECONDS) -> None:
        ends_at = monotonic_seconds() + timeout_seconds
        super().close(timeout_seconds)
        for writer in self._writers:
            writer.close(max(0.0, ends_at - monotonic_seconds()))
