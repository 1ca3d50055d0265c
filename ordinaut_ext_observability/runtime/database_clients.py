"""The part that watches the database clients of this process: SQLAlchemy's engines, asyncpg's connections and pools."""

from __future__ import annotations

import sys
from collections.abc import Callable

from ordinaut_ext_observability.db.definitions import DatabaseMetrics
from ordinaut_ext_observability.db.engine_events import EngineEvents, instrument_engines
from ordinaut_ext_observability.metrics.declarations import Metrics
from ordinaut_ext_observability.runtime.part import Part


class DatabaseClients(Part):
    """Counts what they do, and calls `note_queued` with the task of each piece of work that the host queues."""

    def __init__(self, metrics: Metrics, note_queued: Callable[[str], None], *, watch_engines: bool) -> None:
        self._metrics = metrics
        self._note_queued = note_queued
        self._watch_engines = watch_engines
        self._database_metrics: DatabaseMetrics | None = None
        self._engine_events: EngineEvents | None = None

    def metrics(self) -> DatabaseMetrics:
        """The metrics of database clients, made when they are first asked for."""
        if self._database_metrics is None:
            self._database_metrics = DatabaseMetrics(self._metrics)
        return self._database_metrics

    def start(self, *, serves: bool) -> None:  # noqa: ARG002 - as every part
        """Listen to SQLAlchemy's engines. Where the host has not imported it, there is nothing to watch."""
        if self._watch_engines and self._engine_events is None and "sqlalchemy.engine" in sys.modules:
            self._engine_events = instrument_engines(self.metrics(), self._note_queued)

    def stop(self, ends_at: float) -> None:  # noqa: ARG002 - as every part
        if self._engine_events is not None:
            self._engine_events.remove()
            self._engine_events = None
