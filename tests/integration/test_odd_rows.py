"""Rows that say what cannot be: each costs itself, and is counted where something of it is left out."""

from __future__ import annotations

import asyncio
import math
import uuid

import asyncpg
import orjson

from tests.client_model import ClientModel
from ordinaut_ext_observability.background.clock import Clock
from ordinaut_ext_observability.cluster.sqlite import MEMORY
from ordinaut_ext_observability.relay.sqlite_store import SqliteRelayStore
from tests.collectors import collect, make_collector
from ordinaut_ext_observability.collectors.reader import LEADERS
from ordinaut_ext_observability.metrics.declarations import Metrics
from ordinaut_ext_observability.metrics.registry import Registry

AGENT = uuid.UUID(int=1)
TASK = uuid.UUID(int=2)
TABLES = ("agent", "task", "task_run", "due_work", "audit_log", "worker_heartbeat", "apscheduler_jobs")


class Host:
    """The host's tables without their constraints, a task, and a collector that has read them."""

    def __init__(self, url):
        self._url = url

    async def __aenter__(self):
        connection = self.connection = await asyncpg.connect(self._url)
        self.execute = connection.execute
        await self.execute(
            "CREATE TABLE apscheduler_jobs (id text PRIMARY KEY, next_run_time double precision, job_state bytea)"
        )
        for table, column in await connection.fetch(
            "SELECT a.attrelid::regclass::text, a.attname FROM pg_attribute a WHERE a.attrelid::regclass::text = "
            "ANY ($1::text[]) AND a.attnum > 0 AND a.attnotnull AND NOT EXISTS (SELECT FROM pg_index i "
            "WHERE i.indrelid = a.attrelid AND i.indisprimary AND a.attnum = ANY (i.indkey))",
            TABLES,
        ):
            await self.execute(f"ALTER TABLE {table} ALTER {column} DROP NOT NULL")
        for table, name in await connection.fetch(
            "SELECT conrelid::regclass::text, conname FROM pg_constraint WHERE contype IN ('c', 'f') "
            "AND conrelid::regclass::text = ANY ($1::text[])",
            TABLES,
        ):
            await self.execute(f"ALTER TABLE {table} DROP CONSTRAINT {name}")
        await self.execute("INSERT INTO agent (id, name, scopes) VALUES ($1, 'a', '{}')", AGENT)
        await self.execute(
            "INSERT INTO task (id, title, description, created_by, schedule_kind, payload) "
            "VALUES ($1, 't', '', $2, 'cron', '{}')",
            *(TASK, AGENT),
        )
        self.collector = None
        await self.begin()
        return self

    async def begin(self):
        """A collector that counts from now on."""
        if self.collector is not None:
            await self.collector.close()
        self.stores = SqliteRelayStore(MEMORY, Clock())
        self._handed_over = []
        self.collector = self.make_collector()
        await self.read()

    async def __aexit__(self, *_):
        await self.collector.close()
        await self.connection.close()

    def make_collector(self):
        self.metrics = Metrics(Registry())
        return make_collector(self._url, self.metrics, open_stores=lambda: self.stores)

    async def read(self):
        """Read, with everything read and every number finite, also by whoever leads next."""
        await collect(self.collector)
        assert {name: self.collector.states.of(name).problem for name in ("database", *LEADERS)} == dict.fromkeys(
            ("database", *LEADERS)
        )
        assert self.collector.states.leads
        for family in ClientModel(self.metrics.registry).collect():
            for sample in family.samples:
                assert math.isfinite(sample.value), sample
        assert self.metrics.internal_errors.labels("collector_checkpoint").value == 0

    async def hand_over(self):
        """Another process reads from now on, from where this one stopped."""
        await self.collector._database.close()
        self._handed_over.append(self.metrics)
        self.collector = self.make_collector()
        await self.read()

    def values(self, name):
        """The values now; what is counted from the database is added up over all who led."""
        counted = name.startswith("orchestrator_") and name.endswith(("_total", "_count", "_sum"))
        found = {}
        for metrics in (*(self._handed_over if counted else ()), self.metrics):
            for family in ClientModel(metrics.registry).collect():
                for sample in family.samples:
                    if sample.name == name:
                        labels = tuple(sample.labels.values())
                        found[labels] = found.get(labels, 0) + sample.value
        return found

    def odd_rows(self):
        found = self.values("ordinaut_observability_collector_errors_total")
        return {collector: number for (collector, reason), number in found.items() if reason == "odd_row"}


