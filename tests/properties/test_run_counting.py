"""Runs are counted exactly once, whatever workers, transactions, deletions and dying leaders do.

A story is a list of steps of three workers and of the leader; it is played with rows in memory and with rows in a real
PostgreSQL, where each worker has a connection and its transactions stay open across readings.
"""

from __future__ import annotations

import asyncio
import itertools
import uuid
from collections import Counter

import asyncpg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter

from ordinaut_ext_observability.collectors.connection import Database, ReadTransaction
from ordinaut_ext_observability.metrics.declarations.system import SystemMetrics
from ordinaut_ext_observability.collectors.work import read_queue
from ordinaut_ext_observability.collectors.work import RunsCollector
from ordinaut_ext_observability.collectors.runs import Lease, Run, RunCounter
from ordinaut_ext_observability.metrics.registry import Registry

WORKERS = 3
TASKS = [str(uuid.UUID(int=number + 1)) for number in range(2)]
BEGAN = 1_700_000_000.0
LEASE_SECONDS = 60.0
LONGEST_SECONDS = 6 * 3600.0
COUNTERS, COLLECTORS = TypeAdapter(RunCounter), TypeAdapter(RunsCollector)

workers = st.integers(0, WORKERS - 1)
steps = st.one_of(
    st.tuples(st.just("lease"), workers, st.integers(0, 1), st.floats(-60, 60)),
    st.tuples(st.just("steal"), workers, st.integers(0, 1), st.floats(-60, 60)),
    st.tuples(st.just("attempt"), workers, st.booleans(), st.booleans()),
    st.tuples(st.just("attempt"), workers, st.booleans(), st.booleans()),
    st.tuples(st.just("commit"), workers),
    st.tuples(st.just("finish"), workers),
    st.tuples(st.just("wait"), st.sampled_from([0.0, 1.0, 15.0, 70.0, 600.0, 3000.0])),
    st.tuples(st.just("read"), st.booleans()),
    st.tuples(st.just("read"), st.just(True)),
    st.tuples(st.just("delete")),
    st.tuples(st.just("kill")),
)
theft = st.builds(
    lambda owner, thief, waits, end: [
        ("lease", owner, 0, 0.0),
        ("wait", 15.0),
        ("read", True),
        ("wait", 600.0),
        ("steal", thief, 0, 0.0),
        ("read", True),
        ("attempt", thief, end, False),
        ("finish", thief),
        *(step for wait in waits for step in (("wait", wait), ("read", True))),
        ("attempt", owner, True, False),
    ],
    workers,
    workers,
    st.lists(st.sampled_from([1.0, 15.0, 3000.0]), max_size=3),
    st.booleans(),
)
"""Two workers at the same item, of whom the second is done first."""

stories = st.lists(st.one_of(steps.map(lambda step: [step]), steps.map(lambda step: [step]), theft), max_size=40).map(
    lambda parts: [step for part in parts for step in part]
)


class Worker:
    """One thing at a time, as the host's."""

    def __init__(self, name):
        self.name = name
        self.item = self.task = self.started_at = None
        self.attempts = 0
        self.open = None
        self.robbed_at = None


