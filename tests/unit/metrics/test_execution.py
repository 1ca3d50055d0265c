"""`monitor_execution`: runs are counted and timed, and nothing else about them changes."""

from __future__ import annotations

import asyncio
import functools
import gc
import inspect
import types
from collections.abc import AsyncIterator, Callable, Coroutine, Generator, Iterator
from typing import Any, Self

import pytest

from ordinaut_ext_observability.metrics.budget import OVERFLOW_VALUE, LabelBudgets
from ordinaut_ext_observability.metrics.declarations import Metrics
from ordinaut_ext_observability.metrics.execution import ExecutionMonitor
from ordinaut_ext_observability.metrics.registry import Registry


@pytest.fixture
def metrics() -> Metrics:
    return Metrics(Registry())


@pytest.fixture
def monitor_execution(metrics: Metrics) -> ExecutionMonitor:
    return ExecutionMonitor(lambda: metrics)


def executions(metrics: Metrics) -> dict[tuple[str, ...], float]:
    return {child.label_values: child.value for child in metrics.task_executions.children()}


def timed(metrics: Metrics) -> dict[tuple[str, ...], int]:
    return {child.label_values: sum(child.counts) for child in metrics.pipeline_seconds.children()}


def internal_errors(metrics: Metrics) -> dict[tuple[str, ...], float]:
    return {child.label_values: child.value for child in metrics.internal_errors.children()}


def test_without_parentheses_a_run_is_counted_and_timed_under_the_functions_name(
    metrics: Metrics, monitor_execution: ExecutionMonitor
) -> None:
    @monitor_execution
    def nightly(a: int, *, b: int) -> int:
        return a + b

    assert nightly(1, b=2) == 3
    assert nightly(3, b=4) == 7
    assert executions(metrics) == {("success", "nightly"): 2.0}
    assert timed(metrics) == {("", "nightly"): 2}


@pytest.mark.parametrize(("arguments", "name"), [((), "work"), ((None,), "work"), (("",), "work"), (("n",), "n")])
def test_with_parentheses_and_maybe_a_name(
    metrics: Metrics, monitor_execution: ExecutionMonitor, arguments: tuple[Any, ...], name: str
) -> None:
    @monitor_execution(*arguments)
    def work() -> str:
        return "done"

    assert work() == "done"
    assert executions(metrics) == {("success", name): 1.0}


def test_the_name_may_be_given_by_keyword(metrics: Metrics, monitor_execution: ExecutionMonitor) -> None:
    monitor_execution(metric_name="named")(lambda: None)()
    assert executions(metrics) == {("success", "named"): 1.0}


@pytest.mark.parametrize("parentheses", [False, True])
def test_coroutine_functions_are_counted_when_they_end(
    metrics: Metrics, monitor_execution: ExecutionMonitor, *, parentheses: bool
) -> None:
    async def fetch(task_id: str) -> str:
        await asyncio.sleep(0)
        assert executions(metrics) == {}
        return task_id.upper()

    monitored = monitor_execution()(fetch) if parentheses else monitor_execution(fetch)
    assert asyncio.run(monitored("t1")) == "T1"
    assert executions(metrics) == {("success", "fetch"): 1.0}
    assert timed(metrics) == {("t1", "fetch"): 1}


def test_calling_a_coroutine_function_counts_nothing_before_it_is_awaited(
    metrics: Metrics, monitor_execution: ExecutionMonitor
) -> None:
    @monitor_execution
    async def never() -> None: ...

    never().close()
    assert executions(metrics) == {}


def test_the_time_is_that_of_the_run(
    metrics: Metrics, monitor_execution: ExecutionMonitor, monkeypatch: pytest.MonkeyPatch
) -> None:
    instants = iter([100.0, 107.5])
    monkeypatch.setattr("ordinaut_ext_observability.metrics.execution.monotonic_seconds", lambda: next(instants))
    monitor_execution("work")(lambda: None)()
    assert metrics.pipeline_seconds.labels("", "work").sum == 7.5


def test_concurrent_runs_are_timed_apart(metrics: Metrics, monitor_execution: ExecutionMonitor) -> None:
    @monitor_execution
    async def work(task_id: str, gate: asyncio.Event) -> str:
        await asyncio.wait_for(gate.wait(), 10)
        return task_id

    async def main() -> list[str]:
        gates = [asyncio.Event() for _ in range(3)]
        tasks = [asyncio.create_task(work(str(number), gate)) for number, gate in enumerate(gates)]
        for gate in reversed(gates):
            gate.set()
        return await asyncio.gather(*tasks)

    assert asyncio.run(main()) == ["0", "1", "2"]
    assert timed(metrics) == {("0", "work"): 1, ("1", "work"): 1, ("2", "work"): 1}


