"""A PostgreSQL that is not there, hangs, refuses or lacks something: each its own reason, and over when it is over."""

from __future__ import annotations

import asyncio
import signal
import time
from pathlib import Path

import asyncpg
import psutil
import pytest

from ordinaut_ext_observability.demo import servers
from ordinaut_ext_observability.demo.servers import PostgresServer
from ordinaut_ext_observability.background.tasks import PeriodicTask, run_periodically
from ordinaut_ext_observability.collectors import collector as collector_module
from ordinaut_ext_observability.collectors import connection as connection_module
from ordinaut_ext_observability.collectors.collector import reading_pause
from ordinaut_ext_observability.collectors.reader import LEADERS
from ordinaut_ext_observability.errors import Problem
from ordinaut_ext_observability.logs.event_types import COLLECTOR_PROBLEM
from tests.clock import ManualClock
from tests.collectors import collect, make_collector


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """Short waits."""
    monkeypatch.setattr(connection_module, "_CONNECT_SECONDS", 0.5)
    monkeypatch.setattr(connection_module, "_STATEMENT_SECONDS", 0.3)
    monkeypatch.setattr(connection_module, "_LOCK_SECONDS", 0.1)


class Collector:
    """A collector, what it logged, and its samples."""

    def __init__(self, url, **options):
        self.events = []
        self.collector = make_collector(
            url,
            event=lambda event, **fields: self.events.append((event, fields)),
            **options,
        )
        self.state, self.states = self.collector.states.of, self.collector.states

    async def collect(self):
        begun = time.monotonic()
        self.pause = await collect(self.collector)
        assert time.monotonic() - begun < 2.5

    def problems(self):
        states = {name: self.state(name) for name in ("database", *LEADERS)}
        return {name: state.problem for name, state in states.items() if state.problem is not None}

    def errors(self):
        return {child.label_values: child.value for child in self.collector.families.errors.children()}

    def shown(self):
        return [gauge.name for group in self.collector.families.gauges_of.values() for gauge in group if len(gauge)]

    async def expect_well(self):
        for _ in range(2):  # a connection that was broken is noticed at the first
            await self.collect()
        assert self.problems() == {}
        assert self.states.leads
        assert "orchestrator_queue_depth" in self.shown()

    async def expect_nothing(self, problem):
        assert self.state("database").problem is problem
        assert self.problems().keys() >= {"database"}
        assert self.shown() == []
        assert not self.states.leads
        assert self.states.mode == "none: not connected"
        assert self.errors()["database", problem.value] >= 1

    async def close(self):
        await self.collector.close()


def with_collector(url, **options):
    def run(test):
        async def inside():
            collector = Collector(url, **options)
            try:
                await test(collector)
            finally:
                await collector.close()

        asyncio.run(inside())

    return run


@pytest.fixture
def own_server():
    server = PostgresServer()
    server.start()
    yield server
    server.stop()


def make_tables(server):
    server.run_sql((Path(servers.__file__).parent / "schema.sql").read_text())


def test_a_server_that_is_stopped_and_started_again(own_server):
    make_tables(own_server)

    @with_collector(own_server.url())
    async def _(collector):
        await collector.expect_well()
        own_server.stop(keep=True)
        await collector.collect()
        await collector.expect_nothing(Problem.UNREACHABLE)
        assert collector.state("queue").problem is Problem.UNREACHABLE
        await collector.collect()
        await collector.expect_nothing(Problem.UNREACHABLE)
        own_server.start()
        await collector.expect_well()
        own_server.stop(keep=True)
        own_server.start()
        await collector.expect_well()


def test_a_server_that_hangs(own_server):
    make_tables(own_server)

    @with_collector(own_server.url())
    async def _(collector):
        await collector.expect_well()
        process = psutil.Process(own_server.process.pid)
        stopped = [process, *process.children()]
        for each in stopped:
            each.send_signal(signal.SIGSTOP)
        try:
            for _ in range(2):  # on the connection there is, and on a new one
                await collector.collect()
                await collector.expect_nothing(Problem.TIMEOUT)
        finally:
            for each in stopped:
                each.send_signal(signal.SIGCONT)
        await collector.expect_well()


def test_a_server_that_is_out_of_connections(postgres_server, database_url):
    name = database_url.rpartition("/")[2]
    role = f"{name}_full"
    postgres_server.run_sql(f"CREATE ROLE {role} LOGIN CONNECTION LIMIT 0; GRANT pg_read_all_data TO {role}", name)

    @with_collector(database_url.replace("orchestrator@", f"{role}@"))
    async def _(collector):
        await collector.collect()
        await collector.expect_nothing(Problem.TOO_MANY_CONNECTIONS)
        postgres_server.run_sql(f"ALTER ROLE {role} CONNECTION LIMIT 5", name)
        await collector.expect_well()

    postgres_server.run_sql(f"DROP OWNED BY {role}; DROP ROLE {role}", name)


def test_a_server_that_does_not_let_us_in(database_url):
    place = f"{database_url.partition('@')[2]}_gone"

    @with_collector(f"{database_url.replace('orchestrator@', 'orchestrator:secret@')}_gone")
    async def _(collector):
        await collector.collect()
        await collector.expect_nothing(Problem.REFUSED)
        assert "secret" not in str(collector.events)
        assert collector.events == [
            (
                COLLECTOR_PROBLEM["PostgreSQL"],
                {
                    "collector": "database",
                    "reason": "refused",
                    "exception_type": "InvalidCatalogNameError",
                    "detail": f'{place}: database "{place.rpartition("/")[2]}" does not exist',
                },
            )
        ]

    @with_collector(database_url.replace("orchestrator@", "nobody_known@"))
    async def _(collector):
        await collector.collect()
        await collector.expect_nothing(Problem.REFUSED)