class Story:
    """What happens, and what is true: `runs` are all that were ever committed after the baseline."""

    def __init__(self, backend):
        self.backend = backend
        self.now = BEGAN
        self.workers = [Worker(f"worker-{number}") for number in range(WORKERS)]
        self.committed = {}
        self.deleted = set()
        self.saved = set()
        self.baseline = None
        self.heartbeats = {}

    async def play(self, steps):
        before = len(steps) // 4
        for number, (name, *arguments) in enumerate(steps):
            if number == before:
                await self.read(True)
            await getattr(self, name)(*arguments)
        if self.baseline is None:
            await self.read(True)
        for worker in range(WORKERS):
            await self.attempt(worker, True, False)
            await self.commit(worker)
            await self.finish(worker)
        for _ in range(3):  # what is new at one is shown at the next
            await self.wait(15.0)
            await self.read(True)
        expected = Counter(
            ("success" if run.success else "failed", run.task)
            for run in self.committed.values()
            if run.id not in self.baseline
        )
        assert await self.backend.counts() == expected
        assert self.backend.unaccounted() == 0

    async def lease(self, number, task, skew):
        worker = self.workers[number]
        if worker.item is None:
            item = await self.backend.queue(TASKS[task], self.now)
            await self._take(worker, item, TASKS[task], skew)

    async def steal(self, number, _, skew):
        """A lease that ran out goes to another worker while the first is still at work."""
        worker = self.workers[number]
        for other in self.workers:
            if worker.item is None and other.item is not None and other.robbed_at is None:
                if other.leased_at + LEASE_SECONDS < self.now:
                    other.robbed_at = self.now
                    await self._take(worker, other.item, other.task, skew)

    async def _take(self, worker, item, task, skew):
        await self.backend.lease(item, worker.name, self.now + LEASE_SECONDS)
        worker.item, worker.task, worker.started_at = item, task, self.now + skew
        worker.attempts, worker.leased_at, worker.robbed_at, worker.succeeded = 0, self.now, None, False

    async def attempt(self, number, success, held):
        worker = self.workers[number]
        if worker.item is None or worker.open is not None or worker.succeeded:
            return
        worker.succeeded = success
        worker.attempts += 1
        run = Run(uuid.uuid4().int >> 64, worker.task, worker.name, worker.started_at, success)
        await self.backend.record(number, run, worker.attempts, self.now)
        worker.open = run
        if not held:
            await self.commit(number)

    async def commit(self, number):
        worker = self.workers[number]
        if worker.open is not None:
            await self.backend.commit(number)
            self.committed[worker.open.id], worker.open = worker.open, None

    async def finish(self, number):
        worker = self.workers[number]
        await self.commit(number)
        if worker.item is not None:
            await self.backend.done(worker.item)
            for other in self.workers:
                if other.item == worker.item and other is not worker:
                    other.robbed_at = other.robbed_at or self.now
            worker.item = None
            self.heartbeats[worker.name] = self.now

    async def wait(self, seconds):
        self.now += seconds
        for number, worker in enumerate(self.workers):
            if worker.robbed_at is not None and self.now - worker.robbed_at > LONGEST_SECONDS / 2:
                await self.finish(number)

    async def read(self, saved):
        visible = {number for number in self.committed if number not in self.deleted}
        await self.backend.read(self.now, dict(self.heartbeats))
        if self.baseline is None:
            self.baseline = set(self.committed)
            saved = True
        if saved:
            await self.backend.save()
            self.saved |= visible

    async def delete(self):
        """Somebody cleans up; what no leader has had a chance to count stays."""
        gone = self.saved - self.deleted
        await self.backend.delete(gone)
        self.deleted |= gone

    async def kill(self):
        if self.baseline is not None:
            await self.backend.kill()


class InMemory:
    """Rows as the server would show them."""

    def __init__(self):
        self.counter, self.total, self.checkpoint = RunCounter(), Counter(), None
        self.items, self.runs, self.open, self.ids = {}, {}, {}, itertools.count(1)

    async def queue(self, task, now):
        item = next(self.ids)
        self.items[item] = Lease(item, "", task, now, 0.0)
        return item

    async def lease(self, item, owner, until):
        if item in self.items:
            self.items[item] = self.items[item]._replace(owner=owner, locked_until=until)

    async def record(self, number, run, attempt, now):
        self.open[number] = run

    async def commit(self, number):
        run = self.open.pop(number)
        self.runs[run.id] = run

    async def done(self, item):
        self.items.pop(item, None)

    async def delete(self, runs):
        for number in runs:
            del self.runs[number]

    async def read(self, now, heartbeats):
        leases = [lease for lease in self.items.values() if lease.owner]
        plan = self.counter.plan(now, leases)
        found = [
            run
            for run in self.runs.values()
            if run.started_at >= plan.since
            or any(b.task == run.task and b.since <= run.started_at <= b.until for b in plan.brackets)
        ]
        fresh = self.counter.finish(plan, leases, found, heartbeats=heartbeats)
        self.total.update(("success" if run.success else "failed", run.task) for run in fresh)

    async def save(self):
        self.checkpoint = COUNTERS.dump_json(self.counter), Counter(self.total)

    async def kill(self):
        self.counter = COUNTERS.validate_json(self.checkpoint[0])
        self.total = Counter(self.checkpoint[1])

    async def counts(self):
        return self.total

    def unaccounted(self):
        return self.counter.unaccounted


