"""asyncpg connections and pools on a real PostgreSQL: what they do stays as it was, and is counted."""

from __future__ import annotations

import asyncio
import io
from collections.abc import Awaitable, Callable
from typing import Any

import asyncpg
import pytest

from ordinaut_ext_observability.db.connection import InstrumentedConnection
from ordinaut_ext_observability.db.pool import InstrumentedPool

SECRET = "s3cr3t-argument"


@pytest.fixture
def connected(database_url: str, measured: Any) -> Callable[[Callable[[Any], Awaitable[Any]]], Any]:
    """Runs a coroutine function with an instrumented connection."""

    def run(work: Callable[[Any], Awaitable[Any]]) -> Any:
        async def main() -> Any:
            bare = await asyncpg.connect(database_url)
            try:
                await bare.execute("CREATE TABLE item (id int PRIMARY KEY, name text)")
                await bare.execute("INSERT INTO item SELECT n, 'n' || n FROM generate_series(1, 200) n")
                return await asyncio.wait_for(work(InstrumentedConnection(bare, measured.database)), 20)
            finally:
                await bare.close(timeout=5)

        return asyncio.run(main())

    return run


def test_results_are_those_of_the_connection(connected: Any, measured: Any) -> None:
    async def work(connection: Any) -> None:
        bare = connection.uninstrumented
        query = "SELECT id, name FROM item WHERE id <= $1 ORDER BY id"
        assert await connection.fetch(query, 3) == await bare.fetch(query, 3)
        assert await connection.fetchrow(query, 3) == await bare.fetchrow(query, 3)
        assert await connection.fetchval(query, 3, column=1) == "n1"
        assert await connection.fetchval(query=query.replace("$1", "1"), timeout=5) == 1
        assert await connection.execute("UPDATE item SET name = $1 WHERE id = 1", SECRET) == "UPDATE 1"
        assert await connection.executemany("INSERT INTO item VALUES ($1, $2)", [(1001, "a"), (1002, SECRET)]) is None
        assert connection.get_server_pid() == bare.get_server_pid()
        assert not connection.is_closed()

    connected(work)
    assert measured.statements() == {("select", "item"): 4, ("update", "item"): 1, ("insert", "item"): 1}
    assert measured.errors() == {}
    assert measured.internal_errors() == 0


def test_newer_methods_are_there_where_asyncpg_has_them(connected: Any, measured: Any) -> None:
    async def work(connection: Any) -> int:
        statement = await connection.prepare("SELECT id FROM item WHERE id = $1")
        counted = 0
        for ours, query in ((connection, ("DELETE FROM item WHERE id = $1 RETURNING id",)), (statement, ())):
            assert hasattr(ours, "fetchmany") == hasattr(ours.uninstrumented, "fetchmany")
            if hasattr(ours, "fetchmany"):
                assert [row["id"] for row in await ours.fetchmany(*query, [(3,), (4,)])] == [3, 4][: len(query) * 2]
                counted += 1
        return counted

    counted = connected(work)
    assert sum(measured.statements().values()) == 1 + counted


def test_duration_is_the_time_the_statement_took(connected: Any, measured: Any) -> None:
    connected(lambda connection: connection.execute("SELECT pg_sleep(0.05)"))
    assert 0.05 <= measured.seconds("select", "") < 2.0


@pytest.mark.parametrize(
    ("query", "arguments", "labels"),
    [
        ("SELECT * FROM missing", (), ("select", "missing", "UndefinedTableError")),
        ("INSERT INTO item VALUES (1, 'x')", (), ("insert", "item", "UniqueViolationError")),
        ("SELEC", (), ("other", "", "PostgresSyntaxError")),
        ("SELECT * FROM item WHERE id = $1", (SECRET,), ("select", "item", "DataError")),
        ("SELECT * FROM item WHERE id = $1", (), ("select", "item", "InterfaceError")),
        ("UPDATE item SET id = 1 / 0", (), ("update", "item", "DivisionByZeroError")),
    ],
)
def test_failures_are_those_of_the_connection_and_counted_by_class(
    query: str, arguments: tuple[object, ...], labels: tuple[str, ...], connected: Any, measured: Any
) -> None:
    async def work(connection: Any) -> tuple[BaseException, BaseException]:
        with pytest.raises(Exception) as bare:
            await connection.uninstrumented.fetch(query, *arguments)
        with pytest.raises(Exception) as ours:
            await connection.fetch(query, *arguments)
        return bare.value, ours.value

    bare, ours = connected(work)
    assert type(bare) is type(ours)
    assert str(bare) == str(ours)
    assert measured.errors() == {labels: 1}
    assert measured.statements() == {labels[:2]: 1}


