"""Loggers with keyword fields, the host's domain events, and its context functions.

Lines have the form of all our lines, through standard library loggers of the same names.
"""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

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
from ordinaut_ext_observability.compat.wrapping import within

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
            self._logger = get_logger(self.name)
            if self._level is not None:
                self._logger.setLevel(self._level)
        return self._logger

    def debug(self, message: object, **fields: object) -> None:
        self._log(logging.DEBUG, message, fields)

    def info(self, message: object, **fields: object) -> None:
        self._log(logging.INFO, message, fields)

    def warning(self, message: object, **fields: object) -> None:
        self._log(logging.WARNING, message, fields)

    def error(self, message: object, **fields: object) -> None:
        self._log(logging.ERROR, message, fields)

    def critical(self, message: object, **fields: object) -> None:
        self._log(logging.CRITICAL, message, fields)

    def exception(self, message: object, **fields: object) -> None:
        """An error with the traceback of the exception being handled."""
        self._log(logging.ERROR, message, {"exc_info": True, **fields})

    def api_request(self, **fields: object) -> None:
        """The host says this at a request's start (status 0) and its end; where we serve, the access line says it."""
        level = logging.DEBUG if not fields.get("status_code") or _access_line_is_written() else logging.INFO
        self._log(level, "API request", {"event_type": "api_request", **fields})

    def task_created(self, **fields: object) -> None:
        self._log(logging.INFO, "Task created", {"event_type": "task_created", **fields})

    def task_started(self, **fields: object) -> None:
        self._log(logging.INFO, "Task started", {"event_type": "task_started", **fields})

    def task_completed(self, **fields: object) -> None:
        level = logging.INFO if fields.get("success", True) else logging.ERROR
        self._log(level, "Task completed", {"event_type": "task_completed", **fields})

    def pipeline_step_started(self, **fields: object) -> None:
        self._log(logging.INFO, "Pipeline step started", {"event_type": "pipeline_step_started", **fields})

    def pipeline_step_completed(self, **fields: object) -> None:
        level = logging.INFO if fields.get("success", True) else logging.ERROR
        self._log(level, "Pipeline step completed", {"event_type": "pipeline_step_completed", **fields})

    def external_tool_call(self, **fields: object) -> None:
        self._log(logging.INFO, "External tool call", {"event_type": "external_tool_call", **fields})

    def worker_heartbeat(self, **fields: object) -> None:
        self._log(logging.DEBUG, "Worker heartbeat", {"event_type": "worker_heartbeat", **fields})

    def scheduler_tick(self, **fields: object) -> None:
        self._log(logging.INFO, "Scheduler tick", {"event_type": "scheduler_tick", **fields})

    def lease_acquired(self, **fields: object) -> None:
        self._log(logging.DEBUG, "Lease acquired", {"event_type": "lease_acquired", **fields})

    def lease_released(self, **fields: object) -> None:
        self._log(logging.DEBUG, "Lease released", {"event_type": "lease_released", **fields})

    def security_event(self, event_type: object = "", **fields: object) -> None:
        """`event_type` is what happened; the line's own is `security_event`."""
        details = {"event_type": "security_event", "security_event_type": event_type, **fields}
        self._log(logging.WARNING, "Security event", details)

    def performance_alert(self, **fields: object) -> None:
        self._log(logging.WARNING, "Performance alert", {"event_type": "performance_alert", **fields})

    def _log(self, level: int, message: object, fields: dict[str, object]) -> None:
        try:
            logger = self.logger
            if not logger.isEnabledFor(level):
                return
            exc_info = _exc_info(fields.pop("exc_info", None))
            extra = {f"{name}_" if name in _RECORD_FIELDS else name: value for name, value in fields.items()}
            code, line = _caller()
            logger.handle(
                logger.makeRecord(
                    logger.name,
                    level,
                    code.co_filename,
                    line,
                    message,
                    (),
                    exc_info,
                    code.co_name,
                    extra,
                )
            )
        except Exception:  # noqa: BLE001 - a log call must not fail its caller
            count_failure()


def get_logger(name: str) -> logging.Logger:
    """A standard library logger that writes JSON lines."""
    from ordinaut_ext_observability.runtime.current import get_logger as get

    return get(name)


def log_function_call(logger: StructuredLogger | None = None, level: int = logging.DEBUG) -> Callable[[Any], Any]:
    """Decorator: log that a call of the function began and how it ended, at that level, a failure as ERROR.

    The ids set during a call are gone when it ends: the host sets those of a task and never takes them back.
    """

    def decorate(function: FunctionT) -> FunctionT:
        log = logger if isinstance(logger, StructuredLogger) else StructuredLogger("orchestrator")
        name = getattr(function, "__name__", type(function).__name__)
        logged = within(function, lambda _args, _kwargs: _logged_call(log, level, name))
        return restoring_context(logged)

    return decorate


@contextmanager
def _logged_call(log: StructuredLogger, level: int, name: str) -> Iterator[None]:
    started = time.perf_counter()
    try:
        yield
    except BaseException as error:
        fields = {"called": name, "duration_ms": _milliseconds_since(started), "exc_info": error}
        log._log(logging.ERROR, "Function call failed", fields)  # noqa: SLF001 - of this module
        raise
    log._log(level, "Function call completed", {"called": name, "duration_ms": _milliseconds_since(started)})  # noqa: SLF001


def _milliseconds_since(started: float) -> float:
    return round((time.perf_counter() - started) * 1000, 3)


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


def _exc_info(value: object) -> Any:
    if isinstance(value, BaseException):
        return (type(value), value, value.__traceback__)
    if not value:
        return None
    current = sys.exc_info()
    return value if isinstance(value, tuple) else current if current[0] is not None else None


def _caller() -> tuple[Any, int]:
    """The code that called the logger: the first frame that is not of this package."""
    frame = sys._getframe(1)  # noqa: SLF001 - as the standard library finds a caller
    while frame.f_back is not None and frame.f_globals.get("__name__", "").startswith((__package__, "contextlib")):
        frame = frame.f_back
    return frame.f_code, frame.f_lineno


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