def test_a_name_that_does_not_resolve():
    @with_collector("postgresql://orchestrator@name.invalid/x")
    async def _(collector):
        await collector.collect()
        await collector.expect_nothing(Problem.UNREACHABLE)


def test_tables_that_may_not_be_read(postgres_server, database_url):
    name = database_url.rpartition("/")[2]
    role = f"{name}_blind"
    postgres_server.run_sql(f"CREATE ROLE {role} LOGIN", name)

    @with_collector(database_url.replace("orchestrator@", f"{role}@"))
    async def _(collector):
        await collector.collect()
        assert collector.state("database").problem is None
        assert collector.states.leads
        assert set(collector.problems().values()) == {Problem.NO_PERMISSION}
        assert collector.pause == pytest.approx(15.0, abs=1.0)
        postgres_server.run_sql(f"GRANT SELECT ON due_work, worker_heartbeat, task TO {role}", name)
        await collector.collect()
        assert collector.problems() == {"runs": Problem.NO_PERMISSION, "activity": Problem.NO_PERMISSION}
        assert collector.state("queue").facts is not None
        postgres_server.run_sql(f"GRANT SELECT ON ALL TABLES IN SCHEMA public TO {role}", name)
        await collector.expect_well()
        recovered = {fields["collector"] for event, fields in collector.events if event.name == "collector_recovered"}
        assert {"runs", "activity", "queue"} <= recovered

    postgres_server.run_sql(f"DROP OWNED BY {role}; DROP ROLE {role}", name)


def test_a_table_that_is_missing(postgres_server, database_url):
    name = database_url.rpartition("/")[2]

    @with_collector(database_url)
    async def _(collector):
        await collector.expect_well()
        postgres_server.run_sql("ALTER TABLE task_run RENAME TO other", name)
        await collector.collect()
        assert collector.problems() == {"runs": Problem.MISSING_TABLE}
        assert "orchestrator_executions" not in collector.shown()
        assert "orchestrator_queue_depth" in collector.shown()
        assert collector.errors()["runs", "missing_table"] == 1
        postgres_server.run_sql("ALTER TABLE other RENAME TO task_run", name)
        await collector.expect_well()
        postgres_server.run_sql("ALTER TABLE audit_log RENAME COLUMN actor_agent_id TO other", name)
        await collector.collect()
        assert collector.problems() == {"activity": Problem.MISSING_TABLE}


def test_a_table_that_is_locked(database_url):
    @with_collector(database_url)
    async def _(collector):
        await collector.expect_well()
        other = await asyncpg.connect(database_url)
        async with other.transaction():
            await other.execute("LOCK TABLE audit_log IN ACCESS EXCLUSIVE MODE")
            await collector.collect()
            assert collector.problems() == {"activity": Problem.TIMEOUT}
        await other.close()
        await collector.expect_well()


def test_a_connection_that_is_ended_by_the_server(database_url):
    @with_collector(database_url)
    async def _(collector):
        await collector.expect_well()
        other = await asyncpg.connect(database_url)
        await other.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'ordinaut-observability' "
            "AND datname = current_database()"
        )
        await other.close()
        await collector.expect_well()


def test_failures_in_a_row_make_it_ask_less_often_and_slowness_too():
    assert [reading_pause(15.0, failures, 0.1) for failures in (0, 1, 2, 3, 50)] == [15.0, 15.0, 30.0, 60.0, 60.0]
    assert [reading_pause(15.0, 0, took) for took in (1.0, 3.0, 20.0)] == [15.0, 30.0, 60.0]


@pytest.mark.parametrize(("interval", "longest"), [(1.0, 15.0), (15.0, 15.0), (120.0, 120.0)])
def test_a_server_that_cannot_be_reached_is_tried_again_soon(free_port, interval, longest):
    collector = Collector(f"postgresql://orchestrator@127.0.0.1:{free_port()}/x", interval_seconds=interval)
    collector.collector._failures = 50
    assert asyncio.run(collector.collector.collect()) == longest


def test_a_store_that_hangs_makes_no_reading_late(database_url, monkeypatch):
    clock = ManualClock()

    @with_collector(database_url, clock=clock)
    async def _(collector):
        async def hang():
            clock.now += 5.0
            return True

        monkeypatch.setattr(collector.collector, "_save", hang)
        await collector.collect()
        assert collector.pause == 15.0


def test_the_server_is_looked_at_while_readings_are_put_off(own_server, monkeypatch):
    make_tables(own_server)
    monkeypatch.setattr(collector_module, "LOOK_SECONDS", 0.05)

    @with_collector(own_server.url(), interval_seconds=0.05)
    async def _(collector):
        def answers():
            return collector.state("database").problem is None

        async def until(condition):
            async with asyncio.timeout(10.0):
                while not condition():
                    await asyncio.sleep(0.01)

        monkeypatch.setattr(collector_module, "_BUSY_SHARE", 1e-6)  # every reading took too long
        stop = asyncio.Event()
        task = PeriodicTask("postgresql", collector.collector.collect, 0.05, finish=collector.close)
        running = asyncio.create_task(run_periodically(task, stop, lambda _, error: None))
        await until(lambda: collector.state("queue").facts is not None)
        first = collector.state("queue").collected_at, collector.state("database").collected_at
        await until(lambda: collector.state("database").collected_at > first[1])
        assert collector.state("queue").collected_at == first[0]
        assert collector.states.leads
        own_server.stop(keep=True)
        await until(lambda: not answers())
        assert not collector.states.leads
        own_server.start()
        await until(answers)
        stop.set()
        await running