@pytest.mark.parametrize(
    ("arguments", "keywords", "task_id"),
    [
        (("x", "t1"), {}, "t1"),
        (("x",), {"task_id": "t1"}, "t1"),
        (("x",), {"task_id": 42}, "42"),
        (("x", None), {}, ""),
        (("x",), {"task_id": None}, ""),
        (("x",), {}, ""),
        (("x", ""), {}, ""),
    ],
)
def test_task_id_is_found_by_position_and_by_keyword(
    metrics: Metrics,
    monitor_execution: ExecutionMonitor,
    arguments: tuple[Any, ...],
    keywords: dict[str, Any],
    task_id: str,
) -> None:
    @monitor_execution
    def work(first: str, task_id: Any = "default") -> None: ...

    work(*arguments, **keywords)
    assert timed(metrics) == {(task_id, "work"): 1}


def test_task_id_of_a_method_is_found_behind_self(metrics: Metrics, monitor_execution: ExecutionMonitor) -> None:
    class Worker:
        @monitor_execution
        def run(self, task_id: str) -> str:
            return task_id

        @classmethod
        @monitor_execution("class_run")
        def run_class(cls, task_id: str) -> str:
            return task_id

        @staticmethod
        @monitor_execution("static_run")
        def run_static(task_id: str) -> str:
            return task_id

    assert (Worker().run("a"), Worker.run_class("b"), Worker().run_static("c")) == ("a", "b", "c")
    assert timed(metrics) == {("a", "run"): 1, ("b", "class_run"): 1, ("c", "static_run"): 1}


def test_task_id_is_found_among_arbitrary_keywords_only_by_its_name(
    metrics: Metrics, monitor_execution: ExecutionMonitor
) -> None:
    @monitor_execution
    def keywords(*args: str, **kwargs: str) -> None: ...

    @monitor_execution
    def keyword_only(*args: str, task_id: str) -> None: ...

    keywords("a", "b", task_id="t")
    keywords("a", "b")
    keyword_only("a", task_id="t")
    assert timed(metrics) == {("t", "keywords"): 1, ("", "keywords"): 1, ("t", "keyword_only"): 1}


def test_a_task_id_that_cannot_be_printed_does_not_fail_the_run(
    metrics: Metrics, monitor_execution: ExecutionMonitor
) -> None:
    class Unprintable:
        def __str__(self) -> str:
            raise RuntimeError("no text")

    monitor_execution("work")(lambda task_id: None)(Unprintable())
    assert timed(metrics) == {("", "work"): 1}


def test_task_ids_past_the_budget_share_a_series() -> None:
    metrics = Metrics(Registry(LabelBudgets(by_label={"task_id": 2})))
    work = ExecutionMonitor(lambda: metrics)("work")(lambda task_id: None)
    for number in range(10):
        work(str(number))
    assert timed(metrics) == {("0", "work"): 1, ("1", "work"): 1, (OVERFLOW_VALUE, "work"): 8}
    assert metrics.label_overflow.labels("orchestrator_pipeline_duration_seconds", "task_id").value == 8.0


@pytest.mark.parametrize("error", [ValueError("v"), KeyboardInterrupt(), SystemExit(3), asyncio.TimeoutError()])
def test_exceptions_pass_unchanged_and_count_as_errors(
    metrics: Metrics, monitor_execution: ExecutionMonitor, error: BaseException
) -> None:
    @monitor_execution
    def fail() -> None:
        raise error

    with pytest.raises(type(error)) as caught:
        fail()
    assert caught.value is error
    assert error.__cause__ is error.__context__ is None
    assert executions(metrics) == {("error", "fail"): 1.0}
    assert timed(metrics) == {("", "fail"): 1}


def test_exceptions_of_coroutines_pass_unchanged(metrics: Metrics, monitor_execution: ExecutionMonitor) -> None:
    error = LookupError("l")

    @monitor_execution
    async def fail() -> None:
        raise error

    with pytest.raises(LookupError) as caught:
        asyncio.run(fail())
    assert caught.value is error
    assert executions(metrics) == {("error", "fail"): 1.0}


