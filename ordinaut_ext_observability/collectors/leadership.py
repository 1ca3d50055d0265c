"""Who reads for all, and where the next leader goes on.

One process of the installation leads, found by a lock of PostgreSQL's that ends with its connection.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Callable, Sequence
from functools import cached_property

from ordinaut_ext_observability.cluster.base import ClusterUnavailableError, Put
from ordinaut_ext_observability.collectors.connection import ReadTransaction
from ordinaut_ext_observability.metrics.declarations import Metrics
from ordinaut_ext_observability.metrics.family import AnyFamily
from ordinaut_ext_observability.relay.publisher import Publisher
from ordinaut_ext_observability.relay.series_list import SeriesList
from ordinaut_ext_observability.relay.store import Outcome, RelayStore

_LOCK_KEY = 0x6F7264696E617574
"""`ordinaut` in ASCII: the same in all processes, and not a number anybody else would take."""

_SHARED = "none: a connection pooler shares our session, and"

_NAME = "collectors"
"""The document of the state, and the lease of whoever leads where PostgreSQL's lock does not serve."""

_TRIES = 3
"""A store that lost its contents, or forgot the publisher, takes the publication at the next try."""


class Checkpoints:
    """The point up to which the database was read, and the lease of whoever reads, in the installation's store.

    The state is a document, and is published together with the counts that belong to it: each without the other would
    count twice, or not at all. Its version tells a leader that another has followed it. Calls come from one thread at
    a time, and raise `ClusterUnavailableError`.
    """

    def __init__(self, open_store: Callable[[], RelayStore], families: Sequence[AnyFamily], metrics: Metrics) -> None:
        """`families` hold what this process counted for all, since it began."""
        self.owner = uuid.uuid4().hex
        """The name under which this process holds the lease."""
        self._open_store = open_store
        self._publisher = Publisher(lambda: families, metrics.relay_failures.labels("number").inc)
        self._series = SeriesList(metrics.registry.budgets)
        self._version = 0
        """The version of the document that this process knows."""

    def load(self) -> bytes | None:
        """The state to go on from; None where this process has saved the newest, empty where there is none."""
        self._resend()
        held = self._store.get(_NAME)
        if held.version == self._version:
            return None
        self._version = held.version
        self._publisher.skip()  # what was counted from an older state, others have counted too
        return held.content

    def save(self, state: bytes) -> bool:
        """Publish what was counted, and the state; False where another leader has saved one since."""
        for _ in range(_TRIES):
            outcome = self._resend()
            if outcome is Outcome.ADDED:
                outcome = self._publisher.publish(self._store, self._series, Put(_NAME, self._version, state))
                if outcome is Outcome.ADDED:
                    self._version += 1
                    return True
            if outcome is Outcome.OUTDATED:
                return False
            # The store lost something: the document with it, or not.
            version = self._store.get(_NAME).version
            if version not in (0, self._version):
                return False
            self._version = version
        return False

    def hold_lease(self, ttl_seconds: float) -> bool:
        """Take the lease of the leader, or keep it; False while another process has it."""
        return self._store.hold_lease(_NAME, self.owner, ttl_seconds)

    def close(self) -> None:
        """Give back the connection. Safe more than once."""
        if "_store" in vars(self):
            self._store.close()
            del self._store

    @cached_property
    def _store(self) -> RelayStore:
        return self._open_store()

    def _resend(self) -> Outcome:
        """Send what waits from the last time; each had a state with it."""
        waited = self._publisher.waiting is not None
        outcome = self._publisher.resend(self._store)
        if waited and outcome is Outcome.ADDED:
            self._version += 1
        return outcome


async def decide_leader(
    transaction: ReadTransaction, checkpoints: Checkpoints | None, ttl_seconds: float
) -> tuple[bool, str]:
    """Try to lead, or see whether we still do; the other value says by what, or why not, for people.

    Behind a pooler a session is not ours: its locks would stay with, or be shared by, whoever has the session next.
    A pooler is recognised by the process id it gave us at the start, which is not the one of the session. There a lease
    decides, and without one nobody leads. Call it outside a transaction that has read anything yet to be counted.
    """
    row = await transaction.row("lock_held", _LOCK_KEY)
    if row["backend"] == transaction.connection.get_server_pid():
        held = row["held"] or await transaction.connection.fetchval("SELECT pg_try_advisory_lock($1)", _LOCK_KEY)
        return bool(held), "advisory lock"
    if checkpoints is None:
        return False, f"{_SHARED} there is no store to hold a lease"
    try:
        return await asyncio.to_thread(checkpoints.hold_lease, ttl_seconds), "lease"
    except ClusterUnavailableError:
        return False, f"{_SHARED} the store does not answer"
