"""Who reads for all: one process of the cluster, found by a lock of PostgreSQL's that ends with its connection."""

from __future__ import annotations

import asyncio
import uuid

from ordinaut_ext_observability.cluster.base import ClusterUnavailableError
from ordinaut_ext_observability.collectors.checkpoint import Checkpoints
from ordinaut_ext_observability.collectors.connection import ReadTransaction

LOCK_KEY = 0x6F7264696E617574
"""`ordinaut` in ASCII: the same in all processes, and not a number anybody else would take."""

_HALF = 32
_LOCK = "SELECT pg_try_advisory_lock($1)"
_UNLOCK = "SELECT pg_advisory_unlock($1)"
_SHARED = "none: a connection pooler shares our session, and"


class Leadership:
    """Decides whether this process leads.

    Behind a pooler a session is not ours: its locks would stay with, or be shared by, whoever has the session next.
    A pooler is recognised by the process id it gave us at the start, which is not the one of the session. There the
    lease decides, and without one nobody leads.
    """

    def __init__(self, lease: Checkpoints | None, ttl_seconds: float) -> None:
        self.owner = uuid.uuid4().hex
        self._lease = lease
        self._ttl_seconds = ttl_seconds

    async def check(self, transaction: ReadTransaction) -> tuple[bool, str]:
        """Try to lead, or see whether we still do; the other value says by what, or why not, for people.

        Call it outside a transaction that has read anything yet to be counted.
        """
        row = await transaction.row("lock_held", LOCK_KEY >> _HALF, LOCK_KEY & (1 << _HALF) - 1)
        if row["backend"] == transaction.connection.get_server_pid():
            held = row["held"] or await transaction.connection.fetchval(_LOCK, LOCK_KEY)
            return bool(held), "advisory lock"
        if self._lease is None:
            return False, f"{_SHARED} there is no store to hold a lease"
        try:
            return await asyncio.to_thread(self._lease.hold_lease, self.owner, self._ttl_seconds), "lease"
        except ClusterUnavailableError:
            return False, f"{_SHARED} the store does not answer"

    async def resign(self, transaction: ReadTransaction) -> None:
        """Let another process lead; a lease is left to expire."""
        await transaction.connection.fetchval(_UNLOCK, LOCK_KEY)
