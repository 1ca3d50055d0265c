"""One run of a check: a coroutine on the running loop, any other function in a thread of ours."""

from __future__ import annotations

import asyncio
import ctypes
import inspect
import types
from collections.abc import Awaitable, Generator, Mapping
from concurrent.futures import Future
from typing import Any

from ordinaut_ext_observability.background.clock import Clock
from ordinaut_ext_observability.background.daemon_threads import DaemonExecutor
from ordinaut_ext_observability.health.model import CheckFunction, HealthCheck, HealthStatus, Outcome
from ordinaut_ext_observability.scrub.plain_values import text_of
from ordinaut_ext_observability.scrub.text import mask_details, mask_text

BLOCKED_SECONDS = 1.0
"""A loop that does not run for so long is degraded, and so is a check that keeps it: people notice a second."""

_TURNS_TO_DELIVER = 5
"""A task that can end does so within this many turns of the loop."""

_HEALTHY, _DEGRADED, _UNHEALTHY = HealthStatus.HEALTHY, HealthStatus.DEGRADED, HealthStatus.UNHEALTHY
_threads = DaemonExecutor()


class CheckRun:
    """A run, from its making on. It has an outcome in time, whatever the check does.

    A check that ignores being cancelled is left to itself, and `goes_on` says so until it ends or the loop does: that
    cancels all tasks and waits for them, so a coroutine that is cancelled once more is closed where it stands.
    """

    def __init__(self, function: CheckFunction, timeout_seconds: float, clock: Clock) -> None:
        self._function = function
        self._timeout_seconds = timeout_seconds
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

    def blocking_seconds(self, now: float) -> float | None:
        """Seconds for which it has kept the loop now, where that is longer than it may take. From any thread."""
        began = self._step_began
        return now - began if began is not None and now - began > self._timeout_seconds else None

    async def outcome(self) -> Outcome:
        """The check's own outcome, or that it is late."""
        try:
            # Not `wait_for`: it would wait for a check that does not let itself be cancelled.
            await asyncio.wait({self._task}, timeout=self._timeout_seconds)
            await self._let_finish()  # after the loop was blocked, a timer that is due comes before what came in time
        finally:
            if not self._task.done():
                self._given_up = True
                self._task.cancel()
        if self._loop_seconds > min(self._timeout_seconds, BLOCKED_SECONDS):
            status = _UNHEALTHY if self._loop_seconds > self._timeout_seconds else _DEGRADED
            return Outcome(status, f"blocked the event loop for {self._loop_seconds:.2f} s")
        if not self._task.done() or self._thread_seconds > self._timeout_seconds:
            return Outcome(_UNHEALTHY, f"timed out after {self._timeout_seconds:g} s")
        return outcome_of_error(asyncio.CancelledError()) if self._task.cancelled() else self._task.result()

    async def _let_finish(self) -> None:
        """Let the loop deliver what the check waits for, and its cancelling."""
        for _ in range(_TURNS_TO_DELIVER):
            if not self._task.done():
                await asyncio.sleep(0)

    async def _judge(self) -> Outcome:
        try:
            if is_coroutine_function(self._function):
                return outcome_of(await self._step_through(self._function()))
            self._call = _threads.submit(self._call_function)
            result = await asyncio.wrap_future(self._call)
            return result if isinstance(result, Outcome) else outcome_of(await self._step_through(result))
        except (KeyboardInterrupt, GeneratorExit):
            raise  # the user's, and the end of a coroutine that nobody awaits any more
        except BaseException as error:  # noqa: BLE001 - checks are other people's code
            return outcome_of_error(error)

    def _call_function(self) -> Outcome | Awaitable[Any]:
        """The function's outcome, or what it wants to be awaited. Called in a thread."""
        began = self._clock.monotonic()
        try:
            result = self._function()
            if self._given_up and inspect.iscoroutine(result):
                result.close()  # nobody is there to await it any more
            return result if inspect.isawaitable(result) else outcome_of(result)
        except BaseException as error:  # noqa: BLE001 - checks are other people's code
            return outcome_of_error(error)
        finally:
            self._thread_seconds = self._clock.monotonic() - began

    @types.coroutine
    def _step_through(self, awaitable: Awaitable[Any]) -> Generator[Any, Any, Any]:
        """Await it, and measure how long its steps keep the loop: `await`, written out as in PEP 380."""
        coroutine = _await(awaitable)
        step, value = coroutine.send, None
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
                step, value = coroutine.send, (yield waits_for)
            except BaseException as error:
                if self._given_up and self._task.cancelling() > 1:  # the loop ends
                    try:
                        coroutine.close()
                    except RuntimeError:  # it ignores this, too, and would when the interpreter frees it: it never does
                        ctypes.pythonapi.Py_IncRef(ctypes.py_object(awaitable))
                    raise
                step, value = coroutine.throw, error


def is_coroutine_function(function: CheckFunction) -> bool:
    """True where a call makes a coroutine, which runs on the loop."""
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(getattr(function, "__call__", None))  # noqa: B004


def outcome_of(value: Any) -> Outcome:
    """The outcome that a returned value stands for, with its texts masked."""
    status, message = _HEALTHY, ""
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
        case Outcome() | HealthCheck() if isinstance(value.status, HealthStatus):
            status = value.status if value.known else _DEGRADED
            message, details = value.message, value.details or {}
        case Outcome() | HealthCheck():
            status, message = _UNHEALTHY, f"the check returned a status that is none: {text_of(value.status)}"
        case False:
            status, message = _UNHEALTHY, "the check returned False"
        case _:
            status, message = _DEGRADED, f"the check returned what says neither yes nor no: {text_of(value)}"
    return Outcome(
        status, mask_text(text_of(message)), mask_details(details), known=bool(getattr(value, "known", True))
    )


def outcome_of_error(error: BaseException) -> Outcome:
    """The outcome of a check that raised this: the error's class and its text, masked."""
    if isinstance(error, asyncio.CancelledError):
        return Outcome(_UNHEALTHY, "the check was cancelled")
    text = mask_text(text_of(error))
    return Outcome(_UNHEALTHY, f"{type(error).__name__}: {text}" if text else type(error).__name__)


async def _await(awaitable: Awaitable[Any]) -> Any:
    return await awaitable
