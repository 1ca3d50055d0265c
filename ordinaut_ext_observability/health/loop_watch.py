"""How late the host's event loop runs, seen from any thread."""

from __future__ import annotations

import asyncio
import contextlib

from ordinaut_ext_observability.background.clock import Clock

BEAT_SECONDS = 0.25
"""How often the loop is asked for a sign of life: four wake-ups a second cost nothing, and a quarter is no lag yet."""


class LoopWatch:
    """A timer on the watched loop that notes when it runs; everybody else reads how long ago that was."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._loop: asyncio.AbstractEventLoop | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._due_at = 0.0
        self._lag_seconds = 0.0
        self._largest_lag_seconds = 0.0

    @property
    def watching(self) -> bool:
        """Whether there is a loop to judge."""
        loop = self._loop  # read once: another thread may stop the watch
        return loop is not None and not loop.is_closed()

    def start(self, loop: asyncio.AbstractEventLoop) -> None:
        """Watch this loop, from its own thread. Watching the same loop again does nothing."""
        if self._loop is not loop:
            self.stop()
            self._loop = loop
            self._schedule(loop)

    def stop(self) -> None:
        """Watch nothing. Safe without `start`, and from any thread."""
        loop, timer = self._loop, self._timer
        self._loop = self._timer = None
        if loop is not None and timer is not None:
            with contextlib.suppress(RuntimeError):  # the loop is closed, and the timer with it
                loop.call_soon_threadsafe(timer.cancel)
        self._lag_seconds = 0.0

    def lag_seconds(self) -> float:
        """How late the timer is now, or was when it last ran: 0 for a loop that keeps up."""
        return max(self.blocked_seconds(), self._lag_seconds) if self.watching else 0.0

    def take_largest_lag(self) -> float:
        """The largest lag since this was last asked, in seconds."""
        largest, self._largest_lag_seconds = self._largest_lag_seconds, 0.0
        return max(largest, self.lag_seconds())

    def blocked_seconds(self) -> float:
        """Seconds for which the loop has not run although it should have; 0 while nothing is watched."""
        return max(0.0, self._clock.monotonic() - self._due_at) if self.watching else 0.0

    def _schedule(self, loop: asyncio.AbstractEventLoop) -> None:
        self._due_at = self._clock.monotonic() + BEAT_SECONDS
        self._timer = loop.call_later(BEAT_SECONDS, self._beat)

    def _beat(self) -> None:
        self._lag_seconds = self.blocked_seconds()
        self._largest_lag_seconds = max(self._largest_lag_seconds, self._lag_seconds)
        if (loop := self._loop) is not None:
            self._schedule(loop)
