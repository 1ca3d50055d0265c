"""Periodic tasks of extensions, run as the host runs them."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from ordinaut_ext_observability.background.clock import monotonic_seconds

_POLL_SECONDS = 0.2
_LONGEST_BACKOFF_SECONDS = 300.0


@dataclass
class _PeriodicTask:
    func: Callable[[], Awaitable[Any]] | Callable[[], Any]
    interval_seconds: float
    max_concurrency: int
    due_seconds: float
    failures: int = 0
    running: set[asyncio.Task[None]] = field(default_factory=set)


class BackgroundTaskSupervisor:
    """Runs each task first after one interval. Failures are neither logged nor shown, only retried later."""

    def __init__(self) -> None:
        self._tasks: dict[str, _PeriodicTask] = {}
        self._poller: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Begin to run what is and will be registered."""
        if self._poller is None:
            self._poller = asyncio.create_task(self._poll())

    async def stop(self) -> None:
        """Cancel everything that runs."""
        cancelled = [run for task in self._tasks.values() for run in task.running]
        if self._poller is not None:
            cancelled.append(self._poller)
            self._poller = None
        for run in cancelled:
            run.cancel()
        await asyncio.gather(*cancelled, return_exceptions=True)

    def register_periodic(
        self,
        *,
        plugin_id: str,
        name: str,
        func: Callable[[], Awaitable[Any]] | Callable[[], Any],
        interval_s: float,
        max_concurrency: int = 1,
    ) -> None:
        """Run `func` every `interval_s` seconds; a plain function runs on the event loop.

        Raises ValueError when the extension already has a task of this name.
        """
        key = f"{plugin_id}:{name}"
        if key in self._tasks:
            message = f"There is already a periodic task {key}"
            raise ValueError(message)
        self._tasks[key] = _PeriodicTask(func, interval_s, max_concurrency, monotonic_seconds() + interval_s)

    async def _poll(self) -> None:
        while True:
            now = monotonic_seconds()
            for task in list(self._tasks.values()):
                if now >= task.due_seconds and len(task.running) < task.max_concurrency:
                    task.due_seconds = now + task.interval_seconds
                    run = asyncio.create_task(_run(task))
                    task.running.add(run)
                    run.add_done_callback(task.running.discard)
            await asyncio.sleep(_POLL_SECONDS)


async def _run(task: _PeriodicTask) -> None:
    try:
        result = task.func()
        if inspect.isawaitable(result):
            await result
    except Exception:  # noqa: BLE001
        task.failures += 1
        task.due_seconds = monotonic_seconds() + _backoff_seconds(task.interval_seconds, task.failures)
    else:
        task.failures = 0


def _backoff_seconds(interval_seconds: float, failures: int) -> float:
    """The wait after the n-th failure in a row: doubling, capped, spread by a factor that depends on n alone."""
    wait = _LONGEST_BACKOFF_SECONDS
    with suppress(OverflowError):
        wait = min(max(1.0, interval_seconds / 2) * 2.0 ** (failures - 1), _LONGEST_BACKOFF_SECONDS)
    return wait * (0.5 + (failures % 50) / 50)
