"""Loggers with keyword fields, the host's domain events, and its context functions.

Lines have the form of all our lines, through standard library loggers of the same names.
"""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any, NamedTuple, TypeVar

from ordinaut_ext_observability.compat.context import (
    clear_request_context,
    generate_request_id,
    generate_run_id,
    generate_step_id,
    get_request_context,
    restoring_context,
    set_request_context,
)
from ordinaut_ext_observability.compat.guard import count_failure
from ordinaut_ext_observability.compat.work import begin_work, end_work
from ordinaut_ext_observability.correlation.context import work_ids
from ordinaut_ext_observability.logs.caller import calling_frame, exception_info
from ordinaut_ext_observability.metrics.wrapping import within

__all__ = [
    "StructuredLogger",
    "api_logger",
    "clear_request_context",
    "generate_request_id",
    "generate_run_id",
    "generate_step_id",
    "get_logger",
    "get_request_context",
    "log_function_call",
    "log_with_context",
    "pipeline_logger",
    "scheduler_logger",
    "set_request_context",
    "track_http_requests",
    "worker_logger",
]

FunctionT = TypeVar("FunctionT", bound=Callable[..., Any])

# Names a record has: fields so called get the suffix `_`.
_RECORD_FIELDS = frozenset(vars(logging.LogRecord("", 0, "", 0, "", (), None))) | {"message", "asctime"}

_BETWEEN = (f"{__package__}.", f"{within.__module__}.", "contextlib.")


class _Event(NamedTuple):
    """A domain event: its level, its message and its fields in the order in which they may be given."""

    level: int
    message: str
    fields: tuple[str, ...]


_EVENTS = {
    "api_request": _Event(logging.INFO, "API request", ("method", "path", "status_code", "duration_ms", "agent_id")),
    "task_created": _Event(logging.INFO, "Task created", ("task_id", "agent_id", "schedule_kind", "title")),
    "task_started": _Event(logging.INFO, "Task started", ("task_id", "run_id", "agent_id", "attempt")),
    "task_completed": _Event(logging.INFO, "Task completed", ("task_id", "run_id", "success", "duration_ms")),
    "pipeline_step_started": _Event(logging.INFO, "Pipeline step started", ("step_id", "tool_address", "attempt")),
    "pipeline_step_completed": _Event(
        logging.INFO, "Pipeline step completed", ("step_id", "tool_address", "success", "duration_ms")
    ),
    "external_tool_call": _Event(
        logging.INFO, "External tool call", ("tool_address", "method", "status_code", "duration_ms", "url")
    ),
    "worker_heartbeat": _Event(logging.DEBUG, "Worker heartbeat", ("worker_id", "queue_depth", "active_leases")),
    "scheduler_tick": _Event(logging.INFO, "Scheduler tick", ("jobs_created", "lag_seconds")),
    "lease_acquired": _Event(logging.DEBUG, "Lease acquired", ("worker_id", "task_id", "lease_duration_seconds")),
    "lease_released": _Event(logging.DEBUG, "Lease released", ("worker_id", "task_id", "duration_ms")),
    "security_event": _Event(logging.WARNING, "Security event", ("security_event_type", "agent_id", "details")),
    "performance_alert": _Event(
        logging.WARNING, "Performance alert", ("metric_name", "current_value", "threshold", "severity")
    ),
}


def _level_of(name: str, event: _Event, fields: dict[str, object]) -> int:
    if name == "api_request" and (not fields.get("status_code") or _access_line_is_written()):
        return logging.DEBUG
    return event.level if fields.get("success", True) else logging.ERROR


