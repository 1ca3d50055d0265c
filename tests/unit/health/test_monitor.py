"""The monitor without any application: registering, running, results, staleness, and what hostile checks do to it."""

from __future__ import annotations

import asyncio
import functools
import gc
import os
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from ordinaut_ext_observability import HealthCheck, HealthMonitor, HealthStatus
from ordinaut_ext_observability.correlation.context import current_correlation_id, request_ids
from ordinaut_ext_observability.health import monitor as health_monitor
from ordinaut_ext_observability.health.model import Outcome, Transition, unknown
from ordinaut_ext_observability.health.monitor import MAX_CHECKS, STALE_AFTER_PERIODS

HEALTHY, DEGRADED, UNHEALTHY = HealthStatus.HEALTHY, HealthStatus.DEGRADED, HealthStatus.UNHEALTHY


class Panic(BaseException):
    """What a check may raise that is no Exception: gevent's Timeout and the panics of Rust extensions are such."""


def run_once(check: Any, **options: Any) -> HealthCheck:
    """The result of one run of a check."""
    monitor = HealthMonitor()
    monitor.register_check("only", check, **options)
    return asyncio.run(monitor.run_all_checks())["only"]


def never(released: threading.Event) -> Callable[[], Coroutine[Any, Any, None]]:
    """A coroutine function that ignores being cancelled until the end of the test."""

    async def hang() -> None:
        while not released.is_set():
            try:
                await asyncio.sleep(0.01)
            except asyncio.CancelledError:
                continue

    return hang


class Results:
    """A check that gives these results, one a run; the last one for ever."""

    def __init__(self, *results: Any) -> None:
        self.results = list(results)
        self.runs = 0

    async def run(self) -> Any:
        self.runs += 1
        result = self.results.pop(0) if len(self.results) > 1 else self.results[0]
        if isinstance(result, BaseException):
            raise result
        return result


async def turn(monitor: HealthMonitor, times: int = 1) -> None:
    for _ in range(times):
        await monitor.run_all_checks()


# -- Registering -------------------------------------------------------------------------------------------------------


def test_without_checks_there_are_no_results_and_all_is_well() -> None:
    monitor = HealthMonitor()
    monitor.unregister_check("one that there is not")
    assert asyncio.run(monitor.run_all_checks()) == {}
    assert (monitor.report().status, monitor.report().checks) == (HEALTHY, ())


@pytest.mark.parametrize("name", ["", "x" * 101, None, 3, b"bytes", "\udc80"])
def test_a_name_that_is_none_is_refused(name: Any) -> None:
    monitor = HealthMonitor()
    with pytest.raises(ValueError, match="1 to 100 characters|surrogates not allowed"):
        monitor.register_check(name, lambda: None)
    assert monitor.report().checks == ()


@pytest.mark.parametrize("check", [None, 3, "text", object()])
def test_what_cannot_be_called_is_refused(check: Any) -> None:
    with pytest.raises(TypeError, match="'disk' must be callable or have a method run"):
        HealthMonitor().register_check("disk", check)


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("timeout_seconds", 0),
        ("timeout_seconds", -1.0),
        ("timeout_seconds", float("nan")),
        ("timeout_seconds", float("inf")),
        ("failures_to_worsen", 0),
        ("failures_to_worsen", 1.5),
        ("failures_to_worsen", 101),
        ("passes_to_recover", 0),
        ("passes_to_recover", "2"),
    ],
)
def test_an_option_out_of_range_is_refused_by_its_name(option: str, value: Any) -> None:
    monitor = HealthMonitor()
    with pytest.raises(ValueError, match=option):
        monitor.register_check("disk", lambda: None, **{option: value})
    assert monitor.report().checks == ()


def test_an_option_that_there_is_not_is_refused() -> None:
    with pytest.raises(TypeError, match="timeout"):
        HealthMonitor().register_check("disk", lambda: None, timeout=3)


def test_too_many_checks_are_refused_and_a_replaced_one_is_not_one_more() -> None:
    monitor = HealthMonitor()
    for number in range(MAX_CHECKS):
        monitor.register_check(f"check {number}", lambda: None)
    with pytest.raises(ValueError, match=f"{MAX_CHECKS} checks already"):
        monitor.register_check("one more", lambda: None)
    monitor.register_check("check 0", lambda: False)
    monitor.unregister_check("check 1")
    monitor.register_check("one more", lambda: None)
    assert len(monitor.report().checks) == MAX_CHECKS


# -- What a check may be -----------------------------------------------------------------------------------------------


class WithRun:
    def run(self) -> str:
        return "an object"


class WithAsyncRun:
    async def run(self) -> str:
        return "an object that awaits"


class Callable_:
    def __call__(self) -> str:
        return "callable"


class AsyncCallable:
    async def __call__(self) -> str:
        return "callable and awaits"


async def awaits(text: str = "awaits") -> str:
    await asyncio.sleep(0)
    return text


