"""Slow statements, with and without the extension that counts them."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterator
from typing import Any

import asyncpg
import pytest

from ordinaut_ext_observability.demo.servers import PostgresServer
from ordinaut_ext_observability.db.insights.report import Report, read_parts
from ordinaut_ext_observability.db.insights.queries import read_only_session
from ordinaut_ext_observability.db.insights.views import read_statements

SECRET = "hunter2secret"


def run(coroutine: Coroutine[Any, Any, Any]) -> Any:
    return asyncio.run(asyncio.wait_for(coroutine, 60))


async def insights(url: str) -> Report:
    async with read_only_session(url, 5.0) as connection:
        return await read_parts(connection)


async def execute(url: str, sql: str) -> None:
    connection = await asyncpg.connect(url)
    await connection.execute(sql)
    await connection.close()


@pytest.fixture(scope="module")
def counting_server() -> Iterator[PostgresServer]:
    server = PostgresServer(settings={"shared_preload_libraries": "pg_stat_statements"})
    server.start()
    yield server
    server.stop()


def test_statements_are_counted_where_the_extension_is(counting_server: PostgresServer) -> None:
    async def check() -> None:
        await execute(counting_server.url(), "CREATE EXTENSION IF NOT EXISTS pg_stat_statements")
        for number in range(5):
            await execute(counting_server.url(), f"SELECT pg_sleep(0.01), '{SECRET}', {number}")
        async with read_only_session(counting_server.url(), 5.0) as connection:
            found = await read_statements(connection, 3, with_texts=True)
        assert found.absent == ""
        assert len(found.top) == 3
        (slept,) = (statement for statement in found.top if "pg_sleep" in statement.query)
        assert (slept.calls, slept.rows) == (5, 5)
        assert slept.seconds >= 0.05
        assert SECRET not in repr(found)
        collected = await insights(counting_server.url())
        assert slept.id in {statement.id for statement in collected.statements.top}
        assert {statement.query for statement in collected.statements.top} == {""}

    run(check())


def test_other_roles_statements_are_hidden(counting_server: PostgresServer) -> None:
    async def check() -> None:
        await execute(
            counting_server.url(),
            "CREATE EXTENSION IF NOT EXISTS pg_stat_statements; CREATE ROLE other LOGIN PASSWORD 'o'",
        )
        found = await insights(f"postgresql://other:o@127.0.0.1:{counting_server.port}/orchestrator")
        assert found.problems == ()
        assert found.statements.hidden_seconds > 0

    run(check())


def test_extension_without_its_library_says_so(postgres_server: PostgresServer, database_url: str) -> None:
    postgres_server.run_sql("CREATE EXTENSION pg_stat_statements", database_url.rpartition("/")[2])
    found = run(insights(database_url))
    assert found.problems == ()
    assert "shared_preload_libraries" in found.statements.absent