def on(url, odd_values=(None,)):
    """Runs a test, with each of the values in tables that are empty again."""

    def run(test):
        async def inside():
            async with Host(url) as host:
                for odd in odd_values:
                    await (test(host, odd) if len(odd_values) > 1 else test(host))
                    await host.execute(
                        "TRUNCATE due_work, task_run, audit_log, worker_heartbeat, apscheduler_jobs RESTART IDENTITY"
                    )
                    await host.begin()

        asyncio.run(inside())

    return run


TIMES = (
    *("infinity", "-infinity", "4713-01-01 BC", "0001-01-01", "1969-12-31", "9999-12-31", "294276-12-31"),
    None,
)


async def add_due(host, run_at="now", locked_until=None, created_at="now", task=TASK, owner="worker-1"):
    await host.execute(
        "INSERT INTO due_work (task_id, run_at, locked_until, locked_by, created_at) VALUES "
        "($1, $2::text::timestamptz, $3::text::timestamptz, $4, $5::text::timestamptz)",
        *(task, run_at, locked_until, owner if locked_until else None, created_at),
    )


def test_work_that_is_parked_for_ever_is_in_progress(database_url):
    @on(database_url)
    async def _(host):
        await add_due(host, "yesterday", "infinity")
        await add_due(host, "yesterday")
        await host.read()
        facts = host.collector.states.of("queue").facts
        assert (facts.claimable, facts.in_progress) == (1, 1)
        assert host.collector.states.of("workers").facts.busy == 1
        await host.hand_over()


def test_work_that_has_always_been_due_can_be_claimed_and_has_waited_since_it_was_queued(database_url):
    @on(database_url)
    async def _(host):
        await add_due(host, "-infinity")
        await add_due(host, "0001-01-01")
        await host.read()
        facts = host.collector.states.of("queue").facts
        assert (facts.claimable, facts.in_progress) == (2, 0)
        assert 0.0 <= facts.oldest_claimable_age_seconds < 60.0


def test_no_time_in_the_queue_hides_the_other_rows(database_url):
    @on(database_url, TIMES)
    async def _(host, odd):
        await add_due(host, "now", created_at="yesterday")
        await add_due(host, odd)
        await add_due(host, created_at=odd)
        for run_at in (odd, "yesterday"):
            await add_due(host, run_at, locked_until=odd)
            await add_due(host, run_at, locked_until="tomorrow", created_at=odd)
        await host.read()
        assert host.collector.states.of("queue").facts.claimable >= 2
        assert host.collector.states.of("queue").facts.in_progress >= 1
        await host.read()
        await host.hand_over()


def test_priorities_and_kinds_may_be_anything(database_url):
    @on(database_url)
    async def _(host):
        for priority in (None, -1, 2**31 - 1):
            task = await host.connection.fetchval(
                "INSERT INTO task (title, priority) VALUES ('t', $1) RETURNING id", priority
            )
            await add_due(host, task=task)
            await add_due(host, task=task, locked_until="tomorrow")
        await add_due(host, task=None)
        await add_due(host, task=None, locked_until="tomorrow")
        await host.read()
        facts = host.collector.states.of("queue").facts
        assert (facts.claimable, facts.in_progress) == (4, 4)
        assert facts.claimable_by_priority == {"-1": 1, str(2**31 - 1): 1}


def test_no_time_of_a_worker_hides_the_others(database_url):
    @on(database_url, TIMES)
    async def _(host, odd):
        await host.execute("INSERT INTO worker_heartbeat (worker_id, processed_count) VALUES ('well', 1)")
        await host.execute(
            "INSERT INTO worker_heartbeat (worker_id, last_seen, created_at, processed_count) "
            "VALUES ('odd', $1::text::timestamptz, now(), 1), ('new', now(), $1::text::timestamptz, 1)",
            odd,
        )
        await host.read()
        assert host.collector.states.of("workers").facts.active == 2
        is_future = odd in ("infinity", "9999-12-31", "294276-12-31")
        assert host.odd_rows() == ({"workers": 1} if is_future else {})
        await host.execute("UPDATE worker_heartbeat SET processed_count = 3 WHERE worker_id = 'well'")
        await host.hand_over()
        assert host.values("orchestrator_work_items_processed_total")[()] >= 3