@pytest.mark.parametrize(
    ("check", "message"),
    [
        (lambda: "a function", "a function"),
        (awaits, "awaits"),
        (lambda: awaits("a lambda that makes a coroutine"), "a lambda that makes a coroutine"),
        (functools.partial(awaits, "partial"), "partial"),
        (functools.partial(str, 3), "3"),
        (WithRun(), "an object"),
        (WithAsyncRun(), "an object that awaits"),
        (Callable_(), "callable"),
        (AsyncCallable(), "callable and awaits"),
    ],
)
def test_a_check_is_anything_that_can_be_run(check: Any, message: str) -> None:
    result = run_once(check)
    assert (result.status, result.message) == (HEALTHY, message)


@pytest.mark.parametrize(
    ("value", "status", "message", "details"),
    [
        (None, HEALTHY, "", None),
        (True, HEALTHY, "", None),
        (False, UNHEALTHY, "the check returned False", None),
        ({}, HEALTHY, "", None),
        ({"jobs": 3}, HEALTHY, "", {"jobs": 3}),
        (HEALTHY, HEALTHY, "", None),
        (DEGRADED, DEGRADED, "", None),
        (UNHEALTHY, UNHEALTHY, "", None),
        (Outcome(DEGRADED), DEGRADED, "", None),
        (Outcome(UNHEALTHY, "the queue is full", {"depth": 9}), UNHEALTHY, "the queue is full", {"depth": 9}),
        (
            Outcome(HEALTHY, "token=abc", {"token": "abc"}),
            HEALTHY,
            "token=[REDACTED_SECRET]",
            {"token": "[REDACTED_SECRET]"},
        ),
        (HealthCheck("only", DEGRADED, "full", 1.0, datetime.now(UTC)), DEGRADED, "full", None),
        ("password=abc", HEALTHY, "password=[REDACTED_SECRET]", None),
        (Outcome("degraded"), DEGRADED, "", None),  # type: ignore[arg-type]
        (Outcome("bad"), UNHEALTHY, "ValueError: 'bad' is not a valid HealthStatus", None),  # type: ignore[arg-type]
    ],
)
@pytest.mark.parametrize("sync", [True, False])
def test_what_a_check_returns_is_its_outcome(
    sync: bool, value: Any, status: HealthStatus, message: str, details: Any
) -> None:
    result = run_once((lambda: value) if sync else Results(value))
    assert (result.status, result.message, result.details) == (status, message, details)


