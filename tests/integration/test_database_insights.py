"""What is read from a real PostgreSQL: locks of real sessions, roles that may see little, statistics that are reset."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
import pytest

from ordinaut_ext_observability.demo.servers import PostgresServer
from ordinaut_ext_observability.db.definitions import InsightMetrics
from ordinaut_ext_observability.db.insights.locks import Locks, read_locks
from ordinaut_ext_observability.db.insights.queries import read_row, read_rows
from ordinaut_ext_observability.db.insights.report import Report, read_parts
from ordinaut_ext_observability.db.insights.queries import read_only_session
from ordinaut_ext_observability.db.insights.views import HOST_TABLES, Longest, Transaction, read_connections
from ordinaut_ext_observability.metrics.declarations import Metrics
from ordinaut_ext_observability.metrics.registry import Registry

SECRET = "hunter2secret"
TIMEOUT_SECONDS = 30.0


def run(coroutine: Coroutine[Any, Any, Any]) -> Any:
    return asyncio.run(asyncio.wait_for(coroutine, 60))


async def until(check: Callable[[], Coroutine[Any, Any, bool]]) -> None:
    """Wait for what is bound to come true."""
    for _ in range(int(TIMEOUT_SECONDS / 0.02)):
        if await check():
            return
        await asyncio.sleep(0.02)
    pytest.fail("did not come true in time")


class Sessions:
    """Sessions by name, each with the statement it waits in."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._waits: list[asyncio.Task[Any]] = []
        self.by_name: dict[str, Any] = {}

    async def run(self, name: str, sql: str) -> None:
        if name not in self.by_name:
            self.by_name[name] = await asyncpg.connect(self._url, server_settings={"application_name": name})
        await self.by_name[name].execute(sql)

    async def wait(self, name: str, sql: str) -> None:
        """Run what has to wait for a lock, and see it waiting."""
        await self.run(name, "SELECT 1")
        self._waits.append(asyncio.create_task(self.by_name[name].execute(sql)))
        pid = self.by_name[name].get_server_pid()

        async def waits() -> bool:
            async with read_only_session(self._url, 5.0) as connection:
                return bool(await connection.fetchval("SELECT cardinality(pg_blocking_pids($1)) > 0", pid))

        await until(waits)

    def pid(self, name: str) -> int:
        return int(self.by_name[name].get_server_pid())

    async def end(self) -> None:
        pids = [self.pid(name) for name in self.by_name]
        admin = await asyncpg.connect(self._url)
        await admin.execute("SELECT pg_terminate_backend(pid) FROM unnest($1::int[]) AS pid", pids)
        await admin.close()
        await asyncio.gather(*self._waits, return_exceptions=True)
        for connection in self.by_name.values():
            connection.terminate()


@asynccontextmanager
async def sessions(url: str) -> AsyncIterator[Sessions]:
    opened = Sessions(url)
    try:
        yield opened
    finally:
        await opened.end()


async def insights(url: str) -> Report:
    async with read_only_session(url, 5.0) as connection:
        return await read_parts(connection)


async def locks(url: str) -> Locks:
    async with read_only_session(url, 5.0) as connection:
        return await read_locks(connection)


@pytest.fixture
def limited_url(postgres_server: PostgresServer, database_url: str) -> Iterator[str]:
    """The URL for a role that may connect, and no more."""
    postgres_server.run_sql("CREATE ROLE limited LOGIN", "postgres")
    yield database_url.replace("orchestrator@", "limited@")
    postgres_server.run_sql("DROP ROLE limited", "postgres")


def test_fresh_database_has_every_part(database_url: str) -> None:
    found = run(insights(database_url))
    assert found.problems == ()
    assert found.server.sees_all
    assert found.server.max_connections == 100
    assert found.locks == Locks(0, (), 0)
    assert found.longest.transaction_seconds == 0.0
    assert 0 < found.xid_age.used_ratio < 0.01
    assert found.xid_age.oldest_table
    assert [table.name for table in found.tables.found] == sorted(set(HOST_TABLES) - {"apscheduler_jobs"})
    assert found.tables.missing == ("apscheduler_jobs",)
    assert "not installed" in found.statements.absent