class StructuredLogger:
    """A logger whose calls take any keyword fields. No call raises."""

    def __init__(self, name: str, level: int | None = None) -> None:
        """Without a level that of `LOG_LEVEL` holds. The standard library's logger is made with the first call."""
        self.name = name
        self._level = level
        self._logger: logging.Logger | None = None

    @property
    def logger(self) -> logging.Logger:
        """The standard library's logger behind this one."""
        if self._logger is None:
            logger = get_logger(self.name)
            if self._level is not None:
                with suppress(ValueError, TypeError):  # a level that there is not: that of `LOG_LEVEL` stays
                    logger.setLevel(self._level)
            self._logger = logger
        return self._logger

    def debug(self, message: object = "", /, *args: object, **fields: object) -> None:
        self._log(logging.DEBUG, message, fields, args)

    def info(self, message: object = "", /, *args: object, **fields: object) -> None:
        self._log(logging.INFO, message, fields, args)

    def warning(self, message: object = "", /, *args: object, **fields: object) -> None:
        self._log(logging.WARNING, message, fields, args)

    def error(self, message: object = "", /, *args: object, **fields: object) -> None:
        self._log(logging.ERROR, message, fields, args)

    def critical(self, message: object = "", /, *args: object, **fields: object) -> None:
        self._log(logging.CRITICAL, message, fields, args)

    def exception(self, message: object = "", /, *args: object, **fields: object) -> None:
        """An error with the traceback of the exception being handled."""
        self._log(logging.ERROR, message, {"exc_info": True, **fields}, args)

    def api_request(self, /, *args: object, **fields: object) -> None:
        """The host says this at a request's start (status 0) and its end; where we serve, the access line says it."""
        self._event("api_request", args, fields)

    def task_created(self, /, *args: object, **fields: object) -> None:
        self._event("task_created", args, fields)

    def task_started(self, /, *args: object, **fields: object) -> None:
        self._event("task_started", args, fields)

    def task_completed(self, /, *args: object, **fields: object) -> None:
        self._event("task_completed", args, fields)

    def pipeline_step_started(self, /, *args: object, **fields: object) -> None:
        self._event("pipeline_step_started", args, fields)

    def pipeline_step_completed(self, /, *args: object, **fields: object) -> None:
        self._event("pipeline_step_completed", args, fields)

    def external_tool_call(self, /, *args: object, **fields: object) -> None:
        self._event("external_tool_call", args, fields)

    def worker_heartbeat(self, /, *args: object, **fields: object) -> None:
        """The worker is between items: the ids of the last one end."""
        end_work()
        self._event("worker_heartbeat", args, fields)

    def scheduler_tick(self, /, *args: object, **fields: object) -> None:
        self._event("scheduler_tick", args, fields)

    def lease_acquired(self, /, *args: object, **fields: object) -> None:
        """The worker begins an item: from here on its lines carry the item's ids."""
        named = dict(zip(_EVENTS["lease_acquired"].fields, args, strict=False)) | fields
        if named.get("task_id"):
            begin_work(named.get("worker_id", ""), named["task_id"])
        self._event("lease_acquired", args, fields)

    def lease_released(self, /, *args: object, **fields: object) -> None:
        self._event("lease_released", args, fields)

    def security_event(self, /, *args: object, **fields: object) -> None:
        """What happened is the first argument, or `event_type`; the line's own type is `security_event`."""
        if "event_type" in fields:
            fields["security_event_type"] = fields.pop("event_type")
        self._event("security_event", args, fields)

    def performance_alert(self, /, *args: object, **fields: object) -> None:
        self._event("performance_alert", args, fields)

    def _event(self, name: str, args: tuple[object, ...], fields: dict[str, object]) -> None:
        """A domain event: `args` are its fields in their order."""
        try:
            event = _EVENTS[name]
            named = dict(zip(event.fields, args, strict=False))
            if len(args) > len(event.fields):
                named["further"] = args[len(event.fields) :]
            named.update(fields)
            self._log(_level_of(name, event, named), event.message, {"event_type": name, **named})
        except Exception:  # noqa: BLE001 - a log call must not fail its caller
            count_failure()

    def _log(self, level: int, message: object, fields: dict[str, object], args: tuple[object, ...] = ()) -> None:
        try:
            logger = self.logger
            if not logger.isEnabledFor(level):
                return
            exc_info = exception_info(fields.pop("exc_info", None))
            work = work_ids.get()
            extra = {
                f"{name}_" if name in _RECORD_FIELDS else name: value
                for name, value in fields.items()
                # An id that is on the line already is not said twice.
                if not (name in work and str(value) == work[name])
            }
            frame = calling_frame(sys._getframe(1), _BETWEEN)  # noqa: SLF001 - as the standard library finds a caller
            code = frame.f_code
            logger.handle(
                logger.makeRecord(
                    logger.name,
                    level,
                    code.co_filename,
                    frame.f_lineno,
                    message,
                    args,
                    exc_info,
                    code.co_name,
                    extra,
                )
            )
        except Exception:  # noqa: BLE001 - a log call must not fail its caller
            count_failure()


