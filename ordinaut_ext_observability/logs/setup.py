"""Putting the JSON handler where records come from, and taking it away again."""

from __future__ import annotations

import logging
import sys
import threading
from dataclasses import dataclass
from typing import Any

from ordinaut_ext_observability.logs.handler import JsonHandler
from ordinaut_ext_observability.logs.writer import LogWriter

# uvicorn gives these loggers handlers of their own. Its access lines end here: ours say more.
_UVICORN_LOGGERS = ("uvicorn", "uvicorn.error", "uvicorn.asgi")
_UVICORN_ACCESS = "uvicorn.access"

_RECORD_FIELDS = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime"}


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

    def __init__(self, writer: LogWriter, level: str = "INFO") -> None:
        self._handler = JsonHandler(writer)
        self._level = level
        self._lock = threading.RLock()
        self._own: dict[str, _LoggerState] = {}
        self._taken: list[_LoggerState] = []
        self._structlog_before: dict[str, Any] | None = None

    def get_logger(self, name: str) -> logging.Logger:
        """A standard library logger whose records become JSON lines.

        Once `configure` was called that is any logger; before, this one gets a handler of its own and passes nothing
        on, so that no line is written twice.
        """
        logger = logging.getLogger(name)
        with self._lock:
            if not self._taken and name not in self._own and self._handler not in logger.handlers:
                self._own[name] = _state(logger)
                self._attach(logger)
        return logger

    def configure(self, level: str | None = None) -> None:
        """Take the records of the root logger, of uvicorn and of structlog. Calling it again only sets the level."""
        with self._lock:
            if level is not None:
                self._level = level
            if not self._taken:
                self._take_over()
            logging.getLogger().setLevel(self._level)

    def restore(self) -> None:
        """Put every logger back as it was before `configure` and `get_logger`. Safe without either."""
        with self._lock:
            for state in (*reversed(self._taken), *self._own.values()):
                state.put_back()
            self._taken.clear()
            self._own.clear()
            self._restore_structlog()

    def _take_over(self) -> None:
        for state in self._own.values():
            state.put_back()
        self._own.clear()
        root = logging.getLogger()
        self._taken = [_state(logging.getLogger(name)) for name in (*_UVICORN_LOGGERS, _UVICORN_ACCESS)]
        self._taken.append(_state(root))
        for name in _UVICORN_LOGGERS:
            logging.getLogger(name).handlers.clear()
            logging.getLogger(name).propagate = True
        access = logging.getLogger(_UVICORN_ACCESS)
        access.handlers.clear()
        access.propagate = False
        root.handlers[:] = [self._handler]
        self._take_structlog()

    def _attach(self, logger: logging.Logger) -> None:
        logger.addHandler(self._handler)
        logger.propagate = False
        if logger.level == logging.NOTSET:
            logger.setLevel(self._level)

    def _take_structlog(self) -> None:
        """Only where the process uses it: it is not imported for this."""
        structlog = sys.modules.get("structlog")
        if structlog is None:
            return
        self._structlog_before = structlog.get_config() if structlog.is_configured() else {}
        structlog.configure(
            processors=[
                structlog.contextvars.merge_contextvars,
                structlog.stdlib.filter_by_level,
                structlog.stdlib.PositionalArgumentsFormatter(),
                _to_record_arguments,
            ],
            wrapper_class=structlog.stdlib.BoundLogger,
            logger_factory=structlog.stdlib.LoggerFactory(),
            cache_logger_on_first_use=False,
        )

    def _restore_structlog(self) -> None:
        structlog = sys.modules.get("structlog")
        before, self._structlog_before = self._structlog_before, None
        if structlog is None or before is None:
            return
        if before:
            structlog.configure(**before)
        else:
            structlog.reset_defaults()


def _state(logger: logging.Logger) -> _LoggerState:
    return _LoggerState(logger, tuple(logger.handlers), logger.level, logger.propagate)


def _to_record_arguments(_logger: Any, _method: str, event: dict[str, Any]) -> dict[str, Any]:
    """An event of structlog as the arguments of a standard library log call; names a record has get the suffix `_`."""
    arguments: dict[str, Any] = {"msg": event.pop("event", "")}
    for name in ("exc_info", "stack_info", "stacklevel"):
        if name in event:
            arguments[name] = event.pop(name)
    arguments["extra"] = {f"{name}_" if name in _RECORD_FIELDS else name: value for name, value in event.items()}
    return arguments
