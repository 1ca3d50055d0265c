"""The PostgreSQL server: how fast it answers, and which database it is."""

from __future__ import annotations

import hashlib

from ordinaut_ext_observability.background.clock import Clock
from ordinaut_ext_observability.collectors.connection import ReadTransaction
from ordinaut_ext_observability.collectors.facts import DatabaseFacts
from ordinaut_ext_observability.metrics.declarations.system import SystemMetrics
from ordinaut_ext_observability.postgresql.problems import concerns_statement


class ServerCollector:
    """Reads what every process may know, whoever leads."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._identified: object = None
        """The connection on which the database was asked for its name."""

    async def read(self, transaction: ReadTransaction, families: SystemMetrics) -> DatabaseFacts:
        """The server now."""
        begun = self._clock.monotonic()
        await transaction.connection.execute("SELECT 1")
        latency = self._clock.monotonic() - begun
        row = await transaction.row("server")
        if self._identified is not transaction.connection:
            self._identified = transaction.connection
            await _identify(transaction, families)
        return DatabaseFacts(latency_seconds=latency, **row)


async def _identify(transaction: ReadTransaction, families: SystemMetrics) -> None:
    """Publish a digest of the server's own identifier and the database's number; nothing where that is forbidden.

    A URL is no name: `localhost`, an address and a pooler lead to the same database. A server that was copied file by
    file keeps its identifier: such a copy is not told apart.
    """
    try:
        async with transaction.savepoint():
            identity: str = await transaction.value("identity")
    except Exception as error:
        if not concerns_statement(error):
            raise
        return
    families.database_info.replace({(hashlib.sha256(identity.encode()).hexdigest()[:12],): 1})