class InPostgres:
    """Rows of a real server; times are the story's, so the constraints that compare with the clock are dropped."""

    def __init__(self, url):
        self.url = url

    async def __aenter__(self):
        self.database = Database(self.url)
        self.host = await asyncpg.connect(self.url)
        self.writers = [await asyncpg.connect(self.url) for _ in range(WORKERS)]
        self.open = {}
        return self

    async def clear(self):
        """Rows and counts as before the first story."""
        for transaction in self.open.values():  # a story that failed left it
            await transaction.rollback()
        self.open.clear()
        await self.host.execute("TRUNCATE due_work, task_run, task, agent CASCADE")
        await self.host.execute("INSERT INTO agent (id, name, scopes) VALUES ($1, 'a', '{}')", uuid.UUID(int=1))
        await self.host.executemany(
            "INSERT INTO task (id, title, description, created_by, schedule_kind, payload) "
            "VALUES ($1, '', '', $2, 'cron', '{}')",
            [(task, uuid.UUID(int=1)) for task in TASKS],
        )
        self._begin()
        self.checkpoint = None

    async def __aexit__(self, *_):
        await self.database.close()
        for connection in (self.host, *self.writers):
            await connection.close()

    def _begin(self):
        self.families = SystemMetrics(Registry())
        self.collector = RunsCollector()

    async def queue(self, task, now):
        return await self.host.fetchval(
            "INSERT INTO due_work (task_id, run_at, created_at) VALUES ($1, to_timestamp($2), to_timestamp($2)) "
            "RETURNING id",
            task,
            now,
        )

    async def lease(self, item, owner, until):
        await self.host.execute(
            "UPDATE due_work SET locked_by = $2, locked_until = to_timestamp($3) WHERE id = $1", item, owner, until
        )

    async def record(self, number, run, attempt, now):
        self.open[number] = transaction = self.writers[number].transaction()
        await transaction.start()
        await self.writers[number].execute(
            "INSERT INTO task_run (id, task_id, lease_owner, started_at, finished_at, success, attempt) "
            "VALUES ($1, $2, $3, to_timestamp($4), to_timestamp($5), $6, $7)",
            uuid.UUID(int=(run.id << 64) + 1),
            *(run.task, run.owner, run.started_at, now, run.success, attempt),
        )

    async def commit(self, number):
        await self.open.pop(number).commit()

    async def done(self, item):
        await self.host.execute("DELETE FROM due_work WHERE id = $1", item)

    async def delete(self, runs):
        ids = [uuid.UUID(int=(number << 64) + 1) for number in runs]
        await self.host.execute("DELETE FROM task_run WHERE id = ANY ($1)", ids)

    async def read(self, now, heartbeats):
        async with self.database.transaction() as transaction:
            then = ReadTransaction(transaction.connection, now)
            queue = await read_queue(then, self.families, 75.0)
            await self.collector.read(then, self.families, queue.leases, heartbeats)

    async def save(self):
        self.checkpoint = COLLECTORS.dump_json(self.collector), await self.counts()

    async def kill(self):
        self._begin()
        state, counts = self.checkpoint
        self.collector = COLLECTORS.validate_json(state)
        for (status, task), number in counts.items():
            self.families.runs.labels(status, task, str(uuid.UUID(int=1))).inc(number)

    async def counts(self):
        return Counter(
            {child.label_values[:2]: int(child.value) for child in self.families.runs.children() if child.value}
        )

    def unaccounted(self):
        return self.families.unaccounted.labels().value


@settings(max_examples=400)
@given(story=stories)
def test_each_run_is_counted_once_from_rows_in_memory(story):
    asyncio.run(Story(InMemory()).play(story))


def test_each_run_is_counted_once_from_postgresql(prepared_url):
    @settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow])
    @given(story=stories)
    def run(story):
        runner.run(backend.clear())
        runner.run(Story(backend).play(story))

    backend = InPostgres(prepared_url)
    with asyncio.Runner() as runner:
        runner.run(backend.__aenter__())
        try:
            run()
        finally:
            runner.run(backend.__aexit__())


@pytest.fixture
def prepared_url(postgres_server, database_url):
    name = database_url.rpartition("/")[2]
    postgres_server.run_sql("ALTER TABLE due_work DROP CONSTRAINT chk_locked_until_future", name)
    return database_url
