"""What the collectors find in a real PostgreSQL, and how they ask for it."""

from __future__ import annotations

import asyncio
import itertools
import re
import uuid

import asyncpg
import orjson
import pytest

from tests.client_model import ClientModel
from ordinaut_ext_observability.collectors import collector as collector_module
from ordinaut_ext_observability.collectors import work as work_module
from ordinaut_ext_observability.collectors.collector import ExtraQuery
from ordinaut_ext_observability.collectors.connection import Database, instant, query
from ordinaut_ext_observability.collectors.work import read_queue
from ordinaut_ext_observability.collectors.reader import CHECKPOINT
from ordinaut_ext_observability.postgresql.connection import undone_alone
from ordinaut_ext_observability.metrics.declarations import Metrics
from ordinaut_ext_observability.metrics.registry import Registry
from tests.collectors import collect, make_collector

AGENT = uuid.UUID(int=1)


class Host:
    """The host's tables, and a collector on them."""

    def __init__(self, url, **options):
        self.url, self.options = url, options

    async def __aenter__(self):
        self.connection = await asyncpg.connect(self.url)
        self.execute, self.value = self.connection.execute, self.connection.fetchval
        await self.execute("ALTER TABLE due_work DROP CONSTRAINT chk_locked_until_future")
        await self.execute("INSERT INTO agent (id, name, scopes) VALUES ($1, 'a', '{}')", AGENT)
        self.metrics = Metrics(Registry())
        self.collector = make_collector(
            self.url.replace("postgresql://", "postgresql+psycopg://"), self.metrics, **self.options
        )
        return self

    async def __aexit__(self, *_):
        await self.collector.close()
        await self.connection.close()

    async def task(self, kind="cron", priority=5, status="active", expression=None):
        return await self.value(
            "INSERT INTO task (title, description, created_by, schedule_kind, schedule_expr, payload, priority, status) "
            "VALUES ('t', '', $1, $2, $3, '{}', $4, $5) RETURNING id",
            *(AGENT, kind, expression, priority, status),
        )

    async def due(self, task, seconds, count=1, locked_for=None, owner=None):
        await self.execute(
            "INSERT INTO due_work (task_id, run_at, locked_until, locked_by) "
            "SELECT $1, now() - $2 * interval '1 second', now() + $3 * interval '1 second', $4 "
            "FROM generate_series(1, $5)",
            *(task, seconds, locked_for, owner, count),
        )

    async def heartbeat(self, worker, ago, processed=0):
        await self.execute(
            "INSERT INTO worker_heartbeat (worker_id, last_seen, processed_count) "
            "VALUES ($1, now() - $2 * interval '1 second', $3) ON CONFLICT (worker_id) DO UPDATE "
            "SET last_seen = excluded.last_seen, processed_count = excluded.processed_count",
            *(worker, ago, processed),
        )

    def values(self, name):
        return {
            tuple(sample.labels.values()): sample.value
            for family in ClientModel(self.metrics.registry).collect()
            for sample in family.samples
            if sample.name == name
        }


def on(url, **options):
    def run(test):
        async def inside():
            async with Host(url, **options) as host:
                await test(host)

        asyncio.run(inside())

    return run


def test_the_queue(database_url):
    @on(database_url)
    async def _(host):
        low, high = await host.task(priority=2), await host.task(priority=9)
        await host.due(low, 100.0, 3)
        await host.due(high, 50.0, 2)
        await host.due(high, -3600.0, 7)
        await host.due(high, 200.0, 4, 30.0, "busy")
        await host.due(low, 300.0, 1, -10.0, "alive")
        await host.due(low, 300.0, 2, -10.0, "dead")
        await host.heartbeat("alive", 20.0)
        await host.heartbeat("dead", 500.0)
        await collect(host.collector)
        facts = host.collector.states.of("queue").facts
        assert (facts.claimable, facts.claimable_is_estimate, facts.in_progress) == (8, False, 4)
        assert (facts.expired_owner_alive, facts.expired_owner_dead) == (1, 2)
        assert facts.claimable_by_priority == {"2": 6, "9": 2}
        assert facts.oldest_claimable_age_seconds == pytest.approx(300.0, abs=5.0)
        depth = host.values("orchestrator_due_work_queue_depth")
        assert depth["all",] == 8
        assert sum(depth.values()) == 16
        assert host.values("orchestrator_expired_leases") == {("alive",): 1, ("dead",): 2}
        await host.execute("TRUNCATE due_work")
        await collect(host.collector)
        assert host.collector.states.of("queue").facts.oldest_claimable_age_seconds == 0.0
        assert host.values("orchestrator_queue_depth") == {(): 0}