def test_a_cancelled_run_counts_as_cancelled_and_stays_cancelled(
    metrics: Metrics, monitor_execution: ExecutionMonitor
) -> None:
    @monitor_execution
    async def wait(started: asyncio.Event) -> None:
        started.set()
        await asyncio.Event().wait()

    async def main() -> bool:
        started = asyncio.Event()
        task = asyncio.create_task(wait(started))
        await asyncio.wait_for(started.wait(), 10)
        task.cancel()
        await asyncio.wait([task], timeout=10)
        return task.cancelled()

    assert asyncio.run(main()) is True
    assert executions(metrics) == {("cancelled", "wait"): 1.0}


def test_generators_are_refused_when_decorated(monitor_execution: ExecutionMonitor) -> None:
    def generator() -> Iterator[int]:
        yield 1

    async def async_generator() -> AsyncIterator[int]:
        yield 1

    class Generating:
        def __call__(self) -> Iterator[int]:
            yield 1

    for function in (generator, async_generator, Generating()):
        with pytest.raises(TypeError, match="generator"):
            monitor_execution(function)
        with pytest.raises(TypeError, match="generator"):
            monitor_execution("named")(function)


def test_metadata_of_the_function_is_kept(monitor_execution: ExecutionMonitor) -> None:
    async def coroutine(task_id: str) -> int:
        """Its documentation."""
        return 1

    def function(task_id: str, flag: bool = False) -> int:  # noqa: FBT001, FBT002
        """Its documentation."""
        return 1

    for original in (coroutine, function):
        monitored = monitor_execution(original)
        assert monitored.__name__ == original.__name__
        assert monitored.__qualname__ == original.__qualname__
        assert monitored.__module__ == original.__module__
        assert monitored.__doc__ == "Its documentation."
        assert monitored.__wrapped__ is original  # type: ignore[attr-defined]
        assert inspect.signature(monitored) == inspect.signature(original)
        assert inspect.iscoroutinefunction(monitored) == inspect.iscoroutinefunction(original)


def test_without_metrics_functions_just_run() -> None:
    monitor_execution = ExecutionMonitor(lambda: None)

    @monitor_execution
    def work() -> str:
        return "done"

    @monitor_execution
    async def fail() -> None:
        raise ValueError("f")

    assert work() == "done"
    with pytest.raises(ValueError, match="f"):
        asyncio.run(fail())


def test_metrics_are_looked_up_at_each_run(metrics: Metrics) -> None:
    current: list[Metrics | None] = [None]
    work = ExecutionMonitor(lambda: current[0])("work")(lambda: None)
    work()
    current[0] = metrics
    work()
    assert executions(metrics) == {("success", "work"): 1.0}


def test_a_run_that_cannot_be_counted_does_not_fail(metrics: Metrics, monitor_execution: ExecutionMonitor) -> None:
    metrics.task_executions = None  # type: ignore[assignment]

    @monitor_execution
    def work() -> str:
        return "done"

    @monitor_execution
    async def fail() -> None:
        raise ValueError("its own")

    assert work() == "done"
    with pytest.raises(ValueError, match="its own"):
        asyncio.run(fail())
    assert internal_errors(metrics) == {("monitor_execution",): 2.0}


def test_a_metrics_lookup_that_raises_does_not_fail_the_run() -> None:
    def broken() -> Metrics | None:
        raise RuntimeError("no runtime")

    work = ExecutionMonitor(broken)("work")(lambda: "done")
    assert work() == "done"


def test_metrics_broken_altogether_do_not_fail_the_run(metrics: Metrics, monitor_execution: ExecutionMonitor) -> None:
    metrics.task_executions = metrics.internal_errors = None  # type: ignore[assignment]
    work = monitor_execution("work")(lambda: "done")
    assert work() == "done"


@pytest.mark.parametrize("parentheses", [False, True])
def test_callables_without_a_name_can_be_decorated(
    metrics: Metrics, monitor_execution: ExecutionMonitor, *, parentheses: bool
) -> None:
    partial = functools.partial(int, "12")
    monitored = monitor_execution()(partial) if parentheses else monitor_execution(partial)
    assert monitored() == 12
    assert sum(executions(metrics).values()) == 1.0


def test_a_named_partial_can_be_decorated(metrics: Metrics, monitor_execution: ExecutionMonitor) -> None:
    assert monitor_execution("parse")(functools.partial(int, "12"))() == 12
    assert executions(metrics) == {("success", "parse"): 1.0}


