"""Putting the JSON handler where records come from, and taking it away again."""

from __future__ import annotations

import logging
import threading
from typing import NamedTuple

from ordinaut_ext_observability.logs.records import JsonHandler
from ordinaut_ext_observability.logs.structlog_bridge import StructlogBridge
from ordinaut_ext_observability.logs.writer import LogWriter

LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")

# uvicorn gives these loggers handlers of their own.
_UVICORN_LOGGERS = ("uvicorn", "uvicorn.error", "uvicorn.asgi")
_UVICORN_ACCESS = "uvicorn.access"


class _LoggerState(NamedTuple):
    """How a logger was before we touched it."""

    logger: logging.Logger
    handlers: list[logging.Handler]
    level: int
    propagate: bool

    def put_back(self) -> None:
        self.logger.handlers[:] = self.handlers
        self.logger.setLevel(self.level)
        self.logger.propagate = self.propagate


class LoggingSetup:
    """The process's logging as far as it is ours. Nothing is touched until a method is called."""

    def __init__(self, writer: LogWriter, level: str = "INFO", *, replaces_access_log: bool = True) -> None:
        """`level` is one of `LEVELS`; `replaces_access_log`: uvicorn's access lines end, since ours say more."""
        self._replaces_access_log = replaces_access_log
        self._handler = JsonHandler(writer)
        self._nowhere = logging.NullHandler()
        self._level = level
        self._lock = threading.RLock()
        self._own: dict[str, _LoggerState] = {}
        self._taken: list[_LoggerState] = []
        self._structlog = StructlogBridge()

    def get_logger(self, name: str) -> logging.Logger:
        """A standard library logger whose records become JSON lines.

        Once `configure` was called that is any logger; before, this one gets a handler of its own and passes nothing
        on, so that no line is written twice.
        """
        logger = logging.getLogger(name)
        with self._lock:
            if not self._taken and not any(isinstance(handler, JsonHandler) for handler in logger.handlers):
                self._own.setdefault(name, _state(logger))
                logger.addHandler(self._handler)
                logger.propagate = False
                if logger.level == logging.NOTSET:
                    logger.setLevel(self._level)
        return logger

    def configure(self, level: str | None = None) -> None:
        """Take the records of the root logger, of uvicorn and of structlog.

        Calling it again sets the level, and takes them again where something else has taken them since.

        Raises ValueError where the level is not one of `LEVELS`, in any case.
        """
        if level is not None and level.upper() not in LEVELS:
            raise ValueError(f"{level!r} is not a log level; there are {', '.join(LEVELS)}")
        with self._lock:
            if not self._taken:
                self._put_back_own()
                self._taken = [_state(logging.getLogger(name)) for name in (*_UVICORN_LOGGERS, _UVICORN_ACCESS, None)]
                _configured.append(self)
            for name in _UVICORN_LOGGERS:
                _replace_handlers(logging.getLogger(name))
            # Without any handler the standard library would print warnings of lines that are to end.
            instead = (self._nowhere,) if self._replaces_access_log else ()
            _replace_handlers(logging.getLogger(_UVICORN_ACCESS), *instead)
            root = logging.getLogger()
            root.handlers[:] = [self._handler]
            self._structlog.take()
            root.setLevel((level or self._level).upper())

    def restore(self) -> None:
        """Put every logger back as it was before `configure` and `get_logger`. Safe without either."""
        with self._lock:
            if self in _configured:
                above = _configured[_configured.index(self) + 1 :]
                if above:  # was configured over this one: puts back, in the end, what this one would have
                    above[0]._taken = self._taken  # noqa: SLF001 - another of this class
                    above[0]._structlog, self._structlog = self._structlog, StructlogBridge()  # noqa: SLF001
                else:
                    for state in reversed(self._taken):
                        state.put_back()
                    self._structlog.give_back()
                self._taken = []
                _configured.remove(self)
            self._put_back_own()

    def _put_back_own(self) -> None:
        for state in self._own.values():
            state.put_back()
        self._own.clear()


# Those that hold the process's one root logger, each configured over the one before.
_configured: list[LoggingSetup] = []


def _state(logger: logging.Logger) -> _LoggerState:
    return _LoggerState(logger, list(logger.handlers), logger.level, logger.propagate)


def _replace_handlers(logger: logging.Logger, *handlers: logging.Handler) -> None:
    logger.handlers[:] = handlers
    logger.propagate = not handlers
