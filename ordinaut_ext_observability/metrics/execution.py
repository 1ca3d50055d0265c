"""`monitor_execution`: count and time the runs of a function; and `within`, which puts a block around every call.

A call that returns a coroutine or a future ends when that ends; whoever gets it can do with it what he could before.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Coroutine, Generator
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar, cast, overload

from ordinaut_ext_observability.background.clock import monotonic_seconds

if TYPE_CHECKING:
    from ordinaut_ext_observability.metrics.declarations import Metrics

FunctionT = TypeVar("FunctionT", bound=Callable[..., Any])


def within(
    decorator: str,
    function: FunctionT,
    make_block: Callable[[tuple[Any, ...], dict[str, Any]], AbstractContextManager[Any]],
) -> FunctionT:
    """The function, each call of it inside a block made for its arguments. Results and exceptions pass unchanged.

    Raises TypeError, which names the `decorator`, where it is no function, or a generator, whose run has no single end.
    """
    import inspect  # takes a fifth of the import of the package that the host imports

    if isinstance(function, (classmethod, staticmethod)):
        raise TypeError(f"{decorator} takes the function itself: write it below @{type(function).__name__}")
    if not callable(function) or isinstance(function, type):  # a function in a class's place is no class any more
        raise TypeError(f"{decorator} takes a function, not {function!r}")
    called_by = (function, type(function).__call__)  # objects may be called, too
    if any(inspect.isgeneratorfunction(code) or inspect.isasyncgenfunction(code) for code in called_by):
        raise TypeError(f"{decorator} takes functions and coroutine functions, {function!r} is a generator")

    if inspect.iscoroutinefunction(function):

        @functools.wraps(function)
        async def called(*args: Any, **kwargs: Any) -> Any:
            with make_block(args, kwargs):
                return await function(*args, **kwargs)

    else:

        @functools.wraps(function)
        def called(*args: Any, **kwargs: Any) -> Any:
            with ExitStack() as block:
                block.enter_context(make_block(args, kwargs))
                result = function(*args, **kwargs)
                return _until_end(result, block) if inspect.isawaitable(result) else result

    return cast("FunctionT", called)


def _until_end(result: Any, block: ExitStack) -> Any:
    """Keep the block open until a coroutine or a future ends; returns the result, or an object that stands for it."""
    import asyncio

    if asyncio.isfuture(result):
        _leave_with_future(block.pop_all(), result)
        return result
    if all(hasattr(type(result), name) for name in ("send", "throw", "close")):
        return _Coroutine(result, block.pop_all())
    return result  # a connection or a pool that one may also await stays what it is: the block ends with the call


def _leave(block: ExitStack, error: BaseException) -> None:
    block.__exit__(type(error), error, error.__traceback__)


def _leave_with_future(block: ExitStack, future: Any) -> None:
    """End the block when the future is done; now, if it is."""
    import asyncio

    if not future.done():
        future.add_done_callback(lambda done: _leave_with_future(block, done))
    elif future.cancelled():
        _leave(block, asyncio.CancelledError())
    elif (error := getattr(future, "_exception", None)) is not None:
        _leave(block, error)  # its public method would tell asyncio that somebody has seen it
    else:
        block.close()


class _Coroutine(Coroutine[Any, Any, Any]):
    """Stands for a coroutine; the end of that is the end of a block, which has but one."""

    def __init__(self, coroutine: Any, block: ExitStack) -> None:
        self._coroutine = coroutine
        self._block = block
        self._started = False

    def send(self, value: Any) -> Any:
        return self._step(self._coroutine.send, value)

    def throw(self, *error: Any) -> Any:
        return self._step(self._coroutine.throw, *error)

    def close(self) -> None:
        self._coroutine.close()
        if self._started:
            _leave(self._block, GeneratorExit())

    def __getattr__(self, name: str) -> Any:
        return getattr(self._coroutine, name)

    def __await__(self) -> Generator[Any, Any, Any]:
        return cast("Generator[Any, Any, Any]", self)

    def __iter__(self) -> Any:
        return self

    def __next__(self) -> Any:
        return self.send(None)

    def _step(self, step: Callable[..., Any], *arguments: Any) -> Any:
        self._started = True
        try:
            return step(*arguments)
        except StopIteration:
            self._block.close()
            raise
        except BaseException as error:
            _leave(self._block, error)
            raise


class ExecutionMonitor:
    """Makes the decorator; the metrics are looked up at each call, since functions are decorated at import."""

    def __init__(self, metrics: Callable[[], Metrics | None]) -> None:
        """`metrics` returns None where measuring is off; it is called once per run and must be cheap."""
        self._metrics = metrics

    @overload
    def __call__(self, metric_name: FunctionT) -> FunctionT: ...
    @overload
    def __call__(self, metric_name: str | None = None) -> Callable[[FunctionT], FunctionT]: ...

    def __call__(self, metric_name: FunctionT | str | None = None) -> FunctionT | Callable[[FunctionT], FunctionT]:
        """Decorate a function: `@monitor_execution`, `@monitor_execution()` or `@monitor_execution("nightly")`.

        Each run is counted in `orchestrator_task_executions_total` and timed in
        `orchestrator_pipeline_duration_seconds`, under the given name, else the function's. An argument called
        `task_id`, by keyword or by position, becomes that label. Results and exceptions pass unchanged. A function that
        returns something to be awaited is timed to the end of that. Raises TypeError where what is decorated is no
        function, or a generator, whose run has no single end.
        """
        if metric_name is None or isinstance(metric_name, str):
            return lambda function: self._decorate(function, metric_name or _name_of(function))
        return self._decorate(metric_name, _name_of(metric_name))

    def _decorate(self, function: FunctionT, name: str) -> FunctionT:
        position = _position_of_task_id(function)
        return within(
            "monitor_execution",
            function,
            lambda args, kwargs: _Execution(self._metrics, name, _task_id(args, kwargs, position)),
        )


@dataclass(slots=True)
class _Execution:
    """A block that is one run."""

    metrics: Callable[[], Metrics | None]
    name: str
    task_id: str
    started: float = 0.0

    def __enter__(self) -> None:
        self.started = monotonic_seconds()

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        seconds = monotonic_seconds() - self.started
        metrics = None
        try:
            metrics = self.metrics()
            if metrics is not None:
                metrics.task_executions.labels(_status(kind), self.name).inc()
                metrics.pipeline_seconds.labels(self.task_id, self.name).observe(seconds)
        except Exception:  # noqa: BLE001 - a run must not fail because it could not be counted
            if metrics is not None:
                metrics.count_internal_error("monitor_execution")


def _name_of(function: Callable[..., Any]) -> str:
    while isinstance(function, functools.partial):
        function = function.func
    return getattr(function, "__name__", type(function).__name__)


def _status(kind: type[BaseException] | None) -> str:
    if kind is None:
        return "success"
    import asyncio

    return "cancelled" if issubclass(kind, asyncio.CancelledError) else "error"


def _position_of_task_id(function: Callable[..., Any]) -> int | None:
    import inspect

    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return None
    positional = [each.name for each in parameters if each.kind <= each.POSITIONAL_OR_KEYWORD]
    return positional.index("task_id") if "task_id" in positional else None


def _task_id(args: tuple[Any, ...], kwargs: dict[str, Any], position: int | None) -> str:
    """The task id as text; empty where the call has none, or one that cannot be printed."""
    task_id = kwargs.get("task_id")
    if task_id is None and position is not None and position < len(args):
        task_id = args[position]
    try:
        return "" if task_id is None else str(task_id)
    except Exception:  # noqa: BLE001 - a caller's __str__ must not fail the caller's run
        return ""
