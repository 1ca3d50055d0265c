"""Levels of loggers that are changed for a while: a logger has another until its time, then the one from before."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple

from ordinaut_ext_observability.background.clock import Clock
from ordinaut_ext_observability.background.fork import reset_in_forked_child
from ordinaut_ext_observability.logs.event_types import LOG_LEVEL_CHANGED, LogEvent
from ordinaut_ext_observability.logs.events import timestamp

LONGEST_SECONDS = 86_400.0
"""Longest time of a change: a level wanted for more than a day belongs in the host's settings."""
_LONGEST_PAUSE_SECONDS = 60.0
"""Time after which the clock is looked at again, which may have been set."""


class Change(NamedTuple):
    """A level of a logger until a time, in seconds since 1970, and the address of the client who asked for it."""

    level: str
    until: float
    set_by: str = ""


class LoggerLevels:
    """The changes in effect in this process. Any thread may call; a forked child has the levels from before them."""

    def __init__(self, clock: Clock, event: LogEvent) -> None:
        """`event` logs each change and its end."""
        self._clock = clock
        self._event = event
        self.own: dict[str, tuple[str, Callable[[str], object]]] = {}
        """Logs of ours that ask no logger, by name: their level by the settings, and what sets another."""
        self._changed: dict[str, tuple[Change, str]] = {}
        """By the logger's name: the change, and the level from before it."""
        self._timer: threading.Timer | None = None
        self._lock = threading.RLock()
        reset_in_forked_child(self)

    def reset_after_fork(self) -> None:
        """Take all changes back: the thread that would end them is the parent's."""
        self._lock, self._timer = threading.RLock(), None
        self.apply({}, "")

    def changes(self) -> dict[str, Change]:
        """The changes, by logger."""
        with self._lock:
            return {name: change for name, (change, _) in self._changed.items()}

    def current(self, changes: Mapping[str, Change]) -> dict[str, Change]:
        """Those of the changes that have not ended; one too far ahead is of before the clock was set back."""
        now = self._clock.wall()
        return {name: change for name, change in changes.items() if now < change.until <= now + 2 * LONGEST_SECONDS}

    def apply(self, changes: Mapping[str, Change], source: str) -> None:
        """Let these changes hold and no others. The log says the `source`; nothing where it is empty.

        A logger whose change ends has the level from before, or keeps what the host has set since.
        """
        with self._lock:
            wanted = self.current(changes)
            for name in [*wanted, *(self._changed.keys() - wanted.keys())]:
                change, (held, before) = wanted.get(name), self._changed.pop(name, (None, ""))
                if change != held:
                    logger = logging.getLogger(name)
                    previous = logging.getLevelName(logger.level)
                    kept = "; the host has set a level since" if held is not None and previous != held.level else ""
                    before = previous if held is None or kept else before
                    level = before if change is None else change.level
                    if source:
                        self._log(name, previous, level, change, source + kept)
                    logger.setLevel(level)
                    usual, set_own_level = self.own.get(name, ("", None))
                    if set_own_level is not None:
                        set_own_level(usual if change is None else change.level)
                if change is not None:
                    self._changed[name] = change, before
            self._await_end()

    @contextmanager
    def lifted(self) -> Iterator[None]:
        """Take the changes off for a block that saves or sets levels; put them on again over what it set."""
        with self._lock:
            changes = self.changes()
            self.apply({}, "")
            try:
                yield
            finally:
                self.apply(changes, "")

    def describe(self, name: str) -> dict[str, Any]:
        """Fields about a logger: its level, the one in effect, the change, and notes on what else hides lines."""
        logger, (change, before) = logging.getLogger(name), self._changed.get(name, (None, ""))
        level, effective = (logging.getLevelName(number) for number in (logger.level, logger.getEffectiveLevel()))
        if name in self.own:
            effective = self.own[name][0] if change is None else change.level
        shown: dict[str, Any] = {"name": name, "level": level, "effective_level": effective, "changed": None}
        notes = list(_what_hides(logger))
        if change is not None:
            seconds = max(0, round(change.until - self._clock.wall()))
            times = {"until": timestamp(change.until), "seconds_left": seconds}
            shown["changed"] = change._asdict() | times | {"previous_level": before}
            if level != change.level:
                notes.append("the host has set another level since the change")
        return shown | {"notes": notes}

    def _log(self, name: str, previous: str, level: str, change: Change | None, source: str) -> None:
        seconds, client = (None, None) if change is None else (round(change.until - self._clock.wall()), change.set_by)
        levels = {"changed_logger": name, "previous_level": previous, "new_level": level}
        self._event(LOG_LEVEL_CHANGED, **levels, seconds=seconds, source=source, client_address=client or None)

    def _await_end(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._changed:
            seconds = min(change.until for change, _ in self._changed.values()) - self._clock.wall()
            pause = min(seconds, _LONGEST_PAUSE_SECONDS)
            self._timer = threading.Timer(pause, lambda: self.apply(self.changes(), "expired"))
            self._timer.daemon = True
            self._timer.start()


def _what_hides(logger: logging.Logger) -> Iterator[str]:
    if logger.disabled:
        yield "this logger is disabled: nothing of it is written"
    above: logging.Logger | None = logger
    while above is not None:
        for handler in above.handlers:
            if handler.level > logger.getEffectiveLevel():
                least = logging.getLevelName(handler.level)
                yield f"a handler of {above.name}, {type(handler).__name__}, hides lines below {least}"
        above = above.parent if above.propagate else None
