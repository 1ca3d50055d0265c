"""Who reads for all: one process of the cluster, found by a lock of PostgreSQL's that ends with its connection."""

from __future__ import annotations

import asyncio

from ordinaut_ext_observability.cluster.base import ClusterUnavailableError
from ordinaut_ext_observability.collectors.checkpoint import Checkpoints
from ordinaut_ext_observability.collectors.connection import Reading

LOCK_KEY = 0x6F7264696E617574
"""`ordinaut` in ASCII: the same in all processes, and not a number anybody else would take."""

_HALF = 32
_LOCK = "SELECT pg_try_advisory_lock($1)"
_UNLOCK = "SELECT pg_advisory_unlock($1)"


class Leadership:
    """Whether this process leads, as of the last `check`.

    Behind a pooler a session is not ours: its locks would stay with, or be shared by, whoever has the session next.
    A pooler is recognised by the process id it gave us at the start, which is not the one of the session. There the
    lease decides, and without one nobody leads.
    """

    def __init__(self, owner: str, lease: Checkpoints | None, *, ttl_seconds: float) -> None:
        self.leads = False
        self.mode = "none: not connected"
        """The thing that decides, for people: `advisory lock`, `lease`, or `none:` and why."""
        self._owner = owner
        self._lease = lease
        self._ttl_seconds = ttl_seconds

    async def check(self, reading: Reading) -> bool:
        """Try to lead, or see whether we still do; outside a transaction that has read anything yet to be counted."""
        row = await reading.row("lock_held", LOCK_KEY >> _HALF, LOCK_KEY & (1 << _HALF) - 1)
        if row["backend"] != reading.connection.get_server_pid():
            self.leads = await self._hold_lease()
        else:
            self.mode = "advisory lock"
            self.leads = bool(row["held"]) or bool(await reading.connection.fetchval(_LOCK, LOCK_KEY))
        return self.leads

    async def resign(self, reading: Reading) -> None:
        """Let another process lead."""
        self.leads = False
        if self.mode == "advisory lock":
            await reading.connection.fetchval(_UNLOCK, LOCK_KEY)

    def lose(self) -> None:
        """The connection is gone, and the lock with it."""
        self.leads = False
        self.mode = "none: not connected"

    async def _hold_lease(self) -> bool:
        if self._lease is None:
            self.mode = "none: a connection pooler shares our session, and there is no store to hold a lease"
            return False
        try:
            held = await asyncio.to_thread(self._lease.hold_lease, self._owner, self._ttl_seconds)
        except ClusterUnavailableError:
            self.mode = "none: a connection pooler shares our session, and the store does not answer"
            return False
        self.mode = "lease"
        return held