def test_beyond_the_cap_the_depth_is_an_estimate(database_url):
    @on(database_url)
    async def _(host):
        for priority in (1, 3):
            await host.due(await host.task(priority=priority), 60.0, 25_000)
        await host.execute("ANALYZE")
        await collect(host.collector)
        facts = host.collector.states.of("queue").facts
        assert facts.claimable_is_estimate
        assert facts.claimable == pytest.approx(50_000, rel=0.1)
        assert sum(facts.claimable_by_priority.values()) == pytest.approx(facts.claimable, abs=2)
        assert host.values("orchestrator_queue_depth_is_estimate") == {(): 1}


def test_the_workers(database_url):
    @on(database_url)
    async def _(host):
        task = await host.task()
        await host.heartbeat("idle", 5.0, 10)
        await host.heartbeat("busy", 40.0, 10)
        await host.heartbeat("gone", 5000.0, 10)
        await host.due(task, 5.0, 1, 30.0, "busy")
        await host.due(task, 5.0, 1, 30.0, "long at work")
        await collect(host.collector)
        facts = host.collector.states.of("workers").facts
        assert (facts.active, facts.busy, facts.processed_total) == (2, 2, 30)
        assert facts.newest_heartbeat_age_seconds == pytest.approx(5.0, abs=3.0)
        assert facts.oldest_heartbeat_age_seconds == pytest.approx(40.0, abs=3.0)
        assert host.values("orchestrator_workers") == {("busy",): 2, ("idle",): 1}
        await host.heartbeat("idle", 0.0, 14)
        await host.heartbeat("new", 0.0, 2)
        await host.execute("DELETE FROM worker_heartbeat WHERE worker_id = 'gone'")
        await collect(host.collector)
        assert host.values("orchestrator_work_items_processed_total") == {(): 6}
        assert host.values("orchestrator_work_items_finished")["minute",] == 6
        assert host.collector.states.of("workers").facts.processed_total == 36


def test_the_scheduler(database_url):
    @on(database_url)
    async def _(host):
        await host.task("cron")
        await host.task("rrule", status="paused")
        await host.task("event")
        await host.task("once", expression="2999-01-01T00:00:00+00:00")
        await host.task("once", expression="2999-01-01T00:00:00")
        await host.task("once", expression="2001-01-01T00:00:00Z")
        await host.task("once", expression="tomorrow")
        await collect(host.collector)
        facts = host.collector.states.of("scheduler").facts
        assert (facts.table_exists, facts.jobs, facts.active_schedules) == (False, 0, 3)
        assert host.values("orchestrator_scheduler_jobs") == {}
        assert host.values("orchestrator_tasks")["once", "active"] == 4
        await host.execute(
            "CREATE TABLE apscheduler_jobs (id varchar PRIMARY KEY, next_run_time float8, job_state bytea NOT NULL)"
        )
        for number, later in enumerate((-300.0, -10.0, 40.0)):
            await host.execute(
                "INSERT INTO apscheduler_jobs VALUES ($1, extract(epoch FROM now())::float8 + $2, '')",
                *(str(number), later),
            )
        await host.execute("INSERT INTO apscheduler_jobs VALUES ('paused', NULL, '')")
        await collect(host.collector)
        facts = host.collector.states.of("scheduler").facts
        assert (facts.table_exists, facts.jobs, facts.overdue_jobs) == (True, 4, 1)
        assert facts.oldest_overdue_seconds == pytest.approx(300.0, abs=5.0)
        assert facts.next_run_in_seconds == pytest.approx(40.0, abs=5.0)
        assert host.values("orchestrator_scheduler_overdue_jobs") == {(): 1}


