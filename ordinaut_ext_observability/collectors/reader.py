"""Readings in one transaction: the server, and by the leader the tables, with the state that the next one needs."""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, Literal, TypeVar

from pydantic import TypeAdapter

from ordinaut_ext_observability.collectors.connection import ReadTransaction
from ordinaut_ext_observability.collectors.states import CollectorStates, DatabaseFacts
from ordinaut_ext_observability.collectors.tables import ActivityCollector, WorkersCollector, read_scheduler, read_tasks
from ordinaut_ext_observability.collectors.work import DriftCollector, RunsCollector, read_queue
from ordinaut_ext_observability.metrics.declarations.system import SystemMetrics
from ordinaut_ext_observability.postgresql.connection import concerns_statement, postgresql_problem, undone_alone

LEADERS = ("queue", "workers", "scheduler", "tasks", "runs", "activity", "drift")
"""The collectors that only the leader runs."""

UNREADABLE = (ValueError, TypeError, LookupError, struct.error)

FactsT = TypeVar("FactsT")


@dataclass
class CountingState:
    """The point up to which each table was read: saved with every round, and loaded by the next leader."""

    version: Literal[3] = 3
    """Version of this form; another begins anew."""
    workers: WorkersCollector = field(default_factory=WorkersCollector)
    runs: RunsCollector = field(default_factory=RunsCollector)
    activity: ActivityCollector = field(default_factory=ActivityCollector)
    drift: DriftCollector = field(default_factory=DriftCollector)


CHECKPOINT = TypeAdapter(CountingState)
"""A state as JSON. Reading one of another form raises one of `UNREADABLE`."""


class SystemReader:
    """The collectors of the leader; each fails by itself."""

    def __init__(self, families: SystemMetrics, states: CollectorStates, fresh_seconds: float) -> None:
        self.counting = CountingState()
        self._families = families
        self._states = states
        self._fresh_seconds = fresh_seconds
        self._identified: object = None
        """The connection on which the database was asked for its name."""

    async def read(self, transaction: ReadTransaction) -> None:
        """Read and show everything that can be read; raises where the connection failed."""
        self._families.show_sources()
        counting, fresh = self.counting, self._fresh_seconds
        queue = await self.attempt("queue", transaction, read_queue, fresh)
        # Without the queue there are no leases; without those it is not known what runs may still come.
        leases = queue.leases if queue is not None else ()
        workers = await self.attempt("workers", transaction, counting.workers.read, leases, fresh)
        if queue is not None:
            heartbeats = workers.heartbeats if workers is not None else {}
            await self.attempt("runs", transaction, counting.runs.read, leases, heartbeats)
            await self.attempt("drift", transaction, counting.drift.read, leases)
        schedules = await self.attempt("tasks", transaction, read_tasks)
        await self.attempt("scheduler", transaction, read_scheduler, schedules)
        await self.attempt("activity", transaction, counting.activity.read)

    async def attempt(
        self, name: str, transaction: ReadTransaction, read: Callable[..., Awaitable[FactsT]], *arguments: Any
    ) -> FactsT | None:
        """The facts that a collector reads; None, and its gauges cleared, where it failed and others need not.

        Raises where the connection failed.
        """
        clock = self._states.clock
        begun = clock.monotonic()
        try:
            async with undone_alone(transaction.connection):
                facts = await read(transaction, self._families, *arguments)
        except Exception as error:
            if not concerns_statement(error):
                raise
            self._states.failed(name, error, postgresql_problem(error))
            for gauge in self._families.gauges_of.get(name, ()):
                gauge.clear()
            return None
        self._families.collector_seconds.labels(name).set(clock.monotonic() - begun)
        self._states.succeeded(name, facts)
        return facts

    async def read_server(self, transaction: ReadTransaction, families: SystemMetrics) -> DatabaseFacts:
        """Read what every process may know, whoever leads."""
        begun = self._states.clock.monotonic()
        await transaction.connection.execute("SELECT 1")
        latency = self._states.clock.monotonic() - begun
        row = await transaction.row("server")
        if self._identified is not transaction.connection:
            self._identified = transaction.connection
            await _identify(transaction, families)
        return DatabaseFacts(latency, **row)


async def _identify(transaction: ReadTransaction, families: SystemMetrics) -> None:
    """Publish a digest of the server's own identifier and the database's number; nothing where that is forbidden.

    A URL is no name: `localhost`, an address and a pooler lead to the same database. A server that was copied file by
    file keeps its identifier: such a copy is not told apart.
    """
    try:
        async with undone_alone(transaction.connection):
            identity: str = await transaction.value("identity")
    except Exception as error:
        if not concerns_statement(error):
            raise
    else:
        families.database_info.replace({(hashlib.sha256(identity.encode()).hexdigest()[:12],): 1})