class BrokenText(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no text")


ERRORS = [
    (ValueError("bad"), "ValueError: bad"),
    (ValueError(), "ValueError"),
    (BrokenText(), "BrokenText: <BrokenText: __str__ raised RuntimeError>"),
    (OSError("https://u:p@h/?k=v"), "OSError: https://[REDACTED_PASSWORD]@h/?k=v"),
    (TimeoutError(), "TimeoutError"),
    (asyncio.CancelledError(), "the check was cancelled"),
    (StopAsyncIteration(), "StopAsyncIteration"),
    (ExceptionGroup("several", [ValueError("a")]), "ExceptionGroup: several (1 sub-exception)"),
    (SystemExit(3), "SystemExit: 3"),
    (Panic("boom"), "Panic: boom"),
]
ONLY_OF_FUNCTIONS = [
    (KeyboardInterrupt(), "KeyboardInterrupt"),
    (StopIteration(), "StopIteration"),
    (GeneratorExit(), "GeneratorExit"),
]


@pytest.mark.parametrize(
    ("kind", "error", "message"),
    [(kind, *row) for kind in ("function", "coroutine", "lambda") for row in ERRORS]
    + [("function", *row) for row in ONLY_OF_FUNCTIONS],
)
def test_whatever_a_check_raises_is_its_result_alone(kind: str, error: BaseException, message: str) -> None:
    checks = {"function": sync_raising(error), "coroutine": Results(error), "lambda": lambda: Results(error).run()}
    results = result_beside(checks[kind])
    hostile = results["hostile"]
    assert (hostile.status, hostile.message, hostile.details) == (UNHEALTHY, message, None)
    assert results["other"].status is HEALTHY


def result_beside(check: Any) -> dict[str, HealthCheck]:
    """The results of this check and of one that passes, the monitor still able to report."""
    monitor = HealthMonitor()
    monitor.register_check("hostile", check)
    monitor.register_check("other", lambda: True)
    results = asyncio.run(monitor.run_all_checks())
    assert monitor.report().status is UNHEALTHY
    return results


def sync_raising(error: BaseException) -> Callable[[], None]:
    def fail() -> None:
        raise error

    return fail


# -- Time --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["function", "coroutine", "coroutine that ignores it"])
def test_a_check_that_hangs_is_unhealthy_after_its_timeout(kind: str, released: threading.Event) -> None:
    checks: dict[str, Any] = {
        "function": released.wait,
        "coroutine": lambda: asyncio.sleep(3600),
        "coroutine that ignores it": never(released),
    }

    async def main() -> HealthCheck:
        monitor = HealthMonitor()
        monitor.register_check("hanging", checks[kind], timeout_seconds=0.02)
        result = (await monitor.run_all_checks())["hanging"]
        released.set()
        return result

    result = asyncio.run(main())
    assert (result.status, result.message) == (UNHEALTHY, "timed out after 0.02 s")


def test_no_check_has_longer_than_the_deadline(released: threading.Event) -> None:
    monitor = HealthMonitor(deadline_seconds=0.02)
    monitor.register_check("hanging", released.wait, timeout_seconds=3600)
    result = asyncio.run(monitor.run_all_checks())["hanging"]
    assert result.message == "timed out after 0.02 s"


def test_a_forked_child_does_not_wait_for_what_the_checks_of_its_parent_were_at(released: threading.Event) -> None:
    hangs, monitor = [True], HealthMonitor()
    monitor.register_check("check", lambda: released.wait() if hangs else True, timeout_seconds=0.02)
    assert asyncio.run(monitor.run_all_checks())["check"].message == "timed out after 0.02 s"
    child = os.fork()
    if child == 0:
        hangs.clear()
        os._exit(asyncio.run(monitor.run_all_checks())["check"].status is not HEALTHY)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 0


def test_checks_run_at_the_same_time() -> None:
    barrier = threading.Barrier(3, timeout=10)
    monitor = HealthMonitor()
    for name in "abc":
        monitor.register_check(name, lambda: bool(barrier.wait() >= 0))
    waiting = []

    async def together() -> None:
        waiting.append(1)
        while len(waiting) < 2:
            await asyncio.sleep(0)

    monitor.register_check("d", together)
    monitor.register_check("e", together)
    results = asyncio.run(monitor.run_all_checks())
    assert {name: result.status for name, result in results.items()} == dict.fromkeys("abcde", HEALTHY)


@pytest.mark.parametrize("ignores", [True, False])
def test_a_check_that_still_runs_is_not_started_again(ignores: bool, released: threading.Event) -> None:
    starts = []

    def blocks() -> None:
        starts.append(1)
        released.wait()

    async def ignoring() -> None:
        starts.append(1)
        await never(released)()

    async def main() -> list[str]:
        monitor = HealthMonitor()
        monitor.register_check("hanging", ignoring if ignores else blocks, timeout_seconds=0.02)
        messages = [(await monitor.run_all_checks())["hanging"].message for _ in range(3)]
        assert len(starts) == 1
        released.set()
        async with asyncio.timeout(10):
            while (await monitor.run_all_checks())["hanging"].status is UNHEALTHY:
                await asyncio.sleep(0.005)
        assert len(starts) == 2
        return messages

    assert asyncio.run(main()) == [
        "timed out after 0.02 s",
        "the previous run has not ended",
        "the previous run has not ended",
    ]


def test_a_late_result_is_nobodys(released: threading.Event) -> None:
    """What a run says after its timeout must not show as the result of a later one."""

    async def main() -> None:
        monitor = HealthMonitor()
        monitor.register_check("slow", lambda: released.wait() and {"late": True}, timeout_seconds=0.02)
        await monitor.run_all_checks()
        run = monitor._checks["slow"].run
        released.set()
        assert run is not None
        while await run.goes_on():
            await asyncio.sleep(0.01)
        check = monitor.report().checks[0]
        assert (check.message, check.last.details if check.last else 0) == ("timed out after 0.02 s", None)

    asyncio.run(main())


def test_a_coroutine_that_comes_too_late_is_closed(released: threading.Event) -> None:
    """A warning that it was never awaited would fail this test."""

    def late() -> Any:
        released.wait()
        return awaits()

    async def main() -> None:
        monitor = HealthMonitor()
        monitor.register_check("late", late, timeout_seconds=0.02)
        assert (await monitor.run_all_checks())["late"].message == "timed out after 0.02 s"
        released.set()
        while (await monitor.run_all_checks())["late"].status is not HEALTHY:
            await asyncio.sleep(0.005)
        gc.collect()

    asyncio.run(asyncio.wait_for(main(), 10))


def test_hanging_checks_cost_the_others_nothing(released: threading.Event) -> None:
    async def main() -> dict[str, HealthCheck]:
        monitor = HealthMonitor()
        for number in range(10):
            monitor.register_check(f"hangs {number}", released.wait, timeout_seconds=0.02)
            monitor.register_check(f"ignores {number}", never(released), timeout_seconds=0.02)
            monitor.register_check(f"passes {number}", lambda: True)
        for _ in range(3):
            results = await monitor.run_all_checks()
        released.set()
        return results

    results = asyncio.run(main())
    assert {name for name, result in results.items() if result.status is HEALTHY} == {
        f"passes {number}" for number in range(10)
    }


@pytest.mark.parametrize(
    ("seconds", "steps", "timeout", "status", "message"),
    [
        (1.5, 1, 0.5, UNHEALTHY, "blocked the event loop for 1.50 s"),
        (0.3, 3, 0.5, UNHEALTHY, "blocked the event loop for 0.90 s"),
        (1.5, 1, 5.0, DEGRADED, "blocked the event loop for 1.50 s"),
        (0.3, 3, 5.0, HEALTHY, ""),
    ],
)
@pytest.mark.parametrize("kind", ["coroutine", "lambda"])
def test_a_check_that_blocks_the_loop_is_named_and_counts_as_late(
    clock: Any, kind: str, seconds: float, steps: int, timeout: float, status: HealthStatus, message: str
) -> None:
    async def blocks() -> None:
        for _ in range(steps):
            clock.advance(seconds)
            await asyncio.sleep(0)

    async def innocent() -> None:
        for _ in range(9):
            await asyncio.sleep(0)

    monitor = HealthMonitor(clock=clock)
    monitor.register_check("blocks", blocks if kind == "coroutine" else lambda: blocks(), timeout_seconds=timeout)
    monitor.register_check("innocent", innocent, timeout_seconds=1.0)
    monitor.register_check("quick", lambda: True, timeout_seconds=1.0)
    results = asyncio.run(monitor.run_all_checks())
    assert (results["blocks"].status, results["blocks"].message) == (status, message)
    assert (results["innocent"].message, results["quick"].message) == ("", "")


def test_while_a_check_blocks_the_loop_the_report_names_it(clock: Any) -> None:
    monitor = HealthMonitor(clock=clock)
    reports = []

    async def blocks() -> None:
        for seconds in (4, 3):
            clock.advance(seconds)
            reports.append(monitor.report().checks[0])

    monitor.register_check("blocks", blocks)
    asyncio.run(monitor.run_all_checks())
    assert [(report.shown_status, report.message) for report in reports] == [
        ("unknown", "not run yet"),
        ("unhealthy", "has blocked the event loop for 7 s"),
    ]


def test_a_function_that_took_too_long_while_nobody_looked_is_late(clock: Any) -> None:
    monitor = HealthMonitor(clock=clock)
    monitor.register_check("slow", lambda: clock.advance(0.6), timeout_seconds=0.5)
    assert asyncio.run(monitor.run_all_checks())["slow"].message == "timed out after 0.5 s"


def test_durations_and_instants_come_from_the_clock(clock: Any) -> None:
    async def takes_a_while() -> None:
        clock.advance(1.25)

    monitor = HealthMonitor(clock=clock)
    monitor.register_check("a", takes_a_while)
    began = clock.wall()
    result = asyncio.run(monitor.run_all_checks())["a"]
    assert (result.duration_ms, result.checked_at) == (1250.0, datetime.fromtimestamp(began, UTC))


# -- As it stands ------------------------------------------------------------------------------------------------------


def test_of_a_check_that_has_not_run_yet_nothing_is_known() -> None:
    monitor = HealthMonitor()
    monitor.register_check("new", lambda: True)
    (check,) = monitor.report().checks
    assert (check.shown_status, check.status, check.stale, check.age_seconds, check.message, check.last) == (
        "unknown",
        DEGRADED,
        False,
        None,
        "not run yet",
        None,
    )
    assert monitor.report().status is DEGRADED


@pytest.mark.parametrize("runs", [True, False])
@pytest.mark.parametrize("required", [True, False])
def test_after_the_grace_a_required_check_of_which_nothing_is_known_is_unhealthy(
    clock: Any, required: bool, runs: bool
) -> None:
    """A check that never ran, and one that found out nothing."""
    monitor = HealthMonitor(grace_seconds=30.0, clock=clock)
    monitor.register_check("database", lambda: unknown("not read yet"), required=required)
    text = "not read yet" if runs else "not run yet"
    if runs:
        asyncio.run(monitor.run_all_checks())
    clock.advance(30)
    (check,) = monitor.report().checks
    assert (check.shown_status, check.message) == ("unknown", text)
    clock.advance(1)
    (check,) = monitor.report().checks
    assert check.message == f"{text}; nothing has been known for 31 s"
    assert check.shown_status == ("unhealthy" if required else "unknown")
    assert monitor.report().status is (UNHEALTHY if required else DEGRADED)


def test_the_grace_begins_with_the_start(clock: Any) -> None:
    monitor = HealthMonitor(grace_seconds=30.0, clock=clock)
    monitor.register_check("database", lambda: unknown("not read yet"))

    async def main() -> None:
        clock.advance(1000)
        monitor.start()
        assert monitor.report().checks[0].shown_status == "unknown"
        monitor.stop()

    asyncio.run(main())


def test_known_once_is_no_longer_unknown_and_the_first_result_counts_at_once() -> None:
    check = Results(unknown("not read yet"), unknown("not read yet"), False)
    monitor = HealthMonitor()
    monitor.register_check("database", check, failures_to_worsen=5, passes_to_recover=5)
    asyncio.run(turn(monitor, 2))
    assert monitor.history("database") == []
    results = asyncio.run(monitor.run_all_checks())
    (report,) = monitor.report().checks
    assert (report.shown_status, results["database"].known) == ("unhealthy", True)
    assert [(transition.before, transition.after) for transition in monitor.history("database")] == [(None, UNHEALTHY)]


def test_where_three_statuses_are_known_unknown_is_degraded() -> None:
    result = run_once(lambda: Outcome(HEALTHY, "nobody said", known=False))
    assert (result.status, result.known) == (DEGRADED, False)
    assert [status.value for status in HealthStatus] == ["healthy", "degraded", "unhealthy"]


def test_a_check_that_found_out_nothing_is_run_again_before_its_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Readiness waits for it: not for a whole period."""
    monkeypatch.setattr(health_monitor, "_SOON_SECONDS", 0.01)
    check = Results(unknown("not read yet"), unknown("not read yet"), True)
    monitor = HealthMonitor(period_seconds=3600.0)
    monitor.register_check("database", check)

    async def main() -> None:
        monitor.start()
        await monitor.settle(10.0)
        assert monitor.report().checks[0].shown_status == "healthy"
        await asyncio.sleep(0.05)
        monitor.stop()

    asyncio.run(main())
    assert check.runs == 3


def test_a_stopped_monitor_runs_nothing_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health_monitor, "_SOON_SECONDS", 0.01)
    check = Results(unknown("not read yet"))
    monitor = HealthMonitor()
    monitor.register_check("database", check)

    async def main() -> None:
        monitor.start()
        await monitor.run_all_checks()
        monitor.stop()
        await asyncio.sleep(0.05)

    asyncio.run(main())
    assert check.runs == 1


def test_a_check_that_is_only_reported_in_trouble() -> None:
    monitor = HealthMonitor()
    monitor.not_configured = ("relay",)
    monitor.register_check("relay", Results(True, DEGRADED), only_trouble=True, failures_to_worsen=1)
    for names, absent in (([], ("relay",)), (["relay"], ())):
        asyncio.run(monitor.run_all_checks())
        report = monitor.report()
        assert ([check.name for check in report.checks], report.not_configured) == (names, absent)


def test_a_stale_result_is_unhealthy(clock: Any) -> None:
    monitor = HealthMonitor(period_seconds=10.0, deadline_seconds=5.0, clock=clock)
    monitor.register_check("a", lambda: True)
    asyncio.run(monitor.run_all_checks())
    limit = STALE_AFTER_PERIODS * 10.0 + 5.0
    clock.advance(limit)
    (check,) = monitor.report().checks
    assert (check.status, check.stale, check.age_seconds, check.message) == (HEALTHY, False, limit, "")
    clock.advance(0.1)
    (check,) = monitor.report().checks
    assert (check.status, check.stale, check.message) == (UNHEALTHY, True, "no result for 35 s")
    assert monitor.report().status is UNHEALTHY
    asyncio.run(monitor.run_all_checks())
    (check,) = monitor.report().checks
    assert (check.status, check.stale, check.age_seconds) == (HEALTHY, False, 0.0)
    assert [transition.after for transition in monitor.history("a")] == [HEALTHY]


def test_where_every_result_is_stale_the_whole_is_unhealthy_without_any_required_check(clock: Any) -> None:
    monitor = HealthMonitor(clock=clock)
    monitor.register_check("cache", lambda: True, required=False)
    asyncio.run(monitor.run_all_checks())
    clock.advance(100_000)
    assert monitor.report().status is UNHEALTHY


def test_a_clock_that_goes_back_makes_no_negative_age(clock: Any) -> None:
    monitor = HealthMonitor(clock=clock)
    monitor.register_check("a", Results(True, False, True), failures_to_worsen=1)
    for back in (0, 500, 5000):
        clock.advance(-back)
        asyncio.run(monitor.run_all_checks())
    clock.advance(-100)
    (check,) = monitor.report().checks
    assert (check.status, check.stale, check.age_seconds) == (HEALTHY, False, 0.0)
    ratio = monitor.uptime_ratio("a")
    assert ratio is not None
    assert 0.0 <= ratio <= 1.0


@pytest.mark.parametrize(
    ("required", "optional", "whole"),
    [
        ((HEALTHY, HEALTHY), (HEALTHY,), HEALTHY),
        ((HEALTHY,), (DEGRADED,), DEGRADED),
        ((HEALTHY,), (UNHEALTHY, UNHEALTHY), DEGRADED),
        ((DEGRADED, HEALTHY), (HEALTHY,), DEGRADED),
        ((DEGRADED,), (UNHEALTHY,), DEGRADED),
        ((UNHEALTHY, HEALTHY), (HEALTHY,), UNHEALTHY),
        ((), (UNHEALTHY,), DEGRADED),
        ((), (HEALTHY,), HEALTHY),
    ],
)
def test_the_whole_is_unhealthy_only_for_a_required_check(
    required: tuple[HealthStatus, ...], optional: tuple[HealthStatus, ...], whole: HealthStatus
) -> None:
    monitor = HealthMonitor()
    for kind, statuses in (("required", required), ("optional", optional)):
        for number, status in enumerate(statuses):
            name = f"{kind} {number}"
            monitor.register_check(name, Results(status), required=kind == "required")
    asyncio.run(monitor.run_all_checks())
    report = monitor.report()
    assert report.status is whole
    assert [check.required for check in report.checks] == [True] * len(required) + [False] * len(optional)


def test_history_has_a_transition_for_each_change(clock: Any) -> None:
    monitor = HealthMonitor(clock=clock)
    monitor.register_check("a", Results(True, ValueError("first"), ValueError("second"), ValueError("third"), True))

    async def main() -> None:
        for _ in range(6):
            await monitor.run_all_checks()
            clock.advance(60)

    began = datetime.fromtimestamp(clock.wall(), UTC)
    asyncio.run(main())
    assert monitor.history("a") == [
        Transition(began, None, HEALTHY, ""),
        Transition(began + timedelta(minutes=2), HEALTHY, UNHEALTHY, "ValueError: second"),
        Transition(began + timedelta(minutes=4), UNHEALTHY, HEALTHY, ""),
    ]
    assert monitor.uptime_ratio("a", timedelta(minutes=6)) == pytest.approx(4 / 6)
    assert monitor.uptime_ratio("a", timedelta(minutes=3)) == pytest.approx(2 / 3)


def test_of_a_check_that_there_is_not_nothing_is_known() -> None:
    monitor = HealthMonitor()
    assert (monitor.history("none"), monitor.uptime_ratio("none")) == ([], None)


def test_a_replaced_check_begins_anew() -> None:
    monitor = HealthMonitor()
    monitor.register_check("a", lambda: False)
    asyncio.run(monitor.run_all_checks())
    monitor.register_check("a", lambda: True)
    assert monitor.history("a") == []
    assert monitor.report().checks[0].message == "not run yet"
    asyncio.run(monitor.run_all_checks())
    assert [transition.after for transition in monitor.history("a")] == [HEALTHY]


# -- Callers -----------------------------------------------------------------------------------------------------------


def test_callers_at_the_same_time_share_one_round() -> None:
    check = Results(True)
    monitor = HealthMonitor()
    monitor.register_check("a", check)

    async def main() -> list[dict[str, HealthCheck]]:
        return await asyncio.gather(*(monitor.run_all_checks() for _ in range(50)))

    results = asyncio.run(main())
    assert check.runs == 1
    assert all(result["a"] is results[0]["a"] for result in results)


def test_a_caller_who_gives_up_stops_nobody_elses_round() -> None:
    started, go_on = asyncio.Event(), asyncio.Event()

    async def slow() -> None:
        started.set()
        await go_on.wait()

    monitor = HealthMonitor()
    monitor.register_check("slow", slow)

    async def main() -> HealthStatus:
        impatient = asyncio.create_task(monitor.run_all_checks())
        patient = asyncio.create_task(monitor.run_all_checks())
        await started.wait()
        impatient.cancel()
        await asyncio.sleep(0)
        go_on.set()
        return (await patient)["slow"].status

    assert asyncio.run(main()) is HEALTHY


def test_two_loops_one_after_the_other(released: threading.Event) -> None:
    check = Results(True)
    monitor = HealthMonitor()
    monitor.register_check("a", check)
    monitor.register_check("hangs", released.wait, timeout_seconds=0.02)
    for message in ("timed out after 0.02 s", "the previous run has not ended"):
        results = asyncio.run(monitor.run_all_checks())
        assert results["a"].status is HEALTHY
        assert results["hangs"].message == message
    assert check.runs == 2


def test_checks_do_not_see_the_callers_context() -> None:
    ids: list[str | None] = []

    async def check() -> None:
        ids.append(current_correlation_id())

    monitor = HealthMonitor()
    monitor.register_check("async", check)
    monitor.register_check("sync", lambda: ids.append(current_correlation_id()))

    async def main() -> None:
        request_ids.set(("a-request", "0" * 32, "0" * 16, False))
        assert current_correlation_id() == "a-request"
        await monitor.run_all_checks()
        monitor.start()
        await asyncio.sleep(0)
        await monitor.run_all_checks()
        monitor.stop()

    asyncio.run(main())
    assert ids == [None] * 4


def test_a_check_that_runs_all_checks_waits_for_itself_only_until_its_timeout() -> None:
    monitor = HealthMonitor()
    monitor.register_check("recursive", monitor.run_all_checks, timeout_seconds=0.02)
    monitor.register_check("other", lambda: True)
    results = asyncio.run(monitor.run_all_checks())
    assert (results["recursive"].message, results["other"].status) == ("timed out after 0.02 s", HEALTHY)


def test_a_check_that_unregisters_itself() -> None:
    monitor = HealthMonitor()
    monitor.register_check("once", lambda: monitor.unregister_check("once"))
    monitor.register_check("other", lambda: True)
    assert set(asyncio.run(monitor.run_all_checks())) == {"once", "other"}
    assert [check.name for check in monitor.report().checks] == ["other"]
    assert set(asyncio.run(monitor.run_all_checks())) == {"other"}


def test_a_check_that_registers_another_from_its_thread() -> None:
    monitor = HealthMonitor()
    monitor.register_check("a", lambda: monitor.register_check("b", lambda: True))
    assert set(asyncio.run(monitor.run_all_checks())) == {"a"}
    assert set(asyncio.run(monitor.run_all_checks())) == {"a", "b"}


def test_a_check_replaced_while_it_runs_says_nothing_of_the_new_one() -> None:
    monitor = HealthMonitor()
    started, go_on = asyncio.Event(), asyncio.Event()

    async def old() -> bool:
        started.set()
        await go_on.wait()
        return False

    new = Results(True)

    async def main() -> None:
        monitor.register_check("a", old)
        running = asyncio.create_task(monitor.run_all_checks())
        await started.wait()
        monitor.register_check("a", new)
        go_on.set()
        await running
        assert monitor.report().checks[0].message == "not run yet"
        assert monitor.history("a") == []
        await monitor.run_all_checks()
        assert (monitor.report().status, new.runs) == (HEALTHY, 1)

    asyncio.run(main())


# -- Listeners ---------------------------------------------------------------------------------------------------------


def test_listeners_are_told_of_each_result_and_each_transition() -> None:
    results: list[Any] = []
    monitor = HealthMonitor(
        on_result=lambda result, transition: results.append((result.status, transition and transition.after))
    )
    monitor.register_check("a", Results(True, False, False, True))
    asyncio.run(turn(monitor, 4))
    assert results == [(HEALTHY, HEALTHY), (UNHEALTHY, None), (UNHEALTHY, UNHEALTHY), (HEALTHY, HEALTHY)]


def test_a_listener_that_raises_is_counted_and_changes_nothing() -> None:
    errors: list[int] = []

    def fail(*_: Any) -> None:
        raise RuntimeError("a listener's own")

    monitor = HealthMonitor(on_result=fail, on_error=lambda: errors.append(1))
    monitor.register_check("a", lambda: True)
    monitor.register_check("b", lambda: True)
    results = asyncio.run(monitor.run_all_checks())
    assert {result.status for result in results.values()} == {HEALTHY}
    assert monitor.report().status is HEALTHY
    assert len(errors) == 2


def test_a_listener_that_registers_and_forgets_checks() -> None:
    monitor = HealthMonitor(on_result=lambda result, _: monitor.unregister_check(result.name))
    monitor.register_check("a", lambda: True)
    asyncio.run(monitor.run_all_checks())
    assert monitor.report().checks == ()


# -- In the background -------------------------------------------------------------------------------------------------


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.002)


def test_in_the_background_checks_run_again_and_again() -> None:
    check = Results(True)

    async def main() -> None:
        monitor = HealthMonitor(period_seconds=0.01)
        monitor.register_check("a", check)
        monitor.start()
        await until(lambda: check.runs >= 3)
        monitor.register_check("b", lambda: True)
        await until(lambda: [report.status for report in monitor.report().checks] == [HEALTHY] * 2)
        monitor.stop()

    asyncio.run(main())


def test_start_needs_a_running_loop() -> None:
    with pytest.raises(RuntimeError):
        HealthMonitor().start()


def test_stop_without_start_does_nothing() -> None:
    monitor = HealthMonitor()
    monitor.stop()
    monitor.stop()
    assert monitor.report().status is HEALTHY


def test_starting_again_runs_nothing_twice() -> None:
    check = Results(True)

    async def main() -> None:
        monitor = HealthMonitor(period_seconds=3600)
        monitor.register_check("a", check)
        for _ in range(3):
            monitor.start()
            await monitor.run_all_checks()
        tasks = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        assert len(tasks) == 1
        assert check.runs == 3  # one at each call, the first shared with the start
        monitor.stop()

    asyncio.run(main())


def test_starting_while_the_checks_run_shares_their_round() -> None:
    started, go_on = asyncio.Event(), asyncio.Event()

    async def slow() -> None:
        started.set()
        await go_on.wait()

    async def main() -> None:
        monitor = HealthMonitor(period_seconds=3600)
        monitor.register_check("slow", slow)
        running = asyncio.create_task(monitor.run_all_checks())
        await started.wait()
        monitor.start()
        for _ in range(5):
            await asyncio.sleep(0)
        go_on.set()
        await running
        await monitor.run_all_checks()
        monitor.stop()
        assert [transition.after for transition in monitor.history("slow")] == [HEALTHY]

    asyncio.run(main())


def test_stopped_and_started_at_once_makes_no_check_unhealthy() -> None:
    started = asyncio.Event()

    async def quick() -> None:
        started.set()
        await asyncio.sleep(0.001)

    async def main() -> None:
        monitor = HealthMonitor(period_seconds=3600)
        monitor.register_check("quick", quick)
        monitor.start()
        await started.wait()
        monitor.stop()
        monitor.start()
        await until(lambda: bool(monitor.history("quick")))
        monitor.stop()
        assert [transition.after for transition in monitor.history("quick")] == [HEALTHY]

    asyncio.run(main())


def test_stopped_and_started_again_and_again_also_from_another_thread() -> None:
    check = Results(True)

    async def main() -> None:
        monitor = HealthMonitor(period_seconds=0.001)
        monitor.register_check("a", check)
        for _ in range(3):
            monitor.start()
            wanted = check.runs + 2
            await until(lambda: check.runs >= wanted)
            await asyncio.to_thread(monitor.stop)
        await until(lambda: len(asyncio.all_tasks()) == 1)
        assert [transition.after for transition in monitor.history("a")] == [HEALTHY]

    asyncio.run(main())


def test_started_on_another_loop_it_goes_on_and_stops_after_that_is_gone() -> None:
    check = Results(True)
    monitor = HealthMonitor(period_seconds=0.001)
    monitor.register_check("a", check)

    async def main() -> None:
        monitor.start()
        wanted = check.runs + 3
        await until(lambda: check.runs >= wanted)

    asyncio.run(main())
    asyncio.run(main())
    monitor.stop()
    assert monitor.report().status is HEALTHY


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("what", ["listener", "error listener", "function", "coroutine"])
def test_nothing_that_fails_ends_the_background(what: str) -> None:
    check, errors = Results(True), []

    def fail(*_: Any) -> None:
        raise RuntimeError("a listener's own")

    def on_error() -> None:
        errors.append(1)
        if what == "error listener":
            fail()

    async def main() -> None:
        listener = {"on_result": fail} if "listener" in what else {}
        monitor = HealthMonitor(period_seconds=0.001, on_error=on_error, **listener)
        monitor.register_check("a", check)
        if "listener" not in what:
            monitor.register_check("panics", sync_raising(Panic()) if what == "function" else Results(Panic()))
        monitor.start()
        await until(lambda: check.runs >= 3)
        assert bool(errors) is ("listener" in what)
        monitor.stop()

    asyncio.run(main())


def test_first_probes_wait_for_the_first_results_and_later_ones_do_not() -> None:
    go_on = asyncio.Event()

    async def slow() -> None:
        await go_on.wait()

    async def main() -> None:
        monitor = HealthMonitor(period_seconds=3600)
        monitor.register_check("slow", slow)
        await monitor.settle(10)  # nothing runs: nothing to wait for
        monitor.start()
        await monitor.settle(0.01)
        assert monitor.report().checks[0].message == "not run yet"
        settled = asyncio.create_task(monitor.settle(10))
        await asyncio.sleep(0.01)
        assert not settled.done()
        go_on.set()
        await settled
        assert monitor.report().status is HEALTHY
        go_on.clear()
        running = asyncio.create_task(monitor.run_all_checks())
        await asyncio.sleep(0)
        await monitor.settle(3600)
        assert not running.done()
        go_on.set()
        await running
        monitor.stop()

    asyncio.run(asyncio.wait_for(main(), 10))


def test_any_thread_may_read_and_register_while_checks_come_and_go(eager_switching: None) -> None:
    ended = threading.Event()
    monitor = HealthMonitor(period_seconds=0.001)

    def use(number: int) -> int:
        times = 0
        while not ended.is_set():
            if times < 20:
                monitor.register_check(f"thread {number}", lambda: True)
            times += 1
            for check in monitor.report().checks:
                monitor.history(check.name)
                monitor.uptime_ratio(check.name)
        return times

    async def main() -> None:
        monitor.start()
        for number in range(60):
            monitor.register_check(f"check {number % 7}", awaits)
            await monitor.run_all_checks()
            if number % 5 == 0:
                monitor.unregister_check(f"check {number % 7}")
        monitor.stop()

    with ThreadPoolExecutor(2) as threads:
        using = [threads.submit(use, number) for number in range(2)]
        try:
            asyncio.run(main())
        finally:
            ended.set()
        assert all(used.result(10) for used in using)
    assert {"thread 0", "thread 1", "check 1"} <= {check.name for check in monitor.report().checks}


ENDS = """
import asyncio
from ordinaut_ext_observability import HealthMonitor

async def ignores():
    while True:
        try:
            await asyncio.sleep(3600)
        except KIND:
            continue

async def main():
    monitor = HealthMonitor(period_seconds=0.05)
    monitor.register_check("hangs", ignores, timeout_seconds=TIMEOUT)
    monitor.start()
    await asyncio.sleep(0.2)
    if TIMEOUT < 1:
        print((await monitor.run_all_checks())["hangs"].message)
    print("ends", flush=True)

asyncio.run(main())
"""


@pytest.mark.parametrize(
    ("kind", "timeout"), [("asyncio.CancelledError", "0.05"), ("BaseException", "0.05"), ("BaseException", "5")]
)
def test_a_process_ends_though_a_check_ignores_being_cancelled_for_ever(
    start_child: Callable[..., Any], eventually: Callable[..., bool], kind: str, timeout: str
) -> None:
    """Given up already or not."""
    child = start_child("-c", ENDS.replace("KIND", kind).replace("TIMEOUT", timeout))
    assert eventually(lambda: "ends" in child.out)
    try:
        assert child.process.wait(1.5) == 0
        assert child.out == ("the previous run has not ended\nends\n" if timeout == "0.05" else "ends\n")
        assert child.err == ""
    finally:
        child.clean_up()