def test_runs_and_audit_are_counted_from_the_first_reading_on(database_url):
    @on(database_url)
    async def _(host):
        task = await host.task("rrule")

        async def add():
            for attempt, success in ((1, False), (2, True)):
                await host.execute(
                    "INSERT INTO task_run (task_id, lease_owner, started_at, finished_at, success, attempt) "
                    "VALUES ($1, 'w', now() - interval '3 seconds', now(), $2, $3)",
                    *(task, success, attempt),
                )
            await host.execute(
                "INSERT INTO audit_log (actor_agent_id, action, subject_id) VALUES ($1, 'task.created', $2)",
                *(AGENT, task),
            )

        await add()
        await collect(host.collector)
        assert host.values("orchestrator_task_runs_total") == {}
        await add()
        await add()
        for _ in range(3):
            await collect(host.collector)
        labels = (str(task), str(AGENT))
        assert host.values("orchestrator_task_runs_total") == {("success", *labels): 2, ("failed", *labels): 2}
        assert host.values("orchestrator_task_run_duration_seconds_count") == {
            (*labels, "true"): 2,
            (*labels, "false"): 2,
        }
        assert host.values("orchestrator_task_run_retries_total") == {("rrule",): 2}
        assert host.values("orchestrator_task_run_failures_total") == {("rrule",): 2}
        assert host.values("orchestrator_executions") == {("minute",): 4, ("hour",): 4, ("day",): 4}
        assert host.values("orchestrator_execution_success_ratio")["hour",] == 0.5
        assert host.values("orchestrator_audit_actions_total") == {("task.created",): 2}
        assert host.values("orchestrator_tasks_created_total") == {("rrule", str(AGENT)): 2}
        assert host.values("orchestrator_active_agents")["minute",] == 1
        assert host.values("orchestrator_task_runs_unaccounted_total") == {(): 0}


async def add_runs(host, task, number, began="clock_timestamp()"):
    await host.execute(
        "INSERT INTO task_run (task_id, started_at, finished_at, success, attempt) "
        f"SELECT $1, {began}, {began} + interval '2 seconds', false, 2 FROM generate_series(1, $2)",
        *(task, number),
    )


@pytest.mark.parametrize("began", ["now()", "now() + n * interval '1 ms'"])
def test_more_runs_than_are_read_at_once_are_read_the_next_times(database_url, monkeypatch, began):
    monkeypatch.setattr(work_module, "_MOST_ROWS", 3)

    @on(database_url)
    async def _(host):
        task = await host.task()
        await add_runs(host, task, 10)
        await collect(host.collector)
        await host.execute(
            "INSERT INTO task_run (task_id, started_at, finished_at, success, attempt) "
            f"SELECT $1, {began}, now(), true, 1 FROM generate_series(1, 20) n",
            task,
        )
        for _ in range(20):
            await collect(host.collector)
        assert sum(host.values("orchestrator_task_runs_total").values()) == 20


def test_parts_that_cannot_be_read_are_counted_and_logged_once_per_change(database_url):
    events, found = [], {"locks": "timeout", "tables": "no_permission"}

    cleared = []

    async def read_extra(transaction, _):
        await transaction.connection.fetchval("SELECT 1" if found is not None else "SELECT * FROM nowhere")
        return found

    extra = ExtraQuery(read_extra, lambda: cleared.append(1))

    @on(database_url, extra=extra, event=lambda event, **fields: events.append((event.name, fields)))
    async def _(host):
        nonlocal found

        async def read():
            for _ in range(collector_module._ROUNDS_PER_EXTRA_QUERY):
                await collect(host.collector)
            seen = [
                (what, fields["part"], fields.get("reason"))
                for what, fields in events
                if fields.get("collector") == "insights" and "part" in fields
            ]
            events.clear()
            errors = host.values("ordinaut_observability_collector_errors_total")
            return seen, {reason: count for (name, reason), count in errors.items() if name == "insights"}

        assert await read() == (
            [("collector_problem", "locks", "timeout"), ("collector_problem", "tables", "no_permission")],
            {"timeout": 1, "no_permission": 1},
        )
        assert await read() == ([], {"timeout": 2, "no_permission": 2})
        found = {"locks": "failed"}
        seen, errors = await read()
        assert seen == [("collector_problem", "locks", "failed"), ("collector_recovered", "tables", None)]
        assert errors == {"timeout": 2, "no_permission": 2, "failed": 1}
        assert not cleared
        found = None
        _, errors = await read()
        assert errors["missing_table"] == 1
        assert cleared == [1]


def test_how_late_work_is(database_url):
    @on(database_url)
    async def _(host):
        task = await host.task("event")
        await collect(host.collector)
        await host.due(task, 20.0, 3)
        await host.due(task, 20.0, 1, 58.0, "w")
        for _ in range(2):
            await collect(host.collector)
        name = "orchestrator_schedule_drift_seconds"
        assert host.values(f"{name}_count") == {("event", "queued"): 4, ("event", "leased"): 1}
        assert host.values(f"{name}_sum")["event", "queued"] == pytest.approx(80.0, abs=2.0)
        assert host.values(f"{name}_sum")["event", "leased"] == pytest.approx(18.0, abs=2.0)


