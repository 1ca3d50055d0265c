"""structlog's events as records of the standard library, for as long as this is asked for.

The host's own processors and bound logger class stay; only what renders, at the end, gives way. What its processors
did to an event is kept, but for fields that our line has anyway.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, MutableMapping
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

from ordinaut_ext_observability.logs.formatter import RECORD_FIELDS
from ordinaut_ext_observability.logs.structlog_logger import RecordLogger, format_stack, make_logger

_TAKEN = RECORD_FIELDS | {"message", "asctime"}

# structlog's processors are known by name, since what is not used need not be imported.
_RENDERERS = frozenset(("JSONRenderer", "KeyValueRenderer", "LogfmtRenderer", "ConsoleRenderer"))

# It prints the exception and takes it away; our line has it.
_LEFT_OUT = "ExceptionPrettyPrinter"

# Some of what it adds our line has not.
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

# The message's usual names beside structlog's.
_MESSAGE_FIELDS = ("message", "msg")

_MISSING = object()


class StructlogBridge:
    """Takes structlog's events, and gives structlog back as it was. It is not imported for this."""

    def __init__(self) -> None:
        self._before: dict[str, Any] | None = None

    def take(self) -> None:
        """Have events become records; nothing where the process has no structlog.

        Again where the host has configured structlog since.
        """
        structlog = sys.modules.get("structlog")
        if structlog is None:
            return
        current = structlog.get_config()
        processors = current["processors"]
        is_taken = bool(processors) and isinstance(processors[-1], _ToRecord)
        if is_taken and self._before is not None:
            return
        self._before = current if structlog.is_configured() else {}
        structlog.configure(
            processors=processors if is_taken else _processors_around(processors),
            logger_factory=make_logger,
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


@dataclass(slots=True)
class _Event:
    """Notes about an event while the host's processors change it."""

    given: dict[str, Any]
    outer: _Event | None
    """The event being processed when this one was logged: a processor may log."""
    message: Any
    place: str = "event"
    """The name of the field in which the message is."""
    added: dict[str, Any] = field(default_factory=dict)
    """Fields of processors that add what our line has, with the values these gave them."""

    def follow_message(self, fields: dict[str, Any]) -> None:
        """Find the message after a processor: moved it is the same object, changed it is in the same place.

        One that was moved and changed at once is known by its usual names.
        """
        new = [name for name, value in fields.items() if value is not self.given.get(name, _MISSING)]
        places = [name for name in new if fields[name] is self.message]
        if not places and self.place not in fields:
            places = [name for name in _MESSAGE_FIELDS if name in new]
        if places:
            self.place = places[0]
        self.message = fields.get(self.place, self.message)

    def take_message(self, fields: MutableMapping[str, Any]) -> Any:
        """The message, which is then in no field."""
        for name in (*_MESSAGE_FIELDS, self.place):
            if fields.get(name, _MISSING) is self.message and (
                name == self.place or self.given.get(name, _MISSING) is not self.message
            ):
                self.take_field(fields, name)
        return "" if self.message is _MISSING else self.message

    def take_exception(self, fields: MutableMapping[str, Any]) -> tuple[Any, str | None]:
        """The exception, and its text where the host's processors rendered it; from wherever they put it."""
        rendered = self.added.get("exception")
        if rendered is None:
            return fields.pop("exc_info", None), None
        text = rendered
        if fields.get("exception", rendered) is not rendered:  # what the host's processors made of it
            text = self.take_field(fields, "exception")
        for name in [name for name, value in fields.items() if value is rendered]:
            self.take_field(fields, name)
        return fields.pop("exc_info", self.given.get("exc_info", True)), text if isinstance(text, str) else None

    def take_field(self, fields: MutableMapping[str, Any], name: str) -> Any:
        """The field's value; one that was given under this name is back in its place."""
        value = fields.pop(name)
        if name != "event" and name in self.given:
            fields[name] = self.given[name]
        return value


_event: ContextVar[_Event | None] = ContextVar("ordinaut_structlog_event", default=None)


def _processors_around(processors: list[Any]) -> list[Any]:
    """The host's processors up to what renders, and ours between them."""
    names = [getattr(processor, "__name__", None) or type(processor).__name__ for processor in processors]
    end = next((index for index, name in enumerate(names) if name in _RENDERERS), max(len(names) - 1, 0))
    host_has_own = any(not _is_structlogs(processor) for processor in processors[:end])
    around: list[Any] = [_remember]
    if "merge_contextvars" not in names:
        around.insert(0, sys.modules["structlog"].contextvars.merge_contextvars)
    for processor, name in zip(processors[:end], names, strict=False):
        time_field = getattr(getattr(processor, "stamper", processor), "key", None) if "TimeStamper" in name else None
        added = (time_field,) if time_field else _ADDED.get(name, ())
        # What it adds, our line has; only processors of the host's own may want to see it.
        if name != _LEFT_OUT and (host_has_own or not added or name == _CALL_SITE):
            around += [processor, _watch(added)]
    return [*around, _ToRecord(processors)]


def _is_structlogs(processor: Any) -> bool:
    return str(getattr(processor, "__module__", "")).partition(".")[0] == "structlog"


def _remember(_logger: Any, _method: str, event: dict[str, Any]) -> dict[str, Any]:
    outer = _event.get()
    if outer is not None:
        # That of an event that was dropped is never taken away: keep no more than one.
        outer.outer = None
    _event.set(_Event(dict(event), outer, event.get("event", _MISSING)))
    return event


def _watch(added: tuple[str, ...]) -> Callable[[Any, str, Any], Any]:
    """A processor that notes what the one before it did; `added` are the fields it adds."""

    def watch(_logger: Any, _method: str, fields: Any) -> Any:
        event = _event.get()
        if event is None or not isinstance(fields, dict):
            return fields
        for name in added:
            value = fields.get(name)
            if value is not None and value is not event.given.get(name):
                event.added[name] = value
        if fields.get(event.place, _MISSING) is not event.message:
            event.follow_message(fields)
        return fields

    return watch


class _ToRecord:
    """Makes an event the arguments of `RecordLogger`; for any other logger, what the host's own processors make."""

    def __init__(self, host_processors: list[Any]) -> None:
        self._host_processors = host_processors

    def __call__(self, logger: Any, method: str, fields: Any) -> Any:
        event = _event.get() or _Event({}, None, _MISSING)
        _event.set(event.outer)
        if not isinstance(logger, RecordLogger):
            fields = event.given
            for processor in self._host_processors:
                fields = processor(logger, method, fields)
            return fields
        if not isinstance(fields, MutableMapping):  # text: another than the last processor renders
            return {"msg": fields}
        exc_info, exc_text = event.take_exception(fields)
        stack = event.added.get("stack") or (format_stack() if fields.pop("stack_info", None) else None)
        for name, value in event.added.items():
            if fields.get(name) is value:
                event.take_field(fields, name)
        return {
            "msg": event.take_message(fields),
            "args": tuple(fields.pop("positional_args", ())),
            "exc_info": exc_info,
            "exc_text": exc_text,
            "stack": stack,
            "extra": _with_free_names(fields),
        }


def _with_free_names(fields: MutableMapping[str, Any]) -> dict[str, Any]:
    """The fields; names that a record has get the suffix `_`."""
    extra: dict[str, Any] = {}
    for name, value in fields.items():
        free = name
        while free in _TAKEN or free in extra or (free != name and free in fields):
            free = f"{free}_"
        extra[free] = value
    return extra
