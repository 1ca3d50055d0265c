"""The health monitor: runs checks in the background and answers from their last results."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta

from ordinaut_ext_observability.background.clock import Clock
from ordinaut_ext_observability.background.fork import reset_in_forked_child
from ordinaut_ext_observability.background.tasks import PeriodicTask, run_periodically
from ordinaut_ext_observability.health import services
from ordinaut_ext_observability.health.check import RegisteredCheck, utc_now
from ordinaut_ext_observability.health.model import (
    CheckFunction,
    HealthCheck,
    HealthReport,
    HealthStatus,
    Hysteresis,
    Transition,
    uptime_ratio,
)

STALE_AFTER_PERIODS = 3
"""A result older than this many periods, and the deadline, says nothing about now."""

MAX_CHECKS = 300

_SLOW_SECONDS = 0.02
"""A function that takes longer is not waited for by the next one: it asks somebody over a network, or hangs."""

_START_SECONDS = 5.0
"""So long after the start probes wait for first results: a machine on which everything starts at once is slow."""

_SOON_SECONDS, _POLL_SECONDS = 0.1, 0.01
"""The collectors need about a tenth of a second to read what a check asks about; the first probes wait for it."""


@dataclass(kw_only=True, eq=False)
class HealthMonitor:
    """Checks by name. Registering and reading are safe from any thread; checks run on one event loop.

    Coroutine functions run on that loop, other functions one after the other in a thread of ours. A check that hangs
    costs nobody else anything: its result is a timeout, and it is not started again while it still runs.
    """

    period_seconds: float = 15.0
    """Between rounds, give or take a tenth."""
    deadline_seconds: float = 10.0
    """No check has more."""
    grace_seconds: float = 30.0
    """A required check of which nothing is known for so long is unhealthy."""
    clock: Clock = field(default_factory=Clock)
    on_result: Callable[[HealthCheck, Transition | None], None] = lambda _result, _transition: None
    """Called on the loop with each result and the transition it made, if it made one."""
    on_error: Callable[[], None] = lambda: None
    """Called when `on_result` or the monitor fails."""
    not_configured: tuple[str, ...] = ()
    """Checks there would be if what they ask about were configured: reports name them."""
    # Changed and copied in single steps of the interpreter, so that threads need no lock.
    _checks: dict[str, RegisteredCheck] = field(default_factory=dict, init=False)
    _background: asyncio.Task[None] | None = field(default=None, init=False)
    _started_at: float = field(default=0.0, init=False)

    def __post_init__(self) -> None:
        reset_in_forked_child(self)

    database_check = staticmethod(services.database_check)
    redis_check = staticmethod(services.redis_check)
    scheduler_check = staticmethod(services.scheduler_check)

    def register_check(
        self,
        name: str,
        check: CheckFunction | object,
        *,
        required: bool = True,
        timeout_seconds: float = 5.0,
        failures_to_worsen: int = 2,
        passes_to_recover: int = 1,
        only_trouble: bool = False,
    ) -> None:
        """Run this check too, at once where the monitor runs; a check of that name is replaced.

        `check` is a function, a coroutine function or an object with a method `run`; what it may return says
        `health.model.CheckFunction`. Where it is unhealthy, the process is if it is `required`, else degraded. A run
        that takes longer than the timeout (up to 3600 s) is unhealthy. The status follows after so many runs in a row,
        1 to 100, with a worse or a better result; the first counts at once. With `only_trouble` it is reported only
        while it finds some. Raises `TypeError` where it cannot be called, `ValueError` where a value is out of range.
        """
        if not (isinstance(name, str) and 0 < len(name) <= 100):
            raise ValueError(f"a check's name has 1 to 100 characters, got {name!r}")
        name.encode()  # half a surrogate pair raises: no answer could hold it
        function = getattr(check, "run", check)
        if not callable(function):
            raise TypeError(f"check {name!r} must be callable or have a method run, got {type(check).__name__}")
        if name not in self._checks and len(self._checks) >= MAX_CHECKS:
            raise ValueError(f"there are {MAX_CHECKS} checks already")
        if not 0.0 < timeout_seconds <= 3600.0:
            raise ValueError(f"timeout_seconds must be above 0 and at most 3600, got {timeout_seconds!r}")
        for option, runs in (("failures_to_worsen", failures_to_worsen), ("passes_to_recover", passes_to_recover)):
            if not (isinstance(runs, int) and 1 <= runs <= 100):
                raise ValueError(f"{option} must be a whole number from 1 to 100, got {runs!r}")
        timeout, status = min(timeout_seconds, self.deadline_seconds), Hysteresis(failures_to_worsen, passes_to_recover)
        registered = RegisteredCheck(name, function, required, only_trouble, timeout, status, self.clock.monotonic())
        self._checks[name] = registered
        if (loop := self.loop) is not None:
            with contextlib.suppress(RuntimeError):  # the loop is closed
                loop.call_soon_threadsafe(self._begin, registered)

    def unregister_check(self, name: str) -> None:
        """Forget this check, if there is one."""
        self._checks.pop(name, None)

    async def run_all_checks(self) -> dict[str, HealthCheck]:
        """Run every check now that does not run already; the results by name, in little more than the deadline."""
        checks = list(self._checks.values())
        tasks = {check.name: self._begin(check) for check in checks if check.on_loop}
        for check in checks:
            if not check.on_loop:
                tasks[check.name] = self._begin(check)
                await asyncio.wait({tasks[check.name]}, timeout=_SLOW_SECONDS)
        return {name: await asyncio.shield(task) for name, task in tasks.items()}

    def start(self) -> None:
        """Run the checks from now on, on the running loop, once. Raises `RuntimeError` where no loop is running."""
        if self.loop is asyncio.get_running_loop():
            return
        self._started_at = self.clock.monotonic()
        for check in list(self._checks.values()):
            check.known_at = self._started_at  # the grace begins with the start
        # Each check has a deadline of its own.
        rounds = PeriodicTask("health_monitor", self._run_round, self.period_seconds, deadline_seconds=3600.0)
        running = run_periodically(rounds, asyncio.Event(), lambda _name, _error: self.on_error())
        self._background = asyncio.create_task(running, context=contextvars.Context())

    @property
    def loop(self) -> asyncio.AbstractEventLoop | None:
        """The loop on which checks run in the background; None where nobody runs them in turn."""
        background = self._background
        if background is None or background.done() or background.get_loop().is_closed():
            return None
        return background.get_loop()

    def reset_after_fork(self) -> None:
        """In a forked child: the parent's loop, tasks and threads are not here."""
        self._background = None
        for check in list(self._checks.values()):
            check.run = check.task = None

    def stop(self) -> None:
        """Run nothing any more. Safe from any thread, and without `start`."""
        checks = list(self._checks.values())
        for task in (self._background, *(check.task for check in checks)):
            if task is not None:
                with contextlib.suppress(RuntimeError):  # the loop is closed, and the task with it
                    task.get_loop().call_soon_threadsafe(task.cancel)
        self._background = None
        for check in checks:
            check.task = None

    def report(self) -> HealthReport:
        """Every check as it stands, from memory."""
        now = self.clock.monotonic()
        stale_after = STALE_AFTER_PERIODS * self.period_seconds + self.deadline_seconds
        checks = tuple(
            check.report(now, stale_after=stale_after, grace_seconds=self.grace_seconds)
            for check in list(self._checks.values())
            if not check.only_trouble or check.hysteresis.status not in (None, HealthStatus.HEALTHY)
        )
        status = max((check.status for check in checks if check.required), default=HealthStatus.HEALTHY)
        if status is HealthStatus.HEALTHY and any(check.status is not HealthStatus.HEALTHY for check in checks):
            status = HealthStatus.DEGRADED
        if checks and all(check.stale for check in checks):
            status = HealthStatus.UNHEALTHY  # nothing is checked any more, so nothing is known
        shown = {check.name for check in checks}
        return HealthReport(status, checks, tuple(name for name in self.not_configured if name not in shown))

    async def settle(self, timeout_seconds: float) -> None:
        """Wait until something is known of every check that runs on this loop, so long at most, early on only."""
        ends_at = min(self.clock.monotonic() + timeout_seconds, self._started_at + _START_SECONDS)
        while self.clock.monotonic() < ends_at and self.loop is asyncio.get_running_loop():
            if all(check.hysteresis.status is not None for check in list(self._checks.values())):
                return
            await asyncio.sleep(_POLL_SECONDS)

    def history(self, name: str) -> list[Transition]:
        """The latest transitions of a check, the oldest first; none for a check that there is not."""
        check = self._checks.get(name)
        return list(check.transitions) if check is not None else []

    def uptime_ratio(self, name: str, window: timedelta = timedelta(hours=24)) -> float | None:
        """The share of the window in which the check was not unhealthy, 0 to 1; None when nothing is known."""
        check = self._checks.get(name)
        return uptime_ratio(list(check.transitions), utc_now(self.clock), window) if check is not None else None

    async def _run_round(self) -> None:
        await self.run_all_checks()

    def _begin(self, check: RegisteredCheck) -> asyncio.Task[HealthCheck]:
        """The check's run that is under way on this loop, else a new one."""
        task = check.task
        if task is None or task.done() or task.get_loop() is not asyncio.get_running_loop():
            # A context of its own: who begins it may be a request, whose ids are not the check's.
            task = check.task = asyncio.create_task(self._run(check), context=contextvars.Context())
        return task

    async def _run(self, check: RegisteredCheck) -> HealthCheck:
        result, transition = await check.run_once(self.clock)
        try:
            self.on_result(result, transition)
        except Exception:  # noqa: BLE001 - whoever listens must not keep checks from running
            with contextlib.suppress(Exception):  # there is nobody left to tell
                self.on_error()
        # Readiness waits for what is known: a check that found out nothing runs before its turn, ever less often.
        seconds = self.clock.monotonic() - check.known_at
        if check.hysteresis.status is None and seconds <= self.grace_seconds and (loop := self.loop) is not None:
            loop.call_later(max(_SOON_SECONDS, seconds), self._run_unknown, check)
        return result

    def _run_unknown(self, check: RegisteredCheck) -> None:
        if self.loop is not None and check.hysteresis.status is None and self._checks.get(check.name) is check:
            self._begin(check)