def test_nothing_can_be_written_and_every_wait_is_bounded(database_url):
    async def run():
        database = Database(database_url)
        async with database.transaction() as transaction:
            for name, value in (
                ("application_name", "ordinaut-observability"),
                ("transaction_read_only", "on"),
                ("transaction_isolation", "repeatable read"),
                ("statement_timeout", "3s"),
                ("lock_timeout", "500ms"),
                ("idle_in_transaction_session_timeout", "10s"),
            ):
                assert await transaction.connection.fetchval("SELECT current_setting($1)", name) == value
            with pytest.raises(asyncpg.ReadOnlySQLTransactionError):
                async with undone_alone(transaction.connection):
                    await transaction.connection.execute("DELETE FROM due_work")
        await database.close()

    asyncio.run(run())


def test_no_recurring_statement_reads_a_large_table_through(database_url):
    """With the statistics as they are after ANALYZE, and as stale as autovacuum leaves them."""

    async def run(host):
        tasks = [await host.task() for _ in range(20)]
        await host.execute(
            "INSERT INTO task_run (task_id, lease_owner, started_at, finished_at, success) "
            "SELECT ($1::uuid[])[1 + n % 20], 'w', now() - n * interval '1 second', now(), n % 9 > 0 "
            "FROM generate_series(1, 150000) n",
            tasks,
        )
        await host.execute(
            "INSERT INTO due_work (task_id, run_at, locked_until, locked_by) "
            "SELECT ($1::uuid[])[1 + n % 20], now() - n * interval '1 second', "
            "CASE WHEN n > 149900 THEN now() + interval '1 hour' END, 'w' FROM generate_series(1, 150000) n",
            tasks,
        )
        await host.execute("INSERT INTO audit_log (action) SELECT 'x' FROM generate_series(1, 100000)")
        await host.execute("ANALYZE")
        await check(host, tasks)
        await host.execute(
            "INSERT INTO task_run (task_id, started_at, finished_at, success) "
            "SELECT ($1::uuid[])[1 + n % 20], now(), now(), true FROM generate_series(1, 5000) n",
            tasks,
        )
        await check(host, tasks)

    async def check(host, tasks):
        now = await host.value("SELECT extract(epoch FROM now())::float8")
        recent = instant(now - 105)
        for name, *arguments in (
            ("queue", instant(now), 10_001, instant(now - 75)),
            ("queued", 149_000, 1000),
            ("queued_newest",),
            ("runs_window", recent, 200_000),
            ("runs_late", tasks, [instant(now - 9000)] * 20, [instant(now - 8800)] * 20),
            ("runs_skipped", instant(now - 90_000), instant(now - 80_000), 1000),
            ("audit", 99_000, 20_000),
            ("audit_missing", list(range(1, 100_000, 1000))),
            ("audit_newest", 500),
        ):
            plan = await host.value(f"EXPLAIN (FORMAT JSON) {query(name)}", *arguments)
            scans = re.findall(r'"Node Type": "(\w+ ?\w*) Scan"[^{}]*?"Relation Name": "(\w+)"', plan)
            assert scans, name
            sequential = {table for kind, table in scans if kind == "Seq"} & {"task_run", "due_work", "audit_log"}
            assert not sequential, f"{name}: {plan}"

    on(database_url)(run)


def test_the_leases_are_found_at_the_head_of_a_long_queue(database_url):
    @on(database_url)
    async def _(host):
        task = await host.task()
        await host.due(task, 10.0, 20_000)
        await host.due(task, 60.0, 5, 30.0, "w")
        async with host.collector._database.transaction() as transaction:
            found = await read_queue(transaction, host.collector.families, 75.0)
        assert len(found.leases) == found.in_progress == 5
        assert all(lease.locked_until >= transaction.now for lease in found.leases)


def test_a_checkpoint_is_small(database_url):
    @on(database_url)
    async def _(host):
        task = await host.task()
        await collect(host.collector)
        await host.execute(
            "INSERT INTO task_run (task_id, started_at, finished_at, success) "
            "SELECT $1, now(), now(), true FROM generate_series(1, 10000)",
            task,
        )
        await collect(host.collector)
        state = CHECKPOINT.dump_json(host.collector._reader.counting)
        assert len(state) < 300_000
        assert orjson.loads(state)


def test_every_metric_says_where_it_comes_from(database_url):
    @on(database_url)
    async def _(host):
        await collect(host.collector)
        families = host.collector.families
        shown = {metric for metric, _ in host.values("ordinaut_observability_source_info")}
        own = {family.name for family in itertools.chain(*families.gauges_of.values(), families.cluster_counters)}
        assert shown <= own
