"""The health monitor: runs checks in the background, all at once, and answers from their last results."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import inspect
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

from ordinaut_ext_observability.background.clock import Clock, SystemClock
from ordinaut_ext_observability.background.jitter import spread
from ordinaut_ext_observability.health.model import (
    Check,
    CheckFunction,
    CheckOptions,
    HealthCheck,
    HealthReport,
    HealthStatus,
    Outcome,
    Transition,
    worst,
)
from ordinaut_ext_observability.health.outcomes import error_text, outcome_of
from ordinaut_ext_observability.health.registered import RegisteredCheck
from ordinaut_ext_observability.health.threads import DaemonThreads, NoThreadError, UnusualError, is_ordinary

STALE_AFTER_PERIODS = 3
"""A result older than this many periods, and the deadline, says nothing about now."""

MAX_CHECKS = 300

_SOON_SECONDS = 0.1
"""A connection takes about this long: meanwhile the collectors read what the check asks about."""

_POLL_SECONDS = 0.01
_TURNS_TO_DELIVER = 5

ResultListener = Callable[[HealthCheck], None]
TransitionListener = Callable[[str, Transition], None]


class HealthMonitor:
    """Checks by name. Registering and reading are safe from any thread; checks run on one event loop.

    A check that hangs costs nobody else anything: its result is a timeout, it is not started again while it still
    runs, and functions that block do so in threads of their own.
    """

    def __init__(
        self,
        *,
        period_seconds: float = 15.0,
        deadline_seconds: float = 10.0,
        grace_seconds: float = 30.0,
        clock: Clock | None = None,
        on_result: ResultListener | None = None,
        on_transition: TransitionListener | None = None,
        on_error: Callable[[], None] | None = None,
    ) -> None:
        """Checks run every `period_seconds`, give or take a tenth; `deadline_seconds` is what all of them have.

        A required check of which nothing is known for `grace_seconds` is unhealthy.

        `on_result` and `on_transition` are called on the loop; `on_error` when one of them, or the monitor, fails.
        """
        self._period_seconds = period_seconds
        self._deadline_seconds = deadline_seconds
        self._grace_seconds = grace_seconds
        self._clock = clock or SystemClock()
        self._on_result = on_result or (lambda _check: None)
        self._on_transition = on_transition or (lambda _name, _transition: None)
        self._on_error = on_error or (lambda: None)
        self._threads = DaemonThreads()
        self._lock = threading.Lock()
        self._checks: dict[str, RegisteredCheck] = {}
        self.not_configured: tuple[str, ...] = ()
        """Checks there would be if what they ask about were configured: reports name them."""
        self._round: asyncio.Task[dict[str, HealthCheck]] | None = None
        self._background: asyncio.Task[None] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._started_at = 0.0

    def register_check(self, name: str, check: CheckFunction | Check, **options: Any) -> None:
        """Run this check too, at once where the monitor runs; a check of that name is replaced.

        `check` is a function, a coroutine function or an object with a method `run`; what it may return says
        `health.model.CheckFunction`. `options` are those of `health.model.CheckOptions`.

        Raises:
            TypeError: the check cannot be called, or there is no such option.
            ValueError: the name is empty or too long, an option is out of its range, or there are too many checks.
        """
        if not (isinstance(name, str) and 0 < len(name) <= 100 and _is_unicode(name)):
            raise ValueError(f"a check's name has 1 to 100 characters, got {name!r}")
        function = getattr(check, "run", check)
        if not callable(function):
            raise TypeError(f"check {name!r} must be callable or have a method run, got {type(check).__name__}")
        registered = RegisteredCheck(name, function, CheckOptions(**options), self._clock.monotonic())
        with self._lock:
            if name not in self._checks and len(self._checks) >= MAX_CHECKS:
                raise ValueError(f"there are {MAX_CHECKS} checks already")
            self._checks = {**self._checks, name: registered}
        self._run_soon(registered)

    def unregister_check(self, name: str) -> None:
        """Forget this check, if there is one."""
        with self._lock:
            self._checks = {other: check for other, check in self._checks.items() if other != name}

    async def run_all_checks(self) -> dict[str, HealthCheck]:
        """Run every check now, all at once, and return their results by name.

        Callers at the same time share one round. Takes no longer than the deadline, and as long again where a check
        was registered in mid-round.
        """
        if self._round is None or self._round.done() or self._round.get_loop() is not asyncio.get_running_loop():
            self._round = asyncio.create_task(self._run_round(), context=contextvars.Context())
        results = await asyncio.shield(self._round)
        late = [check for check in self._checks.values() if check.name not in results]  # registered in mid-round
        results.update({result.name: result for result in await asyncio.gather(*map(self._run_shared, late))})
        return results

    def start(self) -> None:
        """Run the checks from now on, on the running loop. Starting again on the same loop does nothing.

        Raises:
            RuntimeError: no loop is running.
        """
        loop = asyncio.get_running_loop()
        background = self._background
        if background is not None and not background.done() and background.get_loop() is loop:
            return
        self._loop = loop
        self._started_at = self._clock.monotonic()
        # In a context of its own: who starts it may be a request, whose ids are not the checks'.
        self._round = asyncio.create_task(self._run_round(), context=contextvars.Context())
        self._background = asyncio.create_task(self._run_for_ever(), context=contextvars.Context())

    @property
    def is_running(self) -> bool:
        """Whether the checks run in the background."""
        background = self._background
        return background is not None and not background.done() and not background.get_loop().is_closed()

    def reset_after_fork(self) -> None:
        """In a forked child: the parent's loop, tasks and threads are not here, and its locks may have been held."""
        self._lock = threading.Lock()
        self._threads = DaemonThreads()
        self._background = self._round = self._loop = None
        for check in self._checks.values():
            check.run = check.ending = check.task = check.thread = None

    def stop(self) -> None:
        """Run nothing any more. Safe from any thread, and without `start`."""
        tasks: list[asyncio.Task[Any] | None] = [self._background, self._round]
        for check in self._checks.values():
            tasks.append(check.run)
            check.ending, check.run = check.run, None
        for task in tasks:
            if task is not None:
                with contextlib.suppress(RuntimeError):  # the loop is closed, and the task with it
                    task.get_loop().call_soon_threadsafe(task.cancel)
        self._background = self._round = self._loop = None

    def report(self) -> HealthReport:
        """Every check as it stands, from memory."""
        now = self._clock.monotonic()
        stale_after = STALE_AFTER_PERIODS * self._period_seconds + self._deadline_seconds
        checks = tuple(
            check.report(now, stale_after=stale_after, started_at=self._started_at, grace_seconds=self._grace_seconds)
            for check in self._checks.values()
            if not check.options.only_trouble or check.finds_trouble
        )
        status = worst([check.status for check in checks if check.required])
        if status is HealthStatus.HEALTHY and any(check.status is not HealthStatus.HEALTHY for check in checks):
            status = HealthStatus.DEGRADED
        if checks and all(check.stale for check in checks):
            status = HealthStatus.UNHEALTHY  # nothing is checked any more, so nothing is known
        shown = {check.name for check in checks}
        return HealthReport(status, checks, tuple(name for name in self.not_configured if name not in shown))

    async def settle(self, timeout_seconds: float) -> None:
        """Wait until something is known of every check that runs on this loop, until so long after the start."""
        left = self._started_at + timeout_seconds - self._clock.monotonic()
        if left <= 0.0 or self._loop is not asyncio.get_running_loop():
            return
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(left):
                while not all(check.known for check in self._checks.values()):  # noqa: ASYNC110 - half a second in all
                    await asyncio.sleep(_POLL_SECONDS)

    def history(self, name: str) -> list[Transition]:
        """The latest transitions of a check, the oldest first; none for a check that there is not."""
        check = self._checks.get(name)
        return check.history.transitions() if check is not None else []

    def uptime_ratio(self, name: str, window: timedelta = timedelta(hours=24)) -> float | None:
        """The share of the window in which the check was not unhealthy, 0 to 1; None when nothing is known."""
        check = self._checks.get(name)
        return check.history.uptime_ratio(self._now(), window) if check is not None else None

    async def _run_for_ever(self) -> None:
        while True:
            started = self._clock.monotonic()
            try:
                await self.run_all_checks()
            except Exception:  # noqa: BLE001 - the next round may do better; stale results say if none does
                self._failed()
            pause = spread(self._period_seconds)
            await asyncio.sleep(max(0.0, pause - (self._clock.monotonic() - started)))

    async def _run_round(self) -> dict[str, HealthCheck]:
        checks = list(self._checks.values())
        results = await asyncio.gather(*(self._run_shared(check) for check in checks))
        return {result.name: result for result in results}

    def _run_soon(self, check: RegisteredCheck) -> None:
        """Run a check out of turn, where the monitor runs: nothing is known of it until then."""
        loop = self._loop
        if loop is not None:
            with contextlib.suppress(RuntimeError):  # the loop is closed
                loop.call_soon_threadsafe(self._begin, check)

    def _begin(self, check: RegisteredCheck) -> asyncio.Task[HealthCheck]:
        """The check's run that is under way on this loop, else a new one."""
        run = check.run
        if run is None or run.done() or run.get_loop() is not asyncio.get_running_loop():
            run = check.run = asyncio.create_task(self._run_one(check), context=contextvars.Context())
        return run

    async def _run_shared(self, check: RegisteredCheck) -> HealthCheck:
        return await asyncio.shield(self._begin(check))

    async def _run_one(self, check: RegisteredCheck) -> HealthCheck:
        if check.ending is not None and check.ending.get_loop() is asyncio.get_running_loop():
            await asyncio.wait({check.ending}, timeout=1.0)  # stopped just now, it lets go within a turn of the loop
        check.ending = None
        began_at, began = self._now(), self._clock.monotonic()
        timeout = min(check.options.timeout_seconds, self._deadline_seconds)
        outcome = await self._outcome(check, timeout)
        ended = self._clock.monotonic()
        result = HealthCheck(
            name=check.name,
            status=outcome.status,
            message=outcome.message,
            duration_ms=round((ended - began) * 1000, 3),
            checked_at=began_at,
            details=outcome.details or None,
            known=outcome.known,
        )
        transition = check.take(result, ended, self._now())
        self._tell(lambda: self._on_result(result))
        if transition is not None:
            self._tell(lambda: self._on_transition(check.name, transition))
        if not check.known:
            self._run_again_soon(check, ended)
        return result

    def _run_again_soon(self, check: RegisteredCheck, now: float) -> None:
        """Run a check that found out nothing before its turn, ever less often until the grace is over.

        Readiness waits for it.
        """
        loop, seconds = self._loop, check.unknown_seconds(now, self._started_at)
        if loop is asyncio.get_running_loop() and seconds <= self._grace_seconds:
            loop.call_later(max(_SOON_SECONDS, seconds), self._run_unknown, check)

    def _run_unknown(self, check: RegisteredCheck) -> None:
        if self._loop is not None and not check.known and self._checks.get(check.name) is check:
            self._begin(check)

    async def _outcome(self, check: RegisteredCheck, timeout_seconds: float) -> Outcome:
        if check.still_runs():
            return Outcome(HealthStatus.UNHEALTHY, "the previous run has not ended")
        task = asyncio.ensure_future(self._call(check))
        check.task = task
        # Not `wait_for`: it would wait for a check that does not let itself be cancelled.
        try:
            await asyncio.wait({task}, timeout=timeout_seconds)
            await _let_finish(task)
        finally:
            if not task.done():
                task.cancel()
                task.add_done_callback(_retrieve)
        if not task.done():
            await _let_finish(task)
            if not task.done():
                # It ignores being cancelled. A loop that ends waits for its tasks: it must not wait for this one.
                asyncio._unregister_task(task)  # noqa: SLF001 - documented, under "Extending"
                task._log_destroy_pending = False  # type: ignore[attr-defined]  # noqa: SLF001 - as asyncio's own do
            if check.thread is not None:
                check.thread.add_done_callback(_close_late)
            return Outcome(HealthStatus.UNHEALTHY, f"timed out after {timeout_seconds:g} s")
        try:
            return outcome_of(task.result())
        except asyncio.CancelledError:
            return Outcome(HealthStatus.UNHEALTHY, "the check was cancelled")
        except BaseException as error:  # noqa: BLE001 - checks are other people's code
            return Outcome(HealthStatus.UNHEALTHY, error_text(error))

    async def _call(self, check: RegisteredCheck) -> Any:
        try:
            if _is_coroutine_function(check.function):
                return await check.function()
            thread = await self._start_thread(check.function)
            check.thread = thread
            # Where this is cancelled the thread goes on, and the check counts as running until it ends.
            result = await asyncio.shield(thread)
            return await result if inspect.isawaitable(result) else result
        except BaseException as error:
            # The last two are not the check's: the user's, and the end of a coroutine that nobody awaits any more.
            if is_ordinary(error) or isinstance(error, (KeyboardInterrupt, GeneratorExit)):
                raise
            raise UnusualError(error) from error

    async def _start_thread(self, function: CheckFunction) -> asyncio.Future[Any]:
        """The function's result to come; waits for a thread where all are taken."""
        while True:
            freed = self._threads.freed()
            try:
                thread = self._threads.run(function)
            except NoThreadError:
                await freed
            else:
                thread.add_done_callback(_retrieve)
                return thread

    def _tell(self, call: Callable[[], None]) -> None:
        try:
            call()
        except Exception:  # noqa: BLE001 - whoever listens must not keep checks from running
            self._failed()

    def _failed(self) -> None:
        with contextlib.suppress(Exception):  # there is nobody left to tell
            self._on_error()

    def _now(self) -> datetime:
        return datetime.fromtimestamp(self._clock.wall(), UTC)


def _is_coroutine_function(function: CheckFunction) -> bool:
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(getattr(function, "__call__", None))  # noqa: B004


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


async def _let_finish(task: asyncio.Future[Any]) -> None:
    """Let the loop deliver what came in time: after it was blocked, a timer that is due comes first."""
    for _ in range(_TURNS_TO_DELIVER):
        if task.done():
            return
        await asyncio.sleep(0)


def _close_late(future: asyncio.Future[Any]) -> None:
    """Close the coroutine that a function returned when nobody was there any more to await it."""
    if not future.cancelled() and future.exception() is None and inspect.iscoroutine(future.result()):
        future.result().close()


def _retrieve(future: asyncio.Future[Any]) -> None:
    """Take note of how an abandoned run ended, so that asyncio does not complain of it."""
    if not future.cancelled():
        future.exception()