def test_no_count_of_a_worker_hides_the_others(database_url):
    @on(database_url)
    async def _(host):
        await host.execute(
            "INSERT INTO worker_heartbeat (worker_id, processed_count) "
            "SELECT 'odd' || n, 9223372036854775807 FROM generate_series(1, 2000) AS n"
        )
        await host.execute(
            "INSERT INTO worker_heartbeat (worker_id, processed_count) VALUES ('a', -5), ('b', NULL), ('c', 7)"
        )
        await host.read()
        await host.hand_over()
        await host.begin()  # which reads all that was ever processed


def test_no_time_of_a_job_hides_the_others(database_url):
    @on(database_url, ["NaN", "Infinity", "-Infinity", "1e308", "-1.7e308", "-1", "0", "253402300800", None])
    async def _(host, odd):
        await host.execute(
            "INSERT INTO apscheduler_jobs (id, next_run_time) VALUES ('odd', $1::text::float8), "
            "('late', extract(epoch FROM now()) - 100), ('soon', extract(epoch FROM now()) + 100)",
            odd,
        )
        await host.read()
        facts = host.collector.states.of("scheduler").facts
        assert facts.jobs == 3
        assert facts.oldest_overdue_seconds >= (1e9 if odd == "0" else 99.0)
        assert 0.0 < facts.next_run_in_seconds <= 100.0
        assert bool(host.odd_rows()) == (odd in {"NaN", "Infinity", "-Infinity", "1e308", "-1.7e308", "-1"})


def test_no_schedule_hides_the_others(database_url):
    @on(database_url)
    async def _(host):
        for expression in ("0001-01-01T00:00:00+23:59", "9999-12-31T23:59:59-23:59", "x" * 100_000, "", "2999-01-01"):
            await host.execute(
                "INSERT INTO task (title, schedule_kind, schedule_expr, status) VALUES ('t', 'once', $1, 'active')",
                expression,
            )
        await host.execute("INSERT INTO task (title, schedule_kind, status) VALUES ('t', NULL, NULL)")
        await host.read()
        assert host.collector.states.of("scheduler").facts.active_schedules == 3


def test_no_run_hides_the_others(database_url):
    @on(database_url, TIMES)
    async def _(host, odd):
        await host.execute(
            "INSERT INTO task_run (task_id, started_at, finished_at, success, attempt) VALUES "
            "($1, $2::text::timestamptz, now(), true, 1), ($1, now(), $2::text::timestamptz, true, NULL), "
            "($1, now() - interval '2 s', now(), NULL, 1), ($1, now() - interval '2 s', now(), true, 2)",
            *(TASK, odd),
        )
        await host.read()
        await host.hand_over()
        assert host.values("orchestrator_task_runs_total") == {
            ("success", str(TASK), str(AGENT)): 2,
            ("failed", str(TASK), str(AGENT)): 1,
        }
        assert sum(host.values("orchestrator_task_run_duration_seconds_count").values()) >= 2
        assert sum(host.values("orchestrator_task_run_duration_seconds_sum").values()) < 100.0


def test_no_entry_of_the_audit_log_hides_the_others(database_url):
    @on(database_url, TIMES)
    async def _(host, odd):
        await host.execute(
            "INSERT INTO audit_log (actor_agent_id, action, at) VALUES ($1, 'task.paused', $2::text::timestamptz), "
            "($1, NULL, now()), (NULL, $3, now()), ($1, 'task.created', now())",
            *(AGENT, odd, "long" * 500),
        )
        await host.read()
        await host.hand_over()
        actions = host.values("orchestrator_audit_actions_total")
        assert (actions["task.paused",], actions["task.created",]) == (1, 1)
        assert max(len(action) for (action,) in actions) <= 100
        assert len(orjson.dumps(host.stores.get("collectors").content.decode())) < 10_000
