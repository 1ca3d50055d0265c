"""structlog's events as records of the standard library, for as long as this is asked for.

The host's own processors and bound logger class stay; only what renders, at the end, gives way. What its processors
did to an event is kept, but for fields that our line has anyway. structlog is not imported for this.
"""

from __future__ import annotations

import logging
import sys
import traceback
from collections.abc import MutableMapping
from types import FrameType, FunctionType
from typing import Any

from ordinaut_ext_observability.logs.caller import calling_frame, log_record

# structlog's processors are known by name, since what is not used need not be imported.
_RENDERERS = frozenset(("JSONRenderer", "KeyValueRenderer", "LogfmtRenderer", "ConsoleRenderer"))

_CALL_SITE = "CallsiteParameterAdder"

# The fields with which these add what our line has, or what we take from there.
_ADDED = {
    "add_log_level": ("level",),
    "add_log_level_number": ("level_number",),
    "add_logger_name": ("logger",),
    _CALL_SITE: ("module", "func_name", "lineno", "process"),
    "ExceptionRenderer": ("exception",),
    "StackInfoRenderer": ("stack",),
    "PositionalArgumentsFormatter": ("positional_args",),
}

_MESSAGE_FIELDS = ("message", "msg")  # usual ones beside structlog's `event`
_MISSING = object()
_BETWEEN = ("structlog.", "asyncio.", f"{__package__}.")

# The methods of loggers whose level has another name; of the rest, what is no level is INFO.
_LEVELS = {"warn": "WARNING", "err": "ERROR", "exception": "ERROR", "failure": "ERROR", "fatal": "CRITICAL"}


def take_structlog(before: dict[str, Any] | None) -> dict[str, Any] | None:
    """Have structlog's events become records, also where the host has configured it since; nothing without structlog.

    Takes and returns what `give_back_structlog` is to restore.
    """
    structlog = sys.modules.get("structlog")
    if structlog is None:
        return before
    current = structlog.get_config()
    processors = current["processors"]
    is_taken = bool(processors) and isinstance(processors[-1], _ToRecord)
    if is_taken and before is not None:
        return before
    before = current if structlog.is_configured() else {}
    structlog.configure(
        processors=processors if is_taken else [_ToRecord(processors)],
        logger_factory=_NamedLogger,
        cache_logger_on_first_use=False,
    )
    return before


def give_back_structlog(before: dict[str, Any] | None) -> None:
    """Undo `take_structlog`; nothing for None."""
    structlog = sys.modules.get("structlog")
    if structlog is not None and before is not None:
        structlog.configure(**before) if before else structlog.reset_defaults()


class _ToRecord:
    """The only processor: runs the host's, and logs what they made of the event.

    For a logger that is not of our factory it is what the host's processors make of the event.
    """

    def __init__(self, processors: list[Any]) -> None:
        self._all = processors
        names = [getattr(processor, "__name__", None) or type(processor).__name__ for processor in processors]
        end = next((index for index, name in enumerate(names) if name in _RENDERERS), max(len(names) - 1, 0))
        modules = [str(getattr(processor, "__module__", "")) for processor in processors[:end]]
        host_has_own = any(module.partition(".")[0] != "structlog" for module in modules)
        self._kept: list[tuple[Any, tuple[str, ...]]] = []
        if "merge_contextvars" not in names:
            self._kept.append((sys.modules["structlog"].contextvars.merge_contextvars, ()))
        for processor, name in zip(processors[:end], names, strict=False):
            stamper: Any = getattr(processor, "stamper", processor) if "TimeStamper" in name else None
            added = (stamper.key,) if hasattr(stamper, "key") else _ADDED.get(name, ())
            # What it adds, our line has, but for some of the call site; only the host's own may want to see it. What
            # the one left out always prints, and takes away, is on our line.
            if name != "ExceptionPrettyPrinter" and (host_has_own or not added or name == _CALL_SITE):
                self._kept.append((processor, added))

    def __call__(self, logger: Any, method: str, fields: Any) -> Any:
        if not isinstance(logger, _NamedLogger):
            for processor in self._all:
                fields = processor(logger, method, fields)
            return fields
        event = _Event(fields)
        for processor, added in self._kept:
            fields = processor(logger, method, fields)
            event.follow(fields, added)
        level = logging.getLevelNamesMapping().get(_LEVELS.get(method, method.upper()), logging.INFO)
        if logger.isEnabledFor(level):
            if isinstance(fields, MutableMapping):
                event.log(logger.logger, level, fields)
            else:  # text: another than the last processor renders
                log_record(logger.logger, level, _calling_frame(), fields, (), {})
        raise sys.modules["structlog"].DropEvent  # it is logged


