"""The audit of a process: takes security events in any thread, and appends them to its chain from one of its own."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Mapping

from ordinaut_ext_observability.audit.chain import Chain, make_line
from ordinaut_ext_observability.background.clock import monotonic_seconds
from ordinaut_ext_observability.background.fork import reset_in_forked_child
from ordinaut_ext_observability.logs import event_types as events
from ordinaut_ext_observability.logs.writer import LogWriter, WriterReports
from ordinaut_ext_observability.metrics.declarations import Metrics
from ordinaut_ext_observability.scrub.text import mask_details
from ordinaut_ext_observability.settings.parts import AuditSettings

RECORDS_PER_MINUTE = 300
"""Records of one type, also of the host's (in a field; a hundred are told apart): one leaves room for the others."""
_MAX_QUEUED_RECORDS = 5000  # while a disk hangs; 1 kB each, 60 at most


class AuditTrail:
    """Keeps security events where `ORDINAUT_OBS_AUDIT_DIR` is set, and none elsewhere. No call raises or waits."""

    def __init__(self, settings: AuditSettings, metrics: Metrics, event: events.LogEvent) -> None:
        """`event` logs that records cannot be kept."""
        self._settings = settings
        self._records = metrics.audit_records
        self._event = event
        # It has no destination, but the thread, which ends as it should, also at exit; the files are ours.
        self._writer = LogWriter(None, WriterReports(error=lambda _: metrics.count_internal_error("audit")))
        self._writer.before_writing.append(self._append_queued)
        self.reset_after_fork()
        reset_in_forked_child(self)

    def reset_after_fork(self) -> None:
        """Begin a chain of this process's own."""
        self._chain = Chain(self._settings)
        self._queue: deque[str] = deque()
        self._closing = False
        self._missing: Counter[str] = Counter()
        self._taken: Counter[str] = Counter()
        self._window_ends = 0.0

    def record(self, event_type: str, fields: Mapping[str, object]) -> None:
        """Keep an event: its fields, masked, with the ids of the request and the work that the caller is in."""
        if self._settings.directory is None:
            return
        if (now := monotonic_seconds()) >= self._window_ends:
            self._window_ends = now + 60.0
            self._taken.clear()
        kind = f"{event_type} {fields.get('event_type')}"[:100] if len(self._taken) < 100 else event_type
        self._taken[kind] += 1
        if self._taken[kind] > RECORDS_PER_MINUTE or len(self._queue) >= _MAX_QUEUED_RECORDS:
            self._missing["too_many"] += 1
            self._records.labels("too_many").inc()
            return
        self._queue.append(make_line(event_type, mask_details(fields)))
        self._writer.wake(urgent=True)

    def close(self, timeout_seconds: float) -> None:
        """Write what is queued and end the chain with a record that says so; a later event begins another."""
        if self._writer.thread is not None:
            self._closing = True
            self._writer.close(timeout_seconds)

    def _append_queued(self) -> None:
        """Append what is queued, after a record of how many were not kept since the last that was, and why."""
        lines = [self._queue.popleft() for _ in range(len(self._queue))]
        kept, closing, missing = len(lines), self._closing, +self._missing.copy()
        if closing and (lines or self._chain.length):
            lines.append(make_line("chain_closed", {}))
        if missing and lines:
            lines.insert(0, make_line("records_missing", missing))
        try:
            if lines:
                self._chain.append(lines)
                self._missing.subtract(missing)
                self._records.labels("written").inc(kept)
        except OSError as error:
            self._missing["disk"] += kept
            self._records.labels("disk").inc(kept)
            if not missing["disk"]:  # else that has been said
                self._event(events.AUDIT_FAILED, reason=error.strerror or str(error))
        if closing:
            self._chain, self._closing = Chain(self._settings), False
