"""Loggers with keyword fields, the host's domain events, and its context functions.

Lines have the form of all our lines, through standard library loggers of the same names.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from functools import partial
from types import coroutine
from typing import Any, TypeVar

from ordinaut_ext_observability.compat.context import (
    RestoredIds,
    begin_work,
    clear_request_context,
    generate_request_id,
    generate_run_id,
    generate_step_id,
    get_request_context,
    set_request_context,
)
from ordinaut_ext_observability.compat.guard import TimedBlock, never_raises, runtime
from ordinaut_ext_observability.compat.tracing import STEP, report, step_span
from ordinaut_ext_observability.correlation.context import RequestContext, work_ids
from ordinaut_ext_observability.logs.caller import calling_frame, log_record
from ordinaut_ext_observability.logs.event_types import HOST_EVENTS, Event
from ordinaut_ext_observability.metrics.execution import within

__all__ = [
    "RequestContext",
    "StructuredLogger",
    "api_logger",
    "clear_request_context",
    "generate_request_id",
    "generate_run_id",
    "generate_step_id",
    "get_logger",
    "get_request_context",
    "log_function_call",
    "log_security_event",
    "log_with_context",
    "pipeline_logger",
    "scheduler_logger",
    "set_request_context",
    "track_http_requests",
    "worker_logger",
]

_done: Callable[[], Awaitable[None]] = coroutine(lambda: (_ for _ in ()))  # with nothing to wait for

FunctionT = TypeVar("FunctionT", bound=Callable[..., Any])

_BETWEEN = (f"{__package__}.", f"{within.__module__}.", "contextlib.")


def _at(level: int, *, with_exception: bool = False) -> Any:
    """A method that logs at this level."""

    def log(self: StructuredLogger, message: object = "", /, *args: object, **fields: object) -> None:
        if with_exception:
            fields.setdefault("exc_info", True)
        self._log(level, message, fields, args)

    return log


class StructuredLogger:
    """A logger whose calls take any keyword fields, with a method for each of `HOST_EVENTS`. No call raises."""

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
                with suppress(ValueError, TypeError):  # a level that there is not: that of `LOG_LEVEL` stays
                    self._logger.setLevel(self._level)
        return self._logger

    debug = _at(logging.DEBUG)
    info = _at(logging.INFO)
    warning = _at(logging.WARNING)
    error = _at(logging.ERROR)
    critical = _at(logging.CRITICAL)
    exception = _at(logging.ERROR, with_exception=True)

    def __getattr__(self, name: str) -> Any:
        """The method for an event of the host's: takes its fields in their order or by name, and any others."""
        if name not in HOST_EVENTS:
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        return partial(self._emit, HOST_EVENTS[name])

    @never_raises
    def _emit(self, event: Event[...], /, *args: object, **fields: object) -> None:
        named = {**dict(zip(event.fields, args, strict=False)), **fields} if args else fields
        level: int = getattr(logging, event.level)
        if event.name == "worker_heartbeat":  # the worker is between items: the ids of the last one end
            clear_request_context()
        elif event.name == "lease_acquired" and named.get("task_id"):  # from here on its lines carry the item's ids
            begin_work(named.get("worker_id", ""), named["task_id"])
        elif event.name == "security_event" and "event_type" in named:  # the line's own type is `security_event`
            named["security_event_type"] = named.pop("event_type")
        elif event.name == "pipeline_step_started":
            report(STEP, step_span(named.get("step_id"), named.get("tool_address")))
        # The host says this at a request's start (status 0) and its end; where we serve, the access line says it.
        if event.name == "api_request" and (not named.get("status_code") or _access_line_is_written()):
            level = logging.DEBUG
        elif not named.get("success", True):
            level = logging.ERROR
        self._log(level, event.message, {"event_type": event.name, **named})
        if event.name == "pipeline_step_completed":
            report(STEP, None, None if named.get("success", True) else "failed")
        if event.security:
            runtime().logs.audit.record(event.name, named)

    @never_raises
    def _log(self, level: int, message: object, fields: dict[str, object], args: tuple[object, ...] = ()) -> None:
        logger = self.logger
        if not logger.isEnabledFor(level) and fields.get("event_type") != "security_event":
            return
        exc_info = fields.pop("exc_info", None)
        work = work_ids.get()
        # An id that is on the line already is not said twice.
        extra = {name: value for name, value in fields.items() if not (name in work and str(value) == work[name])}
        frame = calling_frame(sys._getframe(1), _BETWEEN)  # noqa: SLF001 - as the standard library finds a caller
        log_record(logger, level, frame, message, args, extra, exc_info=exc_info)