def get_logger(name: str) -> logging.Logger:
    """A standard library logger that writes JSON lines; with `ORDINAUT_OBS_DISABLED`, at once and without a thread."""
    from ordinaut_ext_observability.runtime.current import current_runtime
    from ordinaut_ext_observability.runtime.current import get_logger as get

    logger = get(name)
    if current_runtime().settings.general.disabled and not logger.handlers:
        from ordinaut_ext_observability.logs.formatter import JsonFormatter

        handler = logging.StreamHandler()
        handler.setFormatter(JsonFormatter())
        logger.addHandler(handler)
        logger.setLevel(current_runtime().settings.logs.level)
        logger.propagate = False
    return logger


def log_function_call(logger: StructuredLogger | None = None, level: int = logging.DEBUG) -> Callable[[Any], Any]:
    """Decorator factory: log how each call of the function ended, at that level, a failure as ERROR.

    The ids set during a call are gone when it ends: the host sets those of a task and never takes them back.
    """
    name = "log_function_call"
    if logger is not None and not hasattr(logger, "info"):
        raise TypeError(f"{name} takes a logger or nothing, not {logger!r}: write @{name}()")
    log = logger if isinstance(logger, StructuredLogger) else StructuredLogger("orchestrator")

    def decorate(function: FunctionT) -> FunctionT:
        called = getattr(function, "__name__", type(function).__name__)
        logged = within(name, function, lambda _args, _kwargs: _LoggedCall(log, level, called))
        return restoring_context(logged, name)

    return decorate


class _LoggedCall:
    """A block whose end is logged, and how long it took."""

    def __init__(self, log: StructuredLogger, level: int, called: str) -> None:
        self._log = log
        self._level = level
        self._called = called

    def __enter__(self) -> None:
        self._started = time.perf_counter()

    def __exit__(self, _kind: object, error: BaseException | None, _traceback: object) -> None:
        fields = {"called": self._called, "duration_ms": round((time.perf_counter() - self._started) * 1000, 3)}
        if error is None:
            self._log._log(self._level, "Function call completed", fields)  # noqa: SLF001 - of this module
        else:
            self._log._log(logging.ERROR, "Function call failed", {**fields, "exc_info": error})  # noqa: SLF001


def log_with_context(function: FunctionT) -> FunctionT:
    """Decorator: the ids set during a call of the function are gone when it ends."""
    return restoring_context(function)


def track_http_requests(app: Any) -> Any:
    """The application itself: the extension measures every request, this adds nothing."""
    return app


def _access_line_is_written() -> bool:
    from ordinaut_ext_observability.runtime.current import current_runtime

    runtime = current_runtime()
    return runtime.mounted and runtime.settings.logs.access_log


api_logger = StructuredLogger("orchestrator.api")
worker_logger = StructuredLogger("orchestrator.worker")
scheduler_logger = StructuredLogger("orchestrator.scheduler")
pipeline_logger = StructuredLogger("orchestrator.pipeline")


def __getattr__(name: str) -> Any:
    if name == "RequestContext":
        from ordinaut_ext_observability.logs.request_context import RequestContext

        return RequestContext
    if name == "StructuredFormatter":
        from ordinaut_ext_observability.logs.formatter import JsonFormatter

        return JsonFormatter
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
