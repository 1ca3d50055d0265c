"""The name of the database that is read, by which installations under one name are told apart."""

from __future__ import annotations

import hashlib

from ordinaut_ext_observability.collectors.connection import Reading
from ordinaut_ext_observability.collectors.problems import concerns_statement
from ordinaut_ext_observability.metrics.family import Gauge


class DatabaseIdentity:
    """Publishes a digest of the server's own identifier and the database's number: a URL is no name.

    `localhost`, an address and a pooler lead to the same database. A server that was copied file by file keeps its
    identifier: such a copy is not told apart.
    """

    def __init__(self, gauge: Gauge) -> None:
        self._gauge = gauge
        self._connection: object = None

    async def read(self, reading: Reading) -> None:
        """Read it once per connection. Where that is forbidden, nothing is published."""
        if self._connection is reading.connection:
            return
        self._connection = reading.connection
        try:
            async with reading.part():
                identity = await reading.value("identity")
        except Exception as error:
            if not concerns_statement(error):
                raise
            return
        child = self._gauge.labels(hashlib.sha256(identity.encode()).hexdigest()[:12])
        child.set(1)
        self._gauge.keep_only([child])
