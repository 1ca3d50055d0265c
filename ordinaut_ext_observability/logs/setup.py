"""Putting the JSON handler where records come from, and taking it away again."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from ordinaut_ext_observability.logs.records import JsonHandler
from ordinaut_ext_observability.logs.structlog_bridge import give_back_structlog, take_structlog
from ordinaut_ext_observability.logs.writer import LogWriter

LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")

# uvicorn gives these loggers handlers of their own.
_UVICORN_ACCESS = "uvicorn.access"
_UVICORN_LOGGERS = ("uvicorn", "uvicorn.error", "uvicorn.asgi", _UVICORN_ACCESS)


_LoggerState = tuple[logging.Logger, list[logging.Handler], int, bool]


def _state(logger: logging.Logger) -> _LoggerState:
    return logger, list(logger.handlers), logger.level, logger.propagate


def _put_back(states: list[_LoggerState]) -> None:
    """Make these loggers what they were, and forget how that was."""
    while states:
        logger, handlers, level, propagate = states.pop()
        logger.handlers[:], logger.propagate = handlers, propagate
        logger.setLevel(level)


class LoggingSetup:
    """The process's logging as far as it is ours. Nothing is touched until a method is called."""

    def __init__(self, writer: LogWriter, level: str = "INFO", *, replaces_access_log: bool = True) -> None:
        """`level` is one of `LEVELS`; `replaces_access_log`: uvicorn's access lines end, since ours say more."""
        self._replaces_access_log = replaces_access_log
        self.handler = JsonHandler(writer)
        self._nowhere = logging.NullHandler()
        self._level = level
        self._lock = threading.RLock()
        self.lifted: Callable[[], AbstractContextManager[None]] = nullcontext
        """Makes a block in which loggers have the levels that are not changed for a while."""
        self._own: list[_LoggerState] = []
        self._taken: list[_LoggerState] = []
        self._structlog_before: dict[str, Any] | None = None

    def get_logger(self, name: str) -> logging.Logger:
        """A standard library logger whose records become JSON lines.

        Once `configure` was called that is any logger; before, this one gets a handler of its own and passes nothing
        on, so that no line is written twice.
        """
        logger = logging.getLogger(name)
        with self.lifted(), self._lock:
            if not self._taken and not any(isinstance(handler, JsonHandler) for handler in logger.handlers):
                self._own.append(_state(logger))
                logger.addHandler(self.handler)
                logger.propagate = False
                if logger.level == logging.NOTSET:
                    logger.setLevel(self._level)
        return logger

    def configure(self, level: str | None = None) -> None:
        """Take the records of the root logger, of uvicorn and of structlog, again where something else has taken them.

        Raises ValueError where the level is not one of `LEVELS`, in any case.
        """
        if level is not None and level.upper() not in LEVELS:
            raise ValueError(f"{level!r} is not a log level; there are {', '.join(LEVELS)}")
        with self.lifted(), self._lock:
            if not self._taken:
                _put_back(self._own)
                self._taken = [_state(logging.getLogger(name)) for name in (*_UVICORN_LOGGERS, None)]
                _configured.append(self)
            for name in _UVICORN_LOGGERS:
                ends = name == _UVICORN_ACCESS and self._replaces_access_log
                logger = logging.getLogger(name)
                # Without any handler the standard library would print warnings itself.
                logger.handlers[:] = [self._nowhere] if ends else []
                logger.propagate = not ends
            root = logging.getLogger()
            root.handlers[:] = [self.handler]
            root.setLevel((level or self._level).upper())
            self._structlog_before = take_structlog(self._structlog_before)

    def restore(self) -> None:
        """Put every logger back as it was before `configure` and `get_logger`. Safe without either."""
        with self.lifted(), self._lock:
            if self in _configured:
                above = _configured[_configured.index(self) + 1 :]
                if above:  # was configured over this one: puts back, in the end, what this one would have
                    above[0]._taken = self._taken  # noqa: SLF001 - another of this class
                    above[0]._structlog_before = self._structlog_before  # noqa: SLF001
                else:
                    _put_back(self._taken)
                    give_back_structlog(self._structlog_before)
                self._taken, self._structlog_before = [], None
                _configured.remove(self)
            _put_back(self._own)


# Those that hold the process's one root logger, each configured over the one before.
_configured: list[LoggingSetup] = []
