"""`monitor_execution`: count and time the runs of a function."""

from __future__ import annotations

import asyncio
import functools
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar, overload

from ordinaut_ext_observability.background.clock import monotonic_seconds
from ordinaut_ext_observability.metrics.declarations import Metrics
from ordinaut_ext_observability.metrics.wrapping import within

FunctionT = TypeVar("FunctionT", bound=Callable[..., Any])


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
    return "cancelled" if issubclass(kind, asyncio.CancelledError) else "error"


def _position_of_task_id(function: Callable[..., Any]) -> int | None:
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
