"""The part of a process that keeps history, on a thread and event loop of its own."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime

from ordinaut_ext_observability.background.clock import Clock
from ordinaut_ext_observability.background.fork import reset_in_forked_child
from ordinaut_ext_observability.background.slicer import Slicer
from ordinaut_ext_observability.background.tasks import BackgroundThread, PeriodicTask
from ordinaut_ext_observability.history.history import History
from ordinaut_ext_observability.metrics.declarations import Metrics
from ordinaut_ext_observability.metrics.registry import Registry
from ordinaut_ext_observability.runtime.part import Part
from ordinaut_ext_observability.settings.parts import HistorySettings


class KeptHistory(Part):
    """Reads what a scrape would show into the history at every interval, in a process that serves."""

    def __init__(
        self, settings: HistorySettings, metrics: Metrics, clock: Clock, shown: Callable[[], Awaitable[Registry]]
    ) -> None:
        """`shown` gives the registry whose numbers are kept. Nothing is started."""
        self._settings = settings
        self._metrics = metrics
        self._clock = clock
        self._shown = shown
        self._started_at = 0.0
        self.history = History(clock, retention_seconds=settings.retention_seconds, max_series=settings.series_limit)
        """Empty where none is kept."""
        self.after_tick: Callable[[int], object] = lambda _time_ms: None
        """Called with the time of each tick once it is kept, on the thread that writes the history. Must not wait."""
        self.at_end: Callable[[], Awaitable[None]] = lambda: asyncio.sleep(0)
        """Called there once at the end."""
        task = PeriodicTask("history", self.take_sample, settings.interval_seconds, jitter=0.0, finish=self._finish)
        self._thread = BackgroundThread("history", lambda: [task], lambda *_: metrics.count_internal_error("history"))
        self.reset_after_fork()
        reset_in_forked_child(self)

    def reset_after_fork(self) -> None:
        """Begin with nothing: what the parent kept is the parent's."""
        self.history.clear()

    def start(self, *, serves: bool) -> None:
        """Begin to keep history, where there is an application to serve."""
        if serves and self._settings.enabled and not self._thread.started:
            self._started_at = self._clock.monotonic()
            self._thread.start()

    def begin_stop(self) -> None:
        self._thread.begin_stop()

    def stop(self, ends_at: float) -> None:
        self._thread.stop(ends_at)

    def notes(self) -> dict[str, str]:
        """Words for people: since when there is history, and how much."""
        history = self.history
        if not self._settings.enabled:
            return {"history": "off: ORDINAUT_OBS_HISTORY is false"}
        if history.kept_since_ms is None:
            return {"history": "nothing is kept yet"}
        since = datetime.fromtimestamp(history.kept_since_ms / 1000, UTC).isoformat(timespec="seconds")
        size = f"{history.series_count()} series, about {history.estimate_bytes() / 1e6:.1f} MB"
        return {"history": f"kept since {since}: {size}"}

    async def take_sample(self) -> float:
        """Read a tick; returns the seconds until the next one is due."""
        registry = await self._shown()
        registry.refresh()
        time_ms, slicer = self.history.begin_tick(), Slicer()
        async for _ in slicer.slices(self.history.read(time_ms, registry.families())):
            pass
        self._tell(time_ms, slicer.cpu_seconds)
        self.after_tick(time_ms)
        interval = self._settings.interval_seconds
        return interval - (self._clock.monotonic() - self._started_at) % interval

    async def _finish(self) -> None:
        await self.at_end()

    def _tell(self, time_ms: int, cpu_seconds: float) -> None:
        metrics = self._metrics
        metrics.overhead_seconds.labels("history").inc(cpu_seconds)
        metrics.history_series.labels().set(self.history.series_count())
        metrics.history_samples.labels().set(self.history.count_samples())
        metrics.history_last_tick.labels().set(time_ms / 1000)
        if self.history.refused:
            metrics.history_refused.labels().inc(self.history.refused)