def test_nested_monitored_functions_are_counted_each(metrics: Metrics, monitor_execution: ExecutionMonitor) -> None:
    @monitor_execution
    def inner() -> None:
        raise ValueError("inner")

    @monitor_execution
    def outer() -> str:
        try:
            inner()
        except ValueError:
            return "handled"
        return "not reached"

    assert outer() == "handled"
    assert executions(metrics) == {("error", "inner"): 1.0, ("success", "outer"): 1.0}


# What is returned to be awaited


class Later:
    """An object that can only be awaited."""

    def __init__(self, coroutine: Coroutine[Any, Any, str]) -> None:
        self.coroutine = coroutine

    def __await__(self) -> Generator[Any, Any, str]:
        return self.coroutine.__await__()


class CallableObject:
    async def __call__(self, gate: asyncio.Event) -> str:
        return await work_behind(gate)


@types.coroutine
def old_coroutine(gate: asyncio.Event) -> Generator[Any, Any, str]:
    return (yield from work_behind(gate).__await__())


async def work_behind(gate: asyncio.Event) -> str:
    """Waits for the gate; fails when it is called so."""
    await asyncio.wait_for(gate.wait(), 10)
    if getattr(gate, "fails", False):
        raise LookupError("late")
    return "done"


RETURN_AWAITABLES: dict[str, Callable[[asyncio.Event], Any]] = {
    "a coroutine": lambda gate: work_behind(gate),
    "a partial's coroutine": functools.partial(work_behind),
    "a partial of what returns a coroutine": functools.partial(lambda gate: work_behind(gate)),
    "a callable object's coroutine": CallableObject(),
    "a task": lambda gate: asyncio.ensure_future(work_behind(gate)),
    "gathered": lambda gate: asyncio.gather(work_behind(gate)),
    "a shielded task": lambda gate: asyncio.shield(work_behind(gate)),
    "a coroutine of the old kind": lambda gate: old_coroutine(gate),
}


async def is_counted(metrics: Metrics) -> None:
    """Tasks tell those who wait for them first."""
    while not executions(metrics):
        await asyncio.sleep(0)


@pytest.mark.parametrize("outcome", ["success", "error", "cancelled"])
@pytest.mark.parametrize("function", RETURN_AWAITABLES.values(), ids=RETURN_AWAITABLES.keys())
def test_what_returns_an_awaitable_is_timed_to_its_end(
    metrics: Metrics, monitor_execution: ExecutionMonitor, function: Callable[[asyncio.Event], Any], outcome: str
) -> None:
    async def main() -> None:
        gate = asyncio.Event()
        gate.fails = outcome == "error"  # type: ignore[attr-defined]

        async def call() -> Any:
            return await monitor_execution("work")(function)(gate)

        call_task = asyncio.create_task(call())
        for _ in range(5):
            await asyncio.sleep(0)
        assert executions(metrics) == {}
        if outcome == "cancelled":
            call_task.cancel()
        gate.set()
        await asyncio.wait([call_task], timeout=10)
        await asyncio.wait_for(is_counted(metrics), 10)
        if outcome == "cancelled":
            assert call_task.cancelled()
        elif outcome == "error":
            assert isinstance(call_task.exception(), LookupError)
        else:
            assert call_task.result() in ("done", ["done"])

    asyncio.run(main())
    shielded = {("success", "work"): 1.0}  # nobody cancels what is shielded, but whoever waits for it
    expected = {(outcome, "work"): 1.0}
    assert executions(metrics) in (expected, shielded) if outcome == "cancelled" else executions(metrics) == expected
    assert timed(metrics) == {("", "work"): 1}


def test_the_time_is_that_until_the_awaitable_ends(
    metrics: Metrics, monitor_execution: ExecutionMonitor, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [100.0]
    monkeypatch.setattr("ordinaut_ext_observability.metrics.execution.monotonic_seconds", lambda: now[0])

    async def later() -> None:
        now[0] += 7.5

    asyncio.run(monitor_execution("work")(lambda: later())())
    assert metrics.pipeline_seconds.labels("", "work").sum == 7.5


def test_a_task_that_is_returned_is_the_functions_own(metrics: Metrics, monitor_execution: ExecutionMonitor) -> None:
    async def main() -> None:
        task = asyncio.ensure_future(asyncio.Event().wait())
        assert monitor_execution("work")(lambda: task)() is task
        task.cancel()
        await asyncio.wait([task])
        await asyncio.wait_for(is_counted(metrics), 10)
        done: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        done.set_result("done")
        assert monitor_execution("work")(lambda: done)() is done

    asyncio.run(main())
    assert executions(metrics) == {("cancelled", "work"): 1.0, ("success", "work"): 1.0}


def test_an_exception_that_nobody_asks_a_task_for_is_still_reported(
    metrics: Metrics, monitor_execution: ExecutionMonitor
) -> None:
    reported: list[dict[str, Any]] = []

    async def fail() -> None:
        raise LookupError("nobody asks")

    async def main() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _loop, context: reported.append(context))
        task = monitor_execution("work")(lambda: asyncio.ensure_future(fail()))()
        await asyncio.wait([task])
        await asyncio.wait_for(is_counted(metrics), 10)
        del task
        gc.collect()

    asyncio.run(main())
    assert executions(metrics) == {("error", "work"): 1.0}
    assert [str(context["exception"]) for context in reported] == ["nobody asks"]