class _Event:
    """Notes about an event while the host's processors change it."""

    def __init__(self, fields: dict[str, Any]) -> None:
        self._given = dict(fields)
        self._place = "event"  # the field in which the message is
        self._message: Any = fields.get(self._place, _MISSING)
        self._added: dict[str, Any] = {}
        """Fields of processors that add what our line has, with the values these gave them."""

    def follow(self, fields: Any, added: tuple[str, ...]) -> None:
        """Note what a processor did, which adds these fields, and find the message.

        Moved it is the same object, changed it is in the same place, both at once it has one of its usual names.
        """
        if not isinstance(fields, dict):
            return
        for name in added:
            value = fields.get(name)
            if value is not None and value is not self._given.get(name):
                self._added[name] = value
        if fields.get(self._place, _MISSING) is not self._message:
            new = [name for name, value in fields.items() if value is not self._given.get(name, _MISSING)]
            places = [name for name in new if fields[name] is self._message]
            if not places and self._place not in fields:
                places = [name for name in _MESSAGE_FIELDS if name in new]
            self._place = places[0] if places else self._place
            self._message = fields.get(self._place, self._message)

    def log(self, logger: logging.Logger, level: int, fields: MutableMapping[str, Any]) -> None:
        """Make it a record, without the fields that our line has anyway."""
        frame = _calling_frame()
        exception = self._take_exception(fields)
        stack = self._added.get("stack")
        if fields.pop("stack_info", None) and not stack:
            stack = f"Stack (most recent call last):\n{''.join(traceback.format_stack(frame)).rstrip()}"
        for name, value in self._added.items():
            if fields.get(name) is value:
                self._take(fields, name)
        message = self._message
        for name in (*_MESSAGE_FIELDS, self._place):
            is_copy = self._given.get(name, _MISSING) is not message
            if fields.get(name, _MISSING) is message and (name == self._place or is_copy):
                self._take(fields, name)
        args = tuple(fields.pop("positional_args", ()))
        log_record(
            logger, level, frame, "" if message is _MISSING else message, args, fields, **exception, stack_info=stack
        )

    def _take_exception(self, fields: MutableMapping[str, Any]) -> dict[str, Any]:
        """The exception, and its text where the host's processors rendered it; from wherever they put it."""
        text = rendered = self._added.get("exception")
        if rendered is None:
            return {"exc_info": fields.pop("exc_info", None)}
        if fields.get("exception", rendered) is not rendered:  # what the host's processors made of it
            text = self._take(fields, "exception")
        for name in [name for name, value in fields.items() if value is rendered]:
            self._take(fields, name)
        exc_info = fields.pop("exc_info", self._given.get("exc_info", True))
        return {"exc_info": exc_info, "exc_text": text if isinstance(text, str) else None}

    def _take(self, fields: MutableMapping[str, Any], name: str) -> Any:
        """The field's value; one that was given under this name is back in its place."""
        value = fields.pop(name)
        if name != "event" and name in self._given:
            fields[name] = self._given[name]
        return value


class _NamedLogger:
    """A logger of the standard library; what it is asked to log has been logged by then."""

    def __init__(self, *names: Any) -> None:
        """Make a logger as structlog's own factory does: under the name given, else that of the calling module."""
        is_named = bool(names) and isinstance(names[0], str)
        name = names[0] if is_named else _calling_frame().f_globals.get("__name__", "structlog")
        self.logger = logging.getLogger(name)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.logger, name)


def _calling_frame() -> FrameType:
    """The frame of the code that logged.

    structlog's asynchronous methods log in a thread of a pool, and remember the frame that awaits them; where that is
    asyncio's, which runs them as a task, the code that runs asyncio is named.
    """
    frame = sys._getframe(1)  # noqa: SLF001 - as the standard library finds a caller
    awaiting = getattr(sys.modules["structlog"].contextvars, "_ASYNC_CALLING_STACK", None)
    return calling_frame(frame if awaiting is None else awaiting.get(frame), _BETWEEN)


# Processors find the code that logged beyond the frames of modules called structlog: this one's is to be among them.
_ToRecord.__call__ = FunctionType(  # type: ignore[method-assign]
    _ToRecord.__call__.__code__, {**globals(), "__name__": "structlog"}
)
