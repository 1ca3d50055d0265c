"""structlog's events as records of the standard library, for as long as this is asked for.

The host's own processors and bound logger class stay; only the last processor, which renders, gives way, and with it
those that add what our line has anyway.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable
from types import FrameType
from typing import Any

from ordinaut_ext_observability.logs.formatter import RECORD_FIELDS

_TAKEN = RECORD_FIELDS | {"message", "asctime"}

# By name, since what is not used need not be imported: the time, the level, the logger, the traceback as text.
_ADD_WHAT_WE_HAVE = frozenset(
    (
        *("TimeStamper", "MaybeTimeStamper", "add_log_level", "add_log_level_number", "add_logger_name"),
        *("ExceptionRenderer", "StackInfoRenderer", "PositionalArgumentsFormatter"),
    )
)

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


class StructlogBridge:
    """Takes structlog's events, and gives structlog back as it was. It is not imported for this."""

    def __init__(self) -> None:
        self._before: dict[str, Any] | None = None

    def take(self) -> None:
        """Have events become records; nothing where the process has no structlog."""
        structlog = sys.modules.get("structlog")
        if structlog is None or self._before is not None:
            return
        self._before = structlog.get_config() if structlog.is_configured() else {}
        kept = [processor for processor in self._before.get("processors", ())[:-1] if not _adds_what_we_have(processor)]
        structlog.configure(
            processors=[*(kept or [structlog.contextvars.merge_contextvars]), _to_record_arguments],
            logger_factory=_make_logger,
            cache_logger_on_first_use=False,
        )

    def give_back(self) -> None:
        """Undo `take`. Safe without it."""
        structlog = sys.modules.get("structlog")
        before, self._before = self._before, None
        if structlog is None or before is None:
            return
        if before:
            structlog.configure(**before)
        else:
            structlog.reset_defaults()


class _RecordLogger:
    """What structlog calls in the end: makes a record that names the code that logged."""

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
        args: tuple[object, ...],
        exc_info: Any,
        stack: str | None,
        extra: dict[str, Any],
    ) -> None:
        logger = self._logger
        if not logger.isEnabledFor(level):
            return
        if exc_info and not isinstance(exc_info, tuple):
            exc_info = _exception_of(exc_info)
        code, line = _caller()
        logger.handle(
            logger.makeRecord(
                logger.name, level, code.co_filename, line, msg, args, exc_info or None, code.co_name, extra, stack
            )
        )


def _make_logger(*names: Any) -> _RecordLogger:
    """As structlog's own factory: the name given, else that of the calling module."""
    name = names[0] if names and isinstance(names[0], str) else _calling_frame().f_globals.get("__name__", "structlog")
    return _RecordLogger(logging.getLogger(name))


def _to_record_arguments(_logger: Any, _method: str, event: dict[str, Any]) -> dict[str, Any]:
    """An event as the arguments of `_RecordLogger`; names a record has get the suffix `_`."""
    arguments: dict[str, Any] = {
        "msg": event.pop("event", ""),
        "args": tuple(event.pop("positional_args", ())),
        "exc_info": event.pop("exc_info", None),
        "stack": _stack() if event.pop("stack_info", None) else None,
    }
    extra: dict[str, Any] = {}
    for name, value in event.items():
        free = name
        while free in _TAKEN or free in extra or (free != name and free in event):
            free = f"{free}_"
        extra[free] = value
    arguments["extra"] = extra
    return arguments


def _adds_what_we_have(processor: Callable[..., Any]) -> bool:
    name = getattr(processor, "__name__", None) or type(processor).__name__
    return name in _ADD_WHAT_WE_HAVE


def _exception_of(exc_info: Any) -> Any:
    if isinstance(exc_info, BaseException):
        return (type(exc_info), exc_info, exc_info.__traceback__)
    current = sys.exc_info()
    return current if current[0] is not None else None


def _calling_frame() -> FrameType:
    """The innermost frame that is neither structlog's nor ours."""
    frame: FrameType | None = sys._getframe(1)  # noqa: SLF001 - as the standard library finds a caller
    while frame is not None and frame.f_back is not None:
        module = frame.f_globals.get("__name__", "")
        if module not in (__name__, "structlog") and not module.startswith("structlog."):
            break
        frame = frame.f_back
    assert frame is not None  # noqa: S101 - there is always a frame
    return frame


def _caller() -> tuple[Any, int]:
    frame = _calling_frame()
    return frame.f_code, frame.f_lineno


def _stack() -> str:
    import traceback

    lines = "".join(traceback.format_stack(_calling_frame()))
    return f"Stack (most recent call last):\n{lines.rstrip()}"
