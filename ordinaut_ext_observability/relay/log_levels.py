"""Levels of loggers that are changed for a while in all processes: what holds is one document of the store."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from typing import Any, NamedTuple

import orjson

from ordinaut_ext_observability.background.clock import Clock
from ordinaut_ext_observability.background.fork import reset_in_forked_child
from ordinaut_ext_observability.cluster.base import Cluster, ClusterUnavailableError, Document, Put
from ordinaut_ext_observability.logs.event_types import LOG_LEVEL_CHANGED, LogEvent
from ordinaut_ext_observability.logs.events import timestamp
from ordinaut_ext_observability.logs.setup import LEVELS
from ordinaut_ext_observability.relay.store import WATCHED

LONGEST_SECONDS = 86_400.0
"""Longest time of a change: a level wanted for more than a day belongs in the host's settings."""
OWN_LOGS = ("orchestrator.api", "orchestrator.observability")
"""Names of the logs of ours that are written past the standard library."""
MAX_CHANGED = 50
"""Loggers changed at a time: more than a person has in mind."""


class Change(NamedTuple):
    """A level of a logger until a time, in seconds since 1970, and the address of the client who asked for it."""

    level: str
    until: float
    set_by: str


class LogLevels:
    """The changes in effect in this process. Any thread may call; a forked child has the levels from before them."""

    def __init__(self, clock: Clock, event: LogEvent, own_level: str, open_store: Callable[[], Cluster] | None) -> None:
        """Nothing is changed. `event` logs changes; `own_level` have `OWN_LOGS` whose loggers have none."""
        self._clock = clock
        self._event = event
        self._own_level = logging.getLevelNamesMapping()[own_level]
        self._open_store = open_store
        self._changed: dict[str, tuple[Change, int]] = {}
        """By the logger's name: the change, and the level from before it."""
        self.reset_after_fork()
        reset_in_forked_child(self)

    def reset_after_fork(self) -> None:
        """Take all changes back: the thread that would end them is the parent's."""
        self._lock = threading.RLock()
        self._timer = threading.Timer(0.0, self.end_expired)  # not started
        self.apply({}, "")

    def change(self, name: str, level: str | None, seconds: float, set_by: str) -> str:
        """Change a logger, or for None end its change. Returns why only this process knows of it; empty: all do.

        Waits for the store, some two seconds at most. Raises ValueError where `MAX_CHANGED` loggers are changed.
        """
        if level is not None and len(self._changed.keys() - {name}) >= MAX_CHANGED:
            raise ValueError(f"{MAX_CHANGED} loggers are changed, which is the most: end another change first")
        change = {name: Change(level, self._clock.wall() + seconds, set_by) if level is not None else None}
        problem = "processes share no store" if self._open_store is None else self._share(self._open_store, change)
        self.apply(self._changes() | change, "request")
        return problem

    def _share(self, open_store: Callable[[], Cluster], change: dict[str, Change | None]) -> str:
        try:
            with closing(open_store()) as store:
                while True:  # again where another process has written meanwhile
                    self.follow(held := store.get(WATCHED))
                    self.apply(self._changes() | change, "request")
                    if store.write([Put(WATCHED, held.version, orjson.dumps(self._changes(), default=list))]):
                        return ""
        except ClusterUnavailableError as error:
            return str(error)

    def follow(self, document: Document) -> None:
        """Let the changes hold that the store has; where it lost them, those go on that are known here.

        So they do where another version of this package wrote something else; the next change takes its place.
        """
        if not document.version:
            return
        try:
            changes = {name: Change(*held[:3]) for name, held in orjson.loads(document.content).items()}
            are_usual = all(each.level in LEVELS and timestamp(each.until) for each in changes.values())
        except (ValueError, TypeError, AttributeError, LookupError, ArithmeticError, OSError):
            return
        if are_usual:
            self.apply(changes, "store")

    def end_expired(self) -> None:
        """End the changes whose time is over."""
        self.apply(self._changes(), "expired")

    def apply(self, changes: Mapping[str, Change | None], source: str) -> None:
        """Let these changes hold and no others. The log says the `source`, nothing where it is empty.

        A logger whose change ends has the level from before, or keeps the one that the host has set since.
        """
        with self._lock:
            now = self._clock.wall()
            for name in {**self._changed, **changes}:
                change = changes.get(name)
                self._apply_one(name, change if change is not None and change.until > now else None, source)
            self._timer.cancel()
            if self._changed:
                # At least once a minute, since the clock may be set.
                pause = min(60.0, *(change.until - now for change, _ in self._changed.values()))
                self._timer = threading.Timer(pause, self.end_expired)
                self._timer.daemon = True
                self._timer.start()

    def _apply_one(self, name: str, change: Change | None, source: str) -> None:
        logger, (held, before) = logging.getLogger(name), self._changed.pop(name, (None, 0))
        previous, now = logger.level, self._clock.wall()
        if held is None or previous != logging.getLevelName(held.level):
            before = previous
        if change is not None:
            self._changed[name] = change, before
        if change != held:
            level, until, client = change or (logging.getLevelName(before), now, None)
            facts = {"changed_logger": name, "previous_level": logging.getLevelName(previous), "new_level": level}
            if source:
                self._event(
                    LOG_LEVEL_CHANGED, **facts, source=source, seconds=round(until - now), client_address=client
                )
            logger.setLevel(before if change is None else level)

    @contextmanager
    def lifted(self) -> Iterator[None]:
        """Take the changes off for a block that saves or sets levels; put them on again over what it set."""
        with self._lock:
            changes = self._changes()
            self.apply({}, "")
            try:
                yield
            finally:
                self.apply(changes, "")

    def describe(self, name: str) -> dict[str, Any]:
        """Fields about a logger: its level, the one in effect, the change, and notes on what else hides lines."""
        logger, (change, before) = logging.getLogger(name), self._changed.get(name, (None, 0))
        level, effective, name_of = logger.level, logger.getEffectiveLevel(), logging.getLevelName
        handlers = () if name in OWN_LOGS else _handlers(logger) or (logging.lastResort,)
        hiding = [each for each in handlers if each is not None and each.level > effective]
        notes = [f"a {type(each).__name__} hides lines below {name_of(each.level)}" for each in hiding]
        notes += ["the logger is disabled: it writes nothing"] if logger.disabled else []
        effective = level or self._own_level if name in OWN_LOGS else effective
        changed = None
        if change is not None:
            changed = {**change._asdict(), "until": timestamp(change.until), "previous_level": name_of(before)}
            notes += ["the host has set another level since"] if level != name_of(change.level) else []
        names = {"name": name, "level": name_of(level), "effective_level": name_of(effective)}
        return {**names, "changed": changed, "notes": notes}

    def _changes(self) -> dict[str, Change | None]:
        with self._lock:
            return {name: change for name, (change, _) in self._changed.items()}


def _handlers(logger: logging.Logger) -> list[logging.Handler]:
    return logger.handlers + (_handlers(logger.parent) if logger.propagate and logger.parent is not None else [])