def test_chain_of_locks_with_two_more_waiters_is_a_tree(database_url: str) -> None:
    update = f"UPDATE agent SET webhook_url = '{SECRET}' WHERE name = "

    async def check() -> None:
        async with sessions(database_url) as opened:
            await opened.run("setup", "INSERT INTO agent (name, scopes) VALUES ('a', '{}'), ('b', '{}'), ('c', '{}')")
            await opened.run("holder", f"BEGIN; {update} 'a'; {update} 'c'; LOCK TABLE task IN EXCLUSIVE MODE")
            await opened.run("second", f"BEGIN; {update} 'b'")
            await opened.wait("second", f"{update} 'a'")
            await opened.wait("third", f"{update} 'b'")
            await opened.wait("fourth", f"{update} 'c'")
            await opened.wait("fifth", "BEGIN; LOCK TABLE task IN SHARE MODE")
            found = await locks(database_url)
            names = {opened.pid(name): name for name in opened.by_name}
            (root,) = found.roots
            assert (found.waiting, found.not_shown) == (4, 0)
            assert (names[root.pid], root.state, root.wait_seconds) == ("holder", "idle in transaction", None)
            waiters = {names[waiter.pid]: waiter for waiter in root.all_waiters()}
            assert {name: [names[behind.pid] for behind in waiter.waiters] for name, waiter in waiters.items()} == {
                "second": ["third"], "third": [], "fourth": [], "fifth": [],
            }  # fmt: skip
            assert {name: waiter.relation for name, waiter in waiters.items()} == {
                "second": "agent", "third": "agent", "fourth": "agent", "fifth": "task",
            }  # fmt: skip
            assert waiters["fifth"].lock_mode == "ShareLock"
            assert waiters["third"].blocked_by == (opened.pid("second"),)
            assert all(0 < (waiter.wait_seconds or 0) < 10 for waiter in waiters.values())
            assert waiters["second"].query == "UPDATE agent SET webhook_url = ? WHERE name = ?"
            assert SECRET not in repr(found)

    run(check())


def test_exclusively_locked_table_is_read_without_waiting(database_url: str) -> None:
    async def check() -> None:
        async with sessions(database_url) as opened:
            await opened.run("migration", "BEGIN; LOCK TABLE task IN ACCESS EXCLUSIVE MODE")
            found = await insights(database_url)
            assert found.problems == ()
            sizes = {table.name: table.size_bytes for table in found.tables.found}
            assert sizes["task"] is None
            assert sizes["agent"]

    run(check())


def test_idle_transaction_is_measured_and_shown_without_values(database_url: str) -> None:
    async def check() -> None:
        async with sessions(database_url) as opened, read_only_session(database_url, 5.0) as connection:
            await opened.run("forgotten", f"BEGIN; SELECT '{SECRET}'")
            found = await read_row(Longest, "longest", connection)
            assert 0 < found.idle_in_transaction_seconds <= found.transaction_seconds < 10
            (transaction,) = await read_rows(Transaction, "transactions", connection, 10)
            assert (transaction.application, transaction.state) == ("forgotten", "idle in transaction")
            assert transaction.query == "BEGIN; SELECT ?"
            connections = await read_connections(connection)
            assert connections.by_state["idle in transaction"] == 1
            assert connections.by_application["forgotten"] == 1

    run(check())


def test_application_names_are_bounded(database_url: str) -> None:
    async def check() -> None:
        async with sessions(database_url) as opened, read_only_session(database_url, 5.0) as connection:
            for number in range(14):
                await opened.run(f"client-{number}", "SELECT 1")
            found = await read_connections(connection)
            assert len(found.by_application) == 11
            assert sum(found.by_application.values()) == found.total >= 14

    run(check())


