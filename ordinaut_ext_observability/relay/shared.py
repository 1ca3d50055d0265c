"""Counts that are no process's own: what the leader of all API processes counts for the whole installation.

They are stored together with the state from which they were counted, as one vector. So whoever leads next goes on where
the counts stand, and nothing is counted twice.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import NamedTuple

from ordinaut_ext_observability.relay.base import SHARED, Published, RelayStore, StoreUnavailableError
from ordinaut_ext_observability.relay.vector import NO_NUMBERS, About, Numbers, decode, encode


class SharedCounts(NamedTuple):
    """The counts as they were stored, and the state that belongs to them."""

    sequence: int
    counts: Numbers
    state: bytes


class SharedCountsStore:
    """Loads and saves shared counts through a relay store of its own, from one thread at a time."""

    def __init__(self, open_store: Callable[[], RelayStore | None]) -> None:
        """`open_store` is asked until there is one."""
        self._open_store = open_store
        self._store: RelayStore | None = None

    def load(self) -> SharedCounts | None:
        """What was saved last; None where nothing was.

        Raises:
            StoreUnavailableError: there is no store, or it does not answer.
            VectorError: what was saved cannot be read.
        """
        reading = self._opened().read({}, store="", retired_version=0)
        stored = [vector for vector in reading.vectors if vector.incarnation == SHARED]
        if not stored:
            return None
        latest = stored[-1]
        vector = decode(latest.content, latest.sequence, latest.epoch)
        return SharedCounts(latest.sequence, vector.counts, latest.content.split(b"\n", 5)[5])

    def save(self, shared: SharedCounts) -> bool:
        """False where somebody has saved the same or a higher sequence: the caller leads no longer.

        Raises:
            StoreUnavailableError: there is no store, or it does not answer; it may have saved all the same.
        """
        about = About(serves=False, ended=False, process=os.getpid())
        content = encode(about, shared.counts, NO_NUMBERS) + b"\n" + shared.state
        answer = self._opened().publish(SHARED, shared.sequence, content, last_store="", fenced=True)
        return isinstance(answer, Published)

    def close(self) -> None:
        """Give back the connection. Safe more than once."""
        if self._store is not None:
            self._store.close()
            self._store = None

    def _opened(self) -> RelayStore:
        self._store = self._store or self._open_store()
        if self._store is None:
            raise StoreUnavailableError("no relay store has answered yet")
        return self._store
