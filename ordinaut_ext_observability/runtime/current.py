"""The process's runtime: the one object that is process-wide."""

from __future__ import annotations

import logging
import os
import threading
from typing import Any

from ordinaut_ext_observability.correlation.context import outgoing_fields
from ordinaut_ext_observability.metrics.execution import ExecutionMonitor
from ordinaut_ext_observability.runtime.process import Runtime
from ordinaut_ext_observability.settings.load import Settings, load_settings

_current: Runtime | None = None
_current_lock = threading.Lock()
os.register_at_fork(after_in_child=_current_lock._at_fork_reinit)  # type: ignore[attr-defined]  # noqa: SLF001


def current_runtime() -> Runtime:
    """The process's runtime, made on first use: what decorated functions record into."""
    global _current  # noqa: PLW0603 - the one object that is process-wide
    if _current is None:
        with _current_lock:
            if _current is None:
                _current = Runtime(load_settings())
    return _current


def _enabled_runtime() -> Runtime | None:
    """The process's runtime; None with `ORDINAUT_OBS_DISABLED`."""
    runtime = current_runtime()
    return None if runtime.settings.general.disabled else runtime


def runtime_for_mount(settings: Settings | None = None) -> Runtime:
    """A runtime for an application: the process's own if no other application has it, else a new one.

    With settings given, the process's runtime is made with them if nothing has asked for it yet.
    """
    global _current  # noqa: PLW0603
    with _current_lock:
        if _current is not None and (_current.lifecycle.mounted or settings is not None):
            return Runtime(settings or load_settings())
        _current = _current or Runtime(settings or load_settings())
        return _current


def release(runtime: Runtime) -> None:
    """End what a runtime did for an application that is gone. The process's own remains for what else uses it."""
    try:
        runtime.stop()
        if runtime is not _current:
            with _current_lock:  # one by one: each gives back what it took of the process's logging
                runtime.logs.setup.restore()
            runtime.logs.writer.end_with_process()
    except Exception:  # noqa: BLE001 - a thread of ours writes no traceback into the host's output
        runtime.metrics.count_internal_error("stop")


def get_logger(name: str) -> logging.Logger:
    """A standard library logger that writes JSON lines; the host's own loggers stay as they are.

    With `ORDINAUT_OBS_DISABLED` the logger is that of the standard library, untouched.
    """
    runtime = _enabled_runtime()
    return logging.getLogger(name) if runtime is None else runtime.logs.setup.get_logger(name)


def configure_logging(level: str | None = None) -> None:
    """Write what reaches the root logger, and what uvicorn and structlog log, as JSON lines.

    Other loggers with handlers of their own keep them. structlog's loggers that have logged and were told to be cached
    keep their form: call this before. uvicorn's access lines end where ours are on. Calling this again sets the level,
    and takes again what something else has taken since; with `ORDINAUT_OBS_DISABLED` it does nothing.

    `level` is DEBUG, INFO, WARNING, ERROR or CRITICAL, or else raises ValueError; `LOG_LEVEL` where it is not given.
    """
    if runtime := _enabled_runtime():
        runtime.logs.setup.configure(level)


def restore_logging() -> None:
    """Put every logger back as it was before `configure_logging` and `get_logger`."""
    current_runtime().logs.setup.restore()


def instrument_connection(connection: Any) -> Any:
    """An asyncpg connection that counts and times what is done with it, and behaves as the one given.

    With `ORDINAUT_OBS_DISABLED`, the connection itself.
    """
    from ordinaut_ext_observability.db.connection import InstrumentedConnection

    runtime = _enabled_runtime()
    return connection if runtime is None else InstrumentedConnection(connection, runtime.clients.metrics())


def instrument_pool(pool: Any, name: str = "asyncpg") -> Any:
    """An asyncpg pool whose connections count, with the time that callers wait for one; `name` is its label.

    Give it what `asyncpg.create_pool` returns, before or after it is awaited. With `ORDINAUT_OBS_DISABLED`, the pool
    itself.
    """
    from ordinaut_ext_observability.db.pool import InstrumentedPool

    runtime = _enabled_runtime()
    return pool if runtime is None else InstrumentedPool(pool, runtime.clients.metrics(), name)


def instrument_client(client: Any) -> Any:
    """The httpx client given, asynchronous or not, whose requests now count, each with the time to its answer's head.

    They carry a `traceparent` unless they have one, each of a chain of redirects; else it behaves as before. Raises
    TypeError for what is no client. With `ORDINAUT_OBS_DISABLED` nothing is done.
    """
    from ordinaut_ext_observability.metrics.http_client import instrument

    if runtime := _enabled_runtime():
        instrument(client, runtime.metrics, outgoing_fields)
    return client


monitor_execution = ExecutionMonitor(lambda: None if (runtime := _enabled_runtime()) is None else runtime.metrics)
"""Decorator: count and time the runs of a function; see `ExecutionMonitor`."""