def test_role_without_pg_monitor_sees_what_it_may_and_is_told(database_url: str, limited_url: str) -> None:
    async def check() -> None:
        async with sessions(database_url) as opened:
            await opened.run("holder", "BEGIN; LOCK TABLE task IN SHARE MODE")
            await opened.wait("waiter", "BEGIN; LOCK TABLE task IN ACCESS EXCLUSIVE MODE")
            found = await insights(limited_url)
            assert found.problems == ()
            assert not found.server.sees_all
            assert found.connections.by_state["hidden"] >= 2
            assert found.longest.hidden == 2
            assert found.longest.transaction_seconds == 0.0
            assert found.locks.waiting == 1
            (root,) = found.locks.roots
            assert (root.pid, root.state) == (opened.pid("holder"), "")
            (waiter,) = root.waiters
            assert (waiter.pid, waiter.query) == (opened.pid("waiter"), "<insufficient privilege>")
            assert len(found.tables.found) == 6

    run(check())


def test_pg_monitor_is_enough(postgres_server: PostgresServer, database_url: str, limited_url: str) -> None:
    postgres_server.run_sql("GRANT pg_monitor TO limited", "postgres")

    async def check() -> None:
        async with sessions(database_url) as opened:
            await opened.run("forgotten", "BEGIN; SELECT 1")
            found = await insights(limited_url)
            assert found.server.sees_all
            assert "hidden" not in found.connections.by_state
            assert found.longest.idle_in_transaction_seconds > 0

    run(check())


def test_part_that_fails_leaves_the_others(database_url: str) -> None:
    async def check() -> None:
        connection = await asyncpg.connect(database_url)
        await connection.execute(
            "CREATE SCHEMA shadow; CREATE VIEW shadow.pg_locks AS SELECT 1 AS x; SET search_path = shadow, pg_catalog, public"
        )
        for wrap in (False, True):
            transaction = connection.transaction(readonly=True)
            if wrap:
                await transaction.start()
            found = await read_parts(connection)
            assert found.locks is None
            assert {problem.part: problem.reason for problem in found.problems} == {
                "locks": "missing_table",
                "tables": "missing_table",
            }
            assert found.statements is not None
            assert await connection.fetchval("SELECT 1") == 1
            if wrap:
                await transaction.rollback()
        await connection.close()

    run(check())


def test_part_that_takes_too_long_is_left_out(database_url: str) -> None:
    async def check() -> None:
        connection = await asyncpg.connect(database_url)
        await connection.execute(
            "CREATE SCHEMA shadow; CREATE VIEW shadow.pg_locks AS SELECT l.* FROM pg_locks AS l, pg_sleep(5);"
            "SET search_path = shadow, pg_catalog, public; SET statement_timeout = 100"
        )
        found = await read_parts(connection)
        assert {problem.part: problem.reason for problem in found.problems} == {"locks": "timeout"}
        assert found.server is not None
        assert found.xid_age is not None
        await connection.close()

    run(check())


def test_broken_connection_is_raised(database_url: str) -> None:
    async def check() -> None:
        connection = await asyncpg.connect(database_url)
        admin = await asyncpg.connect(database_url)
        await admin.execute("SELECT pg_terminate_backend($1)", connection.get_server_pid())
        await admin.close()
        with pytest.raises((OSError, asyncpg.PostgresError, asyncpg.InterfaceError)):
            await read_parts(connection)
        connection.terminate()

    run(check())


def test_reset_of_the_statistics_does_not_turn_counters_back(database_url: str) -> None:
    metrics = Metrics(Registry())
    shown = InsightMetrics(metrics.registry)

    def commits() -> float:
        (family,) = (
            f for f in metrics.registry.families() if f.name == "orchestrator_database_server_transactions_total"
        )
        return family.labels("commit").value  # type: ignore[union-attr]

    async def check() -> None:
        async with sessions(database_url) as opened:
            seen = []
            for sql in ("SELECT 1", *["SELECT 2"] * 20, "SELECT pg_stat_reset()", *["SELECT 3"] * 3):
                await opened.run("client", sql)
                await opened.run("client", "SELECT pg_stat_force_next_flush()")
                shown.update(await insights(database_url))
                seen.append(commits())
            assert seen == sorted(seen)
            assert seen[0] == 0.0
            assert seen[-1] > 20

    run(check())
