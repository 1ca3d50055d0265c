"""A check that is registered: its runs, and its status over time."""

from __future__ import annotations

import asyncio
import inspect
import types
from collections import deque
from collections.abc import Awaitable, Generator, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from ordinaut_ext_observability.background.clock import Clock
from ordinaut_ext_observability.background.daemon_threads import DaemonExecutor
from ordinaut_ext_observability.health.model import (
    CheckFunction,
    CheckReport,
    HealthCheck,
    HealthStatus,
    Hysteresis,
    Outcome,
    Transition,
)
from ordinaut_ext_observability.scrub.plain_values import text_of
from ordinaut_ext_observability.scrub.text import mask_details, mask_text

MAX_TRANSITIONS = 100
"""Kept per check. A check that flaps at every run of the default interval fills them in half an hour."""

BLOCKED_SECONDS = 1.0
"""A loop that does not run for so long is degraded, and so is a check that keeps it: people notice a second."""

_TURNS_TO_DELIVER = 5
"""A task that can end does so within this many turns of the loop."""

_HEALTHY, _DEGRADED, _UNHEALTHY = HealthStatus.HEALTHY, HealthStatus.DEGRADED, HealthStatus.UNHEALTHY
_threads = DaemonExecutor()


@dataclass(slots=True, eq=False)
class RegisteredCheck:
    """A check, its runs, its latest result and its status."""

    name: str
    function: CheckFunction
    required: bool
    only_trouble: bool
    timeout_seconds: float
    hysteresis: Hysteresis
    known_at: float
    """When something was last known, on the monotonic clock; before that, the registration or the start."""
    transitions: deque[Transition] = field(default_factory=lambda: deque(maxlen=MAX_TRANSITIONS))
    task: asyncio.Task[HealthCheck] | None = None
    """Waits for a run's result."""
    run: CheckRun | None = None
    """The latest: it may go on although its result is there."""
    latest: tuple[HealthStatus | None, HealthCheck, float] | None = None
    """The status, the result, and when that came: one tuple, since other threads read it."""

    on_loop: bool = field(init=False)
    """True where a call makes a coroutine."""

    def __post_init__(self) -> None:
        call = getattr(self.function, "__call__", None)  # noqa: B004
        self.on_loop = inspect.iscoroutinefunction(self.function) or inspect.iscoroutinefunction(call)

    async def run_once(self, clock: Clock) -> tuple[HealthCheck, Transition | None]:
        """The result of one run, and the transition it made, if it made one."""
        began_at, began = utc_now(clock), clock.monotonic()
        if self.run is not None and await self.run.goes_on():
            outcome = Outcome(_UNHEALTHY, "the previous run has not ended")
        else:
            self.run = CheckRun(self, clock)
            outcome = await self.run.outcome()
        ended, before = clock.monotonic(), self.hysteresis.status
        milliseconds, details = round((ended - began) * 1000, 3), outcome.details or None
        result = HealthCheck(
            self.name, outcome.status, outcome.message, milliseconds, began_at, details, known=outcome.known
        )
        after = self.hysteresis.observe(outcome.status if outcome.known else None)
        if after is not None:
            self.known_at = ended
        self.latest = (after, result, ended)
        if after is before:
            return result, None
        self.transitions.append(Transition(utc_now(clock), before, after, outcome.message))
        return result, self.transitions[-1]

    def report(self, now: float, *, stale_after: float, grace_seconds: float) -> CheckReport:
        """The check as it stands; a required one of which nothing is known is unhealthy once the grace is over."""
        status, last, age, message = None, None, None, "not run yet"
        if self.latest is not None:
            status, last, ended = self.latest
            age, message = round(max(0.0, now - ended), 3), last.message
        stale = age is not None and age > stale_after
        blocking = self.run.blocking_seconds(now) if self.run is not None else 0.0
        if blocking:
            status, message = _UNHEALTHY, f"has blocked the event loop for {blocking:.0f} s"
        elif stale:
            status, message = _UNHEALTHY, f"no result for {age:.0f} s"
        elif status is None and (seconds := now - self.known_at) > grace_seconds:
            message = f"{message}; nothing has been known for {seconds:.0f} s"
            status = _UNHEALTHY if self.required else None
        known = status is not None
        return CheckReport(self.name, status or _DEGRADED, self.required, stale, age, message, last, known)