def test_a_coroutine_that_is_returned_is_one_in_every_way(
    metrics: Metrics, monitor_execution: ExecutionMonitor
) -> None:
    async def work(gate: asyncio.Event | None = None) -> str:
        if gate is not None:
            await gate.wait()
        return "done"

    monitored = monitor_execution("work")(lambda gate=None: work(gate))
    assert asyncio.iscoroutine(monitored_coroutine := monitored())
    assert asyncio.run(monitored_coroutine) == "done"
    with pytest.raises(RuntimeError, match="already awaited"):
        asyncio.run(monitored_coroutine)
    assert executions(metrics) == {("success", "work"): 1.0}

    async def as_tasks() -> list[str]:
        first = asyncio.create_task(monitored(), name="first")
        assert "work" in repr(first)
        return await asyncio.gather(first, monitored(), asyncio.wait_for(monitored(), 10))

    assert asyncio.run(as_tasks()) == ["done"] * 3
    assert executions(metrics) == {("success", "work"): 4.0}
    monitored().close()
    assert executions(metrics) == {("success", "work"): 4.0}

    async def close_begun() -> None:
        begun = monitored(asyncio.Event())
        begun.send(None)
        assert begun.cr_await is not None
        begun.close()
        begun.close()

    asyncio.run(close_begun())
    assert executions(metrics) == {("success", "work"): 4.0, ("error", "work"): 1.0}


def test_a_coroutine_that_nobody_awaits_is_not_counted_and_python_says_so_once(
    metrics: Metrics, monitor_execution: ExecutionMonitor
) -> None:
    async def forgotten() -> None: ...

    with pytest.warns(RuntimeWarning, match="forgotten.*never awaited") as warned:
        monitor_execution("work")(lambda: forgotten())()
        gc.collect()
    assert len(warned) == 1
    assert executions(metrics) == {}


def test_objects_that_can_do_more_than_be_awaited_stay_what_they_are(
    metrics: Metrics, monitor_execution: ExecutionMonitor
) -> None:
    """Connections and pools: one may also enter them."""

    class Connection(Later):
        async def __aenter__(self) -> Self:
            return self

        async def __aexit__(self, *_: object) -> None: ...

    class Job(Later):
        def cancel(self) -> None: ...

    for kind in (Later, Connection, Job):
        value = kind(work_behind(asyncio.Event()))
        assert monitor_execution("work")(lambda value=value: value)() is value
        value.coroutine.close()
    assert executions(metrics) == {("success", "work"): 3.0}


# What is no function


@pytest.mark.parametrize("parentheses", [False, True])
@pytest.mark.parametrize("kind", [classmethod, staticmethod])
def test_methods_made_before_are_refused_where_they_are_decorated(
    monitor_execution: ExecutionMonitor, kind: Callable[[Any], Any], *, parentheses: bool
) -> None:
    decorate = monitor_execution("named") if parentheses else monitor_execution
    with pytest.raises(TypeError, match=f"write it below @{kind.__name__}"):

        class Worker:
            @decorate
            @kind
            def run(cls: Any) -> None: ...  # type: ignore[misc] # noqa: N805


@pytest.mark.parametrize("wrong", [5, 1.5, b"name", ["name"], object(), property(lambda self: None), Exception])
def test_what_is_neither_a_name_nor_a_function_is_refused_where_it_stands(
    monitor_execution: ExecutionMonitor, wrong: Any
) -> None:
    for decorate in (monitor_execution, monitor_execution("named"), monitor_execution()):
        with pytest.raises(TypeError, match="monitor_execution takes a function"):
            decorate(wrong)
    with pytest.raises(TypeError, match="monitor_execution takes a function"):
        monitor_execution("named")(None)  # type: ignore[type-var]
