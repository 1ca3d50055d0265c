"""The logger that structlog's events end in: it makes records that name the code that logged."""

from __future__ import annotations

import logging
import sys
from types import FrameType
from typing import Any

from ordinaut_ext_observability.logs.caller import calling_frame, exception_info

_LEVELS = {
    "debug": logging.DEBUG,
    "warn": logging.WARNING,
    "warning": logging.WARNING,
    "err": logging.ERROR,
    "error": logging.ERROR,
    "exception": logging.ERROR,
    "failure": logging.ERROR,
    "critical": logging.CRITICAL,
    "fatal": logging.CRITICAL,
}

_BETWEEN = ("structlog.", "asyncio.", f"{__package__}.")


class RecordLogger:
    """Stands at the end of structlog's processors: makes a record that names the code that logged."""

    def __init__(self, logger: logging.Logger) -> None:
        self._logger = logger

    def __getattr__(self, name: str) -> Any:
        """A method per level; everything else is the standard library's logger's."""
        if name in ("info", "msg", "log") or name in _LEVELS:
            level = _LEVELS.get(name, logging.INFO)
            return lambda **arguments: self._log(level, **arguments)
        return getattr(self._logger, name)

    def _log(
        self,
        level: int,
        *,
        msg: object,
        args: tuple[object, ...] = (),
        exc_info: Any = None,
        exc_text: str | None = None,
        stack: str | None = None,
        extra: dict[str, Any] | None = None,
    ) -> None:
        logger = self._logger
        if not logger.isEnabledFor(level):
            return
        frame = _calling_frame()
        code = frame.f_code
        record = logger.makeRecord(
            logger.name,
            level,
            code.co_filename,
            frame.f_lineno,
            msg,
            args,
            exception_info(exc_info),
            code.co_name,
            extra,
            stack,
        )
        record.exc_text = exc_text
        logger.handle(record)


def make_logger(*names: Any) -> RecordLogger:
    """Make a logger as structlog's own factory does: under the name given, else that of the calling module."""
    name = names[0] if names and isinstance(names[0], str) else _calling_frame().f_globals.get("__name__", "structlog")
    return RecordLogger(logging.getLogger(name))


def _calling_frame() -> FrameType:
    """The frame of the code that logged.

    structlog's asynchronous methods log in a thread of a pool, and remember the frame that awaits them; where that is
    asyncio's, which runs them as a task, the code that runs asyncio is named.
    """
    frame = sys._getframe(1)  # noqa: SLF001 - as the standard library finds a caller
    awaiting = getattr(sys.modules["structlog"].contextvars, "_ASYNC_CALLING_STACK", None)
    return calling_frame(frame if awaiting is None else awaiting.get(frame), _BETWEEN)


def format_stack() -> str:
    """The stack of the code that logged, as the standard library writes it."""
    import traceback

    lines = "".join(traceback.format_stack(_calling_frame()))
    return f"Stack (most recent call last):\n{lines.rstrip()}"