def get_logger(name: str) -> logging.Logger:
    """A standard library logger that writes JSON lines; with `ORDINAUT_OBS_DISABLED`, at once and without a thread."""
    from ordinaut_ext_observability.runtime import current

    logger, settings = current.get_logger(name), current.current_runtime().settings
    if settings.general.disabled and not logger.handlers:
        from ordinaut_ext_observability.logs.records import JsonFormatter

        handler = logging.StreamHandler()
        handler.setFormatter(JsonFormatter())
        logger.addHandler(handler)
        logger.setLevel(settings.logs.level)
        logger.propagate = False
    return logger


def log_function_call(logger: StructuredLogger | None = None, level: int = logging.DEBUG) -> Callable[[Any], Any]:
    """Decorator factory: log how each call of the function ended, at that level, a failure as ERROR.

    The ids set during a call are gone when it ends: the host sets those of a task and never takes them back.
    """
    if logger is not None and not hasattr(logger, "info"):
        raise TypeError(f"log_function_call takes a logger or nothing, not {logger!r}: write @log_function_call()")
    log = logger if isinstance(logger, StructuredLogger) else StructuredLogger("orchestrator")

    def decorate(function: FunctionT) -> FunctionT:
        called = getattr(function, "__name__", type(function).__name__)

        def ended(seconds: float, error: BaseException | None) -> None:
            fields = {"called": called, "duration_ms": round(seconds * 1000, 3)}
            if error is None:
                log._log(level, "Function call completed", fields)  # noqa: SLF001 - of this module
            else:
                log.error("Function call failed", **fields, exc_info=error)

        return log_with_context(within("log_function_call", function, lambda *_: TimedBlock(ended)))

    return decorate


def log_security_event(
    event_type: str, result: str, context: Mapping[str, object] | None = None, *, severity: str = "medium"
) -> Awaitable[None]:
    """Count a security event, log it whatever the level, keep it in the audit: awaited or not. Never raises::

    await log_security_event("authentication_failure", "blocked", {"ip_address": "192.0.2.7"})
    """
    from ordinaut_ext_observability.compat.metrics import orchestrator_metrics

    orchestrator_metrics.record_security_event(event_type, severity, result, context=context)
    fields = {"security_event_type": event_type, "result": result, "severity": severity, "context": context or {}}
    _security_logger._log(logging.WARNING, "Security event", {"event_type": "security_event", **fields})  # noqa: SLF001
    return _done()


def log_with_context(function: FunctionT) -> FunctionT:
    """Decorator: the ids set during a call of the function are gone when it ends."""
    return within("log_with_context", function, lambda *_: RestoredIds())


def track_http_requests(app: Any) -> Any:
    """The application itself: the extension measures every request, this adds nothing."""
    return app


def _access_line_is_written() -> bool:
    return runtime().lifecycle.mounted and runtime().settings.logs.access_log


api_logger = StructuredLogger("orchestrator.api")
worker_logger = StructuredLogger("orchestrator.worker")
scheduler_logger = StructuredLogger("orchestrator.scheduler")
pipeline_logger = StructuredLogger("orchestrator.pipeline")
_security_logger = StructuredLogger("orchestrator.security")


def __getattr__(name: str) -> Any:
    if name == "LogSanitizer":
        from ordinaut_ext_observability.scrub.text import LogSanitizer

        return LogSanitizer
    if name == "StructuredFormatter":
        from ordinaut_ext_observability.logs.records import JsonFormatter

        return JsonFormatter
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