class CheckRun:
    """A coroutine on the running loop, or any other function in a thread of ours, from its making on.

    It has an outcome in time, whatever the check does. A check that ignores being cancelled is left to itself until it
    ends or the loop does: that cancels all tasks and waits for them, so it is then closed where it stands.
    """

    def __init__(self, check: RegisteredCheck, clock: Clock) -> None:
        self._check = check
        self._clock = clock
        self._thread_seconds = self._loop_seconds = 0.0
        self._step_began: float | None = None
        self._given_up = False
        self._call: Future[Any] | None = None
        self._task = asyncio.create_task(self._judge())

    async def goes_on(self) -> bool:
        """True until the check's code has ended; on a loop that is closed a coroutine never goes on."""
        await self._let_finish()
        in_thread = self._call is not None and not self._call.done()
        return in_thread or not (self._task.done() or self._task.get_loop().is_closed())

    def blocking_seconds(self, now: float) -> float:
        """Seconds for which it has kept the loop, where that is longer than it may take, else 0. From any thread."""
        began = self._step_began
        return now - began if began is not None and now - began > self._check.timeout_seconds else 0.0

    async def outcome(self) -> Outcome:
        """The check's own outcome, or that it is late."""
        timeout = self._check.timeout_seconds
        try:
            # Not `wait_for`: it would wait for a check that does not let itself be cancelled.
            await asyncio.wait({self._task}, timeout=timeout)
            await self._let_finish()  # after the loop was blocked, a timer that is due comes before what came in time
        finally:
            if not self._task.done():
                self._given_up = True
                self._task.cancel()
        if self._loop_seconds > min(timeout, BLOCKED_SECONDS):
            status = _UNHEALTHY if self._loop_seconds > timeout else _DEGRADED
            return Outcome(status, f"blocked the event loop for {self._loop_seconds:.2f} s")
        if not self._task.done() or self._thread_seconds > timeout:
            return Outcome(_UNHEALTHY, f"timed out after {timeout:g} s")
        return self._task.result()

    async def _let_finish(self) -> None:
        """Let the loop deliver what the check waits for, and its cancelling."""
        for _ in range(_TURNS_TO_DELIVER):
            if not self._task.done():
                await asyncio.sleep(0)

    async def _judge(self) -> Outcome:
        try:
            if self._check.on_loop:
                return outcome_of(await self._step_through(self._check.function()))
            self._call = _threads.submit(self._call_function)
            result = await asyncio.wrap_future(self._call)
            return result if isinstance(result, Outcome) else outcome_of(await self._step_through(result))
        except (KeyboardInterrupt, GeneratorExit):
            raise  # the user's, and the end of a coroutine that nobody awaits any more
        except BaseException as error:  # noqa: BLE001 - checks are other people's code
            return outcome_of(error)

    def _call_function(self) -> Outcome | Awaitable[Any]:
        """The function's outcome, or what it wants to be awaited. Called in a thread."""
        began = self._clock.monotonic()
        try:
            result = self._check.function()
            if self._given_up and inspect.iscoroutine(result):
                result.close()  # nobody is there to await it any more
            return result if inspect.isawaitable(result) else outcome_of(result)
        except BaseException as error:  # noqa: BLE001 - checks are other people's code
            return outcome_of(error)
        finally:
            self._thread_seconds = self._clock.monotonic() - began

    @types.coroutine
    def _step_through(self, awaitable: Awaitable[Any]) -> Generator[Any, Any, Any]:
        """Await it, and measure how long its steps keep the loop: `await`, written out as in PEP 380."""
        steps = awaitable.__await__()
        step, value = steps.send, None
        while True:
            self._step_began = began = self._clock.monotonic()
            try:
                waits_for = step(value)
            except StopIteration as end:
                return end.value
            finally:
                self._step_began = None
                self._loop_seconds += self._clock.monotonic() - began
            try:
                step, value = steps.send, (yield waits_for)
            except BaseException as error:
                if self._given_up and self._task.cancelling() > 1:  # the loop ends
                    try:
                        steps.close()
                    except RuntimeError:  # it ignores this, too, and would when the interpreter frees it: it never does
                        import ctypes  # not while the host starts

                        ctypes.pythonapi.Py_IncRef(ctypes.py_object(awaitable))
                    raise
                step, value = steps.throw, error


def outcome_of(value: Any) -> Outcome:
    """The outcome that a returned value or a raised error stands for, with its texts masked."""
    status, message, known = _HEALTHY, "", True
    details: Mapping[Any, Any] = {}
    match value:
        case None | True:
            pass
        case HealthStatus():
            status = value
        case str():
            message = value
        case Mapping():
            details = value
        case Outcome() | HealthCheck():
            status, known = HealthStatus(value.status) if value.known else _DEGRADED, bool(value.known)
            message, details = value.message, value.details or {}
        case asyncio.CancelledError():
            status, message = _UNHEALTHY, "the check was cancelled"
        case BaseException():
            name, text = type(value).__name__, mask_text(text_of(value))
            return Outcome(_UNHEALTHY, f"{name}: {text}" if text else name)
        case False:
            status, message = _UNHEALTHY, "the check returned False"
        case _:
            status, message = _DEGRADED, f"the check returned what says neither yes nor no: {text_of(value)}"
    return Outcome(status, mask_text(text_of(message)), mask_details(details), known)


def utc_now(clock: Clock) -> datetime:
    """The instant on this clock."""
    return datetime.fromtimestamp(clock.wall(), UTC)