def test_exceptions_pass_through_as_they_are(measured: Any) -> None:
    error = ValueError("the same")

    class Raising:
        async def fetch(self, _query: str) -> None:
            raise error

    async def main() -> None:
        with pytest.raises(ValueError) as raised:
            await InstrumentedConnection(Raising(), measured.database).fetch("SELECT 1")
        assert raised.value is error
        assert raised.value.__cause__ is None
        assert raised.value.__context__ is None

    asyncio.run(main())


def test_cancellation_and_timeouts_are_failures(connected: Any, measured: Any) -> None:
    async def work(connection: Any) -> None:
        task = asyncio.create_task(connection.fetch("SELECT pg_sleep(30)"))
        await asyncio.sleep(0.1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        with pytest.raises(TimeoutError):
            await connection.fetch("SELECT pg_sleep(30)", timeout=0.05)
        await connection.execute("SET statement_timeout = 50")
        with pytest.raises(asyncpg.QueryCanceledError):
            await connection.execute("SELECT pg_sleep(30)")

    connected(work)
    assert measured.errors() == {
        ("select", "", "CancelledError"): 1,
        ("select", "", "TimeoutError"): 1,
        ("select", "", "QueryCanceledError"): 1,
    }


async def _later(connection: Any, process: int) -> None:
    await asyncio.sleep(0.1)
    await connection.execute("SELECT pg_terminate_backend($1)", process)


def test_closed_and_terminated_connections(connected: Any, measured: Any, database_url: str) -> None:
    async def work(connection: Any) -> None:
        other = await asyncpg.connect(database_url)
        terminate = asyncio.create_task(_later(other, connection.get_server_pid()))
        with pytest.raises(asyncpg.InterfaceError):
            async with connection.transaction():
                with pytest.raises(asyncpg.PostgresError):
                    await connection.fetch("SELECT pg_sleep(30) FROM item")
        await terminate
        await other.close()
        await connection.close()
        with pytest.raises(asyncpg.InterfaceError):
            await connection.fetch("SELECT 1 FROM item")
        with pytest.raises(asyncpg.InterfaceError):
            connection.transaction()

    connected(work)
    assert ("select", "item", "InterfaceError") in measured.errors()
    assert measured.transactions() == (0, 1)
    assert measured.internal_errors() == 0


def test_cursors_count_as_one_statement(connected: Any, measured: Any) -> None:
    async def work(connection: Any) -> None:
        async with connection.transaction():
            rows = [row["id"] async for row in connection.cursor("SELECT id FROM item ORDER BY id", prefetch=7)]
            assert rows == list(range(1, 201))
            async for row in connection.cursor("SELECT id FROM task"):
                raise AssertionError(row)
            async for _ in connection.cursor("SELECT item.id FROM agent RIGHT JOIN item ON true"):
                break
            twice = connection.cursor("SELECT count(*) FROM due_work")
            assert [[row["count"] async for row in twice] for _ in range(2)] == [[0], [0]]
            rows = aiter(twice)
            assert aiter(rows) is rows
            cursor = await connection.cursor("DELETE FROM item WHERE id > $1 RETURNING id", 190)
            assert len(await cursor.fetch(5)) == 5
            assert await cursor.forward(3) == 3
            assert (await cursor.fetchrow())["id"] == 199
            assert await cursor.fetch(n=5)
            assert await cursor.fetchrow() is None
            del cursor

    connected(work)
    counted = measured.statements()
    assert counted["select", "item"] == 1
    assert counted["select", "task"] == 1
    assert counted["select", "agent"] == 1
    assert counted["select", "due_work"] == 2
    assert counted["delete", "item"] == 1
    assert measured.errors() == {}


def test_failures_of_cursors(connected: Any, measured: Any) -> None:
    async def work(connection: Any) -> None:
        with pytest.raises(asyncpg.NoActiveSQLTransactionError):
            async for _ in connection.cursor("SELECT id FROM item"):
                pass
        with pytest.raises(asyncpg.DivisionByZeroError):
            async with connection.transaction():
                async for _ in connection.cursor("SELECT 1 / (id - 150) FROM item", prefetch=50):
                    pass
        with pytest.raises(asyncpg.UndefinedTableError):
            async with connection.transaction():
                await connection.cursor("SELECT 1 FROM missing")

    connected(work)
    assert measured.errors() == {
        ("select", "item", "NoActiveSQLTransactionError"): 1,
        ("select", "item", "DivisionByZeroError"): 1,
        ("select", "missing", "UndefinedTableError"): 1,
    }
    assert measured.statements()["select", "item"] == 2
    assert measured.transactions() == (0, 2)


def test_prepared_statements(connected: Any, measured: Any) -> None:
    async def work(connection: Any) -> None:
        statement = await connection.prepare("SELECT id FROM item WHERE id < $1 ORDER BY id")
        assert len(await statement.fetch(4)) == 3
        assert (await statement.fetchrow(4))["id"] == 1
        assert await statement.fetchval(4) == 1
        assert statement.get_query().startswith("SELECT id")
        assert await statement.explain(4)
        async with connection.transaction():
            assert [row["id"] async for row in statement.cursor(3)] == [1, 2]
        update = await connection.prepare("UPDATE item SET name = $2 WHERE id = $1")
        await update.executemany([(1, "a"), (2, SECRET)])
        with pytest.raises(asyncpg.UndefinedTableError):
            await connection.prepare("SELECT * FROM missing")

    connected(work)
    counted = measured.statements()
    assert counted["prepare", "item"] == 2
    assert counted["select", "item"] == 4
    assert counted["explain", "item"] == 1
    assert counted["update", "item"] == 1
    assert measured.errors() == {("prepare", "missing", "UndefinedTableError"): 1}


def test_copies(connected: Any, measured: Any) -> None:
    async def work(connection: Any) -> None:
        out = io.BytesIO()
        assert await connection.copy_from_query("SELECT id FROM item WHERE id < $1", 3, output=out) == "COPY 2"
        assert out.getvalue() == b"1\n2\n"
        assert await connection.copy_from_table("item", output=io.BytesIO()) == "COPY 200"
        source = io.BytesIO(b"501\tx\n502\ty\n")
        assert await connection.copy_to_table("item", source=source) == "COPY 2"
        assert await connection.copy_records_to_table("item", records=[(601, SECRET)]) == "COPY 1"
        with pytest.raises(asyncpg.UniqueViolationError):
            await connection.copy_records_to_table("item", records=[(601, "x")])
        with pytest.raises(asyncpg.UndefinedTableError):
            await connection.copy_to_table("missing", source=io.BytesIO())

    connected(work)
    assert measured.statements() == {("copy", "item"): 5, ("copy", "missing"): 1}
    assert measured.errors() == {
        ("copy", "item", "UniqueViolationError"): 1,
        ("copy", "missing", "UndefinedTableError"): 1,
    }


def test_transactions_by_outcome(connected: Any, measured: Any) -> None:
    async def work(connection: Any) -> None:
        async with connection.transaction(isolation="serializable") as entered:
            assert entered is None
            async with connection.transaction():
                await connection.execute("INSERT INTO item VALUES (301)")
            with pytest.raises(asyncpg.DivisionByZeroError):
                async with connection.transaction():
                    await connection.execute("SELECT 1 / 0")
            await connection.execute("INSERT INTO item VALUES (302)")
        assert measured.transactions() == (1, 0)
        with pytest.raises(KeyError):
            async with connection.transaction():
                raise KeyError
        assert measured.transactions() == (1, 1)
        transaction = connection.transaction()
        await transaction.start()
        with pytest.raises(asyncpg.InterfaceError):
            await transaction.start()
        await transaction.commit()
        with pytest.raises(asyncpg.InterfaceError):
            await transaction.rollback()
        assert measured.transactions() == (2, 1)
        transaction = connection.transaction()
        await transaction.start()
        await transaction.rollback()
        assert measured.transactions() == (2, 2)
        with pytest.raises(asyncpg.InterfaceError):
            await connection.transaction().commit()
        assert measured.transactions() == (2, 2)

    connected(work)


def test_commit_that_rolls_back_is_a_rollback(connected: Any, measured: Any) -> None:
    async def work(connection: Any) -> None:
        async with connection.transaction():
            with pytest.raises(asyncpg.DivisionByZeroError):
                await connection.execute("SELECT 1 / 0")
        assert measured.transactions() == (0, 1)
        async with connection.transaction():
            with pytest.raises(asyncpg.DataError):
                await connection.execute("INSERT INTO item VALUES ($1)", SECRET)  # never sent
            await connection.execute("INSERT INTO item VALUES (301)")
        assert measured.transactions() == (1, 1)
        async with connection.transaction():
            with pytest.raises(asyncpg.DataError):
                await connection.execute("INSERT INTO item VALUES ($1)", SECRET)
        assert measured.transactions() == (2, 1)
        await connection.execute(
            "CREATE TABLE late (id int, CONSTRAINT once UNIQUE (id) DEFERRABLE INITIALLY DEFERRED)"
        )
        with pytest.raises(asyncpg.UniqueViolationError):
            async with connection.transaction():
                await connection.execute("INSERT INTO late VALUES (1), (1)")
        assert measured.transactions() == (2, 2)
        assert measured.errors()["transaction", "", "UniqueViolationError"] == 1

    connected(work)


def test_transactions_by_their_texts(connected: Any, measured: Any) -> None:
    async def work(connection: Any) -> None:
        await connection.execute("BEGIN")
        await connection.execute("SAVEPOINT x")
        await connection.execute("ROLLBACK TO x")
        await connection.execute("RELEASE SAVEPOINT x")
        assert measured.transactions() == (0, 0)
        await connection.execute("COMMIT")
        assert measured.transactions() == (1, 0)
        await connection.execute("BEGIN")
        with pytest.raises(asyncpg.DivisionByZeroError):
            await connection.execute("SELECT 1 / 0")
        assert await connection.execute("COMMIT") == "ROLLBACK"
        assert measured.transactions() == (1, 1)

    connected(work)


def test_failures_of_ours_change_nothing(connected: Any, measured: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("ours")

    async def work(connection: Any) -> None:
        monkeypatch.setattr(measured.database.query_seconds, "labels", broken)
        monkeypatch.setattr(measured.database.query_errors, "labels", broken)
        assert await connection.fetchval("SELECT max(id) FROM item") == 200
        async with connection.transaction():
            assert len([row async for row in connection.cursor("SELECT id FROM item")]) == 200
        statement = await connection.prepare("SELECT count(*) FROM item")
        assert await statement.fetchval() == 200
        assert await statement.explain()
        with pytest.raises(asyncpg.UndefinedTableError):
            await connection.copy_from_query("SELECT * FROM missing", output=io.BytesIO())

    connected(work)
    assert measured.internal_errors() >= 6


def run_with_pool(
    database_url: str,
    measured: Any,
    work: Callable[[InstrumentedPool], Awaitable[Any]],
    name: str = "asyncpg",
    **options: Any,
) -> None:
    async def main() -> None:
        async with InstrumentedPool(asyncpg.create_pool(database_url, **options), measured.database, name) as pool:
            await asyncio.wait_for(work(pool), 20)

    asyncio.run(main())


def test_pool_acquires_both_ways_and_is_read_at_scrapes(database_url: str, measured: Any) -> None:
    async def work(pool: InstrumentedPool) -> None:
        async with pool.acquire() as connection:
            assert isinstance(connection, InstrumentedConnection)
            assert await connection.fetchval("SELECT count(*) FROM task") == 0
            other = await pool.acquire(timeout=5)
            assert measured.pools() == {
                ("main", "size"): 2,
                ("main", "idle"): 0,
                ("main", "used"): 2,
                ("main", "max"): 4,
            }
            await pool.release(other)
            await pool.release(other)
            with pytest.raises(asyncpg.InterfaceError):
                await other.fetch("SELECT 1")
            assert measured.pools()["main", "idle"] == 1
        assert measured.pools()["main", "used"] == 0
        assert pool.get_max_size() == 4

    run_with_pool(database_url, measured, work, name="main", min_size=1, max_size=4)
    assert sum(measured.database.pool_wait_seconds.labels("main").counts) == 2
    assert measured.pools() == {}


def test_pool_shortcuts(database_url: str, measured: Any) -> None:
    async def work(pool: InstrumentedPool) -> None:
        assert await pool.execute("CREATE TABLE item (id int)") == "CREATE TABLE"
        await pool.executemany("INSERT INTO item VALUES ($1)", [(1,), (2,)])
        assert [row["id"] for row in await pool.fetch("SELECT id FROM item ORDER BY id")] == [1, 2]
        assert (await pool.fetchrow("SELECT id FROM item WHERE id = $1", 2))["id"] == 2
        assert await pool.fetchval("SELECT count(*) FROM item") == 2
        assert await pool.copy_records_to_table("item", records=[(3,)]) == "COPY 1"
        assert await pool.copy_to_table("item", source=io.BytesIO(b"4\n")) == "COPY 1"
        assert await pool.copy_from_table("item", output=io.BytesIO()) == "COPY 4"
        assert await pool.copy_from_query("SELECT 1", output=io.BytesIO()) == "COPY 1"

    run_with_pool(database_url, measured, work, min_size=0, max_size=2)
    assert measured.statements() == {
        ("ddl", ""): 1,
        ("insert", "item"): 1,
        ("select", "item"): 3,
        ("copy", "item"): 3,
        ("copy", ""): 1,
    }
    assert sum(measured.database.pool_wait_seconds.labels("asyncpg").counts) == 9


def test_exhausted_pool(database_url: str, measured: Any) -> None:
    async def work(pool: InstrumentedPool) -> None:
        async with pool.acquire():
            with pytest.raises(TimeoutError):
                await pool.acquire(timeout=0.05)
            with pytest.raises(TimeoutError):
                async with pool.acquire(timeout=0.05):
                    raise AssertionError
            waiting = asyncio.create_task(pool.fetchval("SELECT 1"))
            await asyncio.sleep(0.05)
            waiting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waiting
        assert await pool.fetchval("SELECT 1") == 1

    run_with_pool(database_url, measured, work, min_size=1, max_size=1)
    assert measured.database.pool_timeouts.labels("asyncpg").value == 2
    assert measured.database.pool_wait_seconds.labels("asyncpg").sum >= 0.15
    assert measured.errors() == {("connect", "", "CancelledError"): 1}


def test_pool_of_a_server_that_is_not_there(free_port: Callable[[], int], measured: Any) -> None:
    async def main() -> None:
        dsn = f"postgresql://nobody@127.0.0.1:{free_port()}/none"
        pool = await InstrumentedPool(asyncpg.create_pool(dsn, min_size=0), measured.database)
        with pytest.raises(OSError):
            await pool.fetch("SELECT 1")
        await pool.close()
        with pytest.raises(asyncpg.InterfaceError):
            await pool.acquire()

    asyncio.run(main())
    counted = measured.errors()
    assert sum(counted.values()) == 2
    assert {labels[0] for labels in counted} == {"connect"}
