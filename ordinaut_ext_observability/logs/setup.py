"""Putting the JSON handler where records come from, and taking it away again."""

from __future__ import annotations

import logging
import threading
from dataclasses import dataclass

from ordinaut_ext_observability.logs.handler import JsonHandler
from ordinaut_ext_observability.logs.structlog_bridge import StructlogBridge
from ordinaut_ext_observability.logs.writer import LogWriter

LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")

# uvicorn gives these loggers handlers of their own.
_UVICORN_LOGGERS = ("uvicorn", "uvicorn.error", "uvicorn.asgi")
_UVICORN_ACCESS = "uvicorn.access"


@dataclass(frozen=True, slots=True)
class _LoggerState:
    """How a logger was before we touched it."""

    logger: logging.Logger
    handlers: tuple[logging.Handler, ...]
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
        self._handler.owner = self
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

        Raises:
            ValueError: the level is not one of `LEVELS`, in any case.
        """
        if level is not None and level.upper() not in LEVELS:
            raise ValueError(f"{level!r} is not a log level; there are {', '.join(LEVELS)}")
        with self._lock:
            if not self._taken:
                self._remember()
            self._take_over()
            logging.getLogger().setLevel(level.upper() if level is not None else self._level)

    def restore(self) -> None:
        """Put every logger back as it was before `configure` and `get_logger`. Safe without either."""
        with self._lock:
            above = self._find_above()
            if above is not None:
                above._inherit(self)  # noqa: SLF001 - another of this class
            else:
                for state in reversed(self._taken):
                    state.put_back()
                self._structlog.give_back()
            for state in self._own.values():
                state.put_back()
            self._taken = []
            self._own.clear()

    def _remember(self) -> None:
        for state in self._own.values():
            state.put_back()
        self._own.clear()
        names = (*_UVICORN_LOGGERS, _UVICORN_ACCESS)
        self._taken = [*(_state(logging.getLogger(name)) for name in names), _state(logging.getLogger())]

    def _take_over(self) -> None:
        for name in _UVICORN_LOGGERS:
            logging.getLogger(name).handlers.clear()
            logging.getLogger(name).propagate = True
        logging.getLogger().handlers[:] = [self._handler]
        self._structlog.take()
        self._take_access_log()

    def _take_access_log(self) -> None:
        access = logging.getLogger(_UVICORN_ACCESS)
        if not self._replaces_access_log:
            access.handlers.clear()
            access.propagate = True
            return
        # Without any handler the standard library would print warnings itself.
        access.handlers[:] = [self._nowhere]
        access.propagate = False

    def _find_above(self) -> LoggingSetup | None:
        """The setup that was configured over this one and has not been restored."""
        found: LoggingSetup | None = None
        owner = _owner(logging.getLogger().handlers)
        while owner is not None and owner is not self:
            found = owner
            owner = _owner(owner._root_handlers())  # noqa: SLF001
        return found if owner is self else None

    def _root_handlers(self) -> tuple[logging.Handler, ...]:
        return self._taken[-1].handlers if self._taken else ()

    def _inherit(self, below: LoggingSetup) -> None:
        """Put back, in the end, what the setup below this one would have."""
        self._taken = below._taken
        self._structlog, below._structlog = below._structlog, StructlogBridge()


def _owner(handlers: list[logging.Handler] | tuple[logging.Handler, ...]) -> LoggingSetup | None:
    owners = [handler.owner for handler in handlers if isinstance(handler, JsonHandler)]
    return owners[0] if owners and isinstance(owners[0], LoggingSetup) else None


def _state(logger: logging.Logger) -> _LoggerState:
    return _LoggerState(logger, tuple(logger.handlers), logger.level, logger.propagate)
