"""The part of a process that changes levels of loggers for a while, in all processes of the installation."""

from __future__ import annotations

from contextlib import closing

import orjson

from ordinaut_ext_observability.cluster.base import ClusterUnavailableError, Document, Put
from ordinaut_ext_observability.logs.levels import Change, LoggerLevels
from ordinaut_ext_observability.metrics.declarations import Metrics
from ordinaut_ext_observability.relay.store import WATCHED
from ordinaut_ext_observability.runtime.part import Part
from ordinaut_ext_observability.runtime.relay import MergedProcesses

MAX_CHANGED = 50
"""Loggers changed at a time: more than a person has in mind."""
_TRIES = 5
"""Others may write the document in between; each time one of them has succeeded."""


class LogLevels(Part):
    """Writes into the store what this process is asked for, and follows what others write there."""

    def __init__(self, levels: LoggerLevels, merged: MergedProcesses, metrics: Metrics) -> None:
        """Nothing is changed."""
        self._levels = levels
        self._open_store = merged.open_store
        self._metrics = metrics
        if merged.relay is not None:
            merged.relay.exchange.on_watched = self.follow

    def stop(self, ends_at: float) -> None:  # noqa: ARG002 - as inherited
        """Give every logger the level from before its change."""
        self._levels.apply({}, "stopped")

    def follow(self, document: Document) -> None:
        """Let the changes hold that are in the store; where it lost them, those go on that are known here."""
        try:
            self._levels.apply(self._read(document), "store")
        except (ValueError, TypeError, AttributeError):  # another version of this package wrote it
            self._metrics.count_internal_error("log_levels")

    def change(self, name: str, change: Change | None) -> str:
        """Change a logger, or for None end its change. Returns why only this process knows of it; empty: all do.

        Waits for the store, two seconds at most. Raises ValueError where `MAX_CHANGED` loggers are changed.
        """
        wanted = _with(self._levels.current(self._levels.changes()), name, change)
        problem = "processes share no store"
        try:
            if self._open_store is not None:
                with closing(self._open_store()) as store:
                    for _ in range(_TRIES):
                        held = store.get(WATCHED)
                        wanted = _with(self._read(held), name, change)
                        if store.write([Put(WATCHED, held.version, orjson.dumps(wanted))]):
                            problem = ""
                            break
                        problem = "others change levels at the same time"
        except ClusterUnavailableError as error:
            problem = str(error)
        self._levels.apply(wanted, "request")
        return problem

    def _read(self, document: Document) -> dict[str, Change]:
        held = {name: Change(*fields) for name, fields in orjson.loads(document.content or b"{}").items()}
        return self._levels.current(held if document.version else self._levels.changes())


def _with(changes: dict[str, Change], name: str, change: Change | None) -> dict[str, Change]:
    changes.pop(name, None)
    if change is not None and len(changes) >= MAX_CHANGED:
        raise ValueError(f"{MAX_CHANGED} loggers are changed, which is the most: end another change first")
    return changes if change is None else changes | {name: change}
