"""Indexes are advised where the planner uses them, and nowhere else."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterator
from typing import Any

import asyncpg
import pytest

from ordinaut_ext_observability.demo.servers import PostgresServer
from ordinaut_ext_observability.db.insights.advice import Advice, read_advice
from ordinaut_ext_observability.db.insights.indexes import Index, redundant
from ordinaut_ext_observability.db.insights.queries import read_only_session, read_rows
from ordinaut_ext_observability.db.insights.views import HOST_TABLES


FILL = """
INSERT INTO agent (name, scopes) VALUES ('a', '{}');
INSERT INTO task (title, description, created_by, schedule_kind, payload)
    SELECT 't', 'd', id, 'once', '{}' FROM agent, generate_series(1, 10);
CREATE TEMPORARY TABLE ids AS SELECT id, row_number() OVER () - 1 AS number FROM task;
INSERT INTO task_run (task_id, started_at, finished_at, success, created_at)
    SELECT ids.id, t, t, true, t
    FROM (SELECT g, now() - g * interval '10 s' AS t FROM generate_series(1, 30000) AS g) AS runs
    JOIN ids ON ids.number = g % 10;
INSERT INTO due_work (task_id, run_at, locked_until)
    SELECT ids.id, now() - g * interval '1 s', CASE WHEN g % 1000 = 0 THEN now() + interval '1 h' END
    FROM generate_series(1, 30000) AS g JOIN ids ON ids.number = g % 10;
ANALYZE;
"""


def run(coroutine: Coroutine[Any, Any, Any]) -> Any:
    return asyncio.run(asyncio.wait_for(coroutine, 60))


async def advice(url: str, **options: Any) -> Advice:
    async with read_only_session(url, 5.0) as connection:
        return await read_advice(connection, **options)


async def fill(url: str, sql: str = FILL) -> None:
    connection = await asyncpg.connect(url)
    await connection.execute(sql)
    await connection.close()


@pytest.fixture
def limited_url(postgres_server: PostgresServer, database_url: str) -> Iterator[str]:
    """The URL for a role that may connect, and no more."""
    postgres_server.run_sql("CREATE ROLE unprivileged LOGIN", "postgres")
    yield database_url.replace("orchestrator@", "unprivileged@")
    postgres_server.run_sql("DROP ROLE unprivileged", "postgres")


def test_advice_without_the_right_to_read_says_so(database_url: str, limited_url: str) -> None:
    async def check() -> None:
        await fill(database_url)
        found = await advice(limited_url)
        assert found.proposals == ()
        assert any("task_run (finished_at): permission denied" in note for note in found.not_judged)

    run(check())


def test_shipped_schema_has_one_index_too_many(database_url: str) -> None:
    async def check() -> None:
        async with read_only_session(database_url, 5.0) as connection:
            pairs = redundant(await read_rows(Index, "indexes", connection, HOST_TABLES))
            assert [(pair.index.name, pair.covered_by.name) for pair in pairs] == [
                ("idx_task_run_task_id", "idx_task_run_task_success")
            ]

    run(check())


def test_advised_indexes_are_used_once_they_are_made(database_url: str) -> None:
    async def check() -> None:
        await fill(database_url)
        found = await advice(database_url)
        names = [proposal.sql.split()[6] for proposal in found.proposals]
        assert names == [
            "idx_due_work_locked_until",
            "idx_task_run_finished_at",
            "idx_task_run_created_at",
            "idx_task_run_task_id_created_at",
        ]
        connection = await asyncpg.connect(database_url)
        for proposal, name in zip(found.proposals, names, strict=True):
            statement = proposal.statement.replace("$1", "(SELECT id FROM task LIMIT 1)")
            before = await connection.fetchval(f"EXPLAIN (FORMAT JSON) {statement}")
            assert name not in before
            await connection.execute(proposal.sql)
            await connection.execute("ANALYZE")
            assert f'"Index Name": "{name}"' in await connection.fetchval(f"EXPLAIN (FORMAT JSON) {statement}")
        await connection.close()
        assert (await advice(database_url)).proposals == ()

    run(check())


def test_small_tables_get_no_advice(database_url: str) -> None:
    found = run(advice(database_url))
    assert (found.proposals, found.redundant, found.unused) == ((), (), ())


def test_index_that_would_find_most_of_the_table_is_not_advised(database_url: str) -> None:
    """All runs ended within the last minutes: reading the whole table is right."""

    async def check() -> None:
        await fill(database_url)
        await fill(database_url, "UPDATE task_run SET finished_at = now(); ANALYZE task_run")
        found = await advice(database_url)
        assert not [proposal for proposal in found.proposals if "(finished_at)" in proposal.sql]

    run(check())


def test_lost_index_of_the_workers_is_advised_first(database_url: str) -> None:
    async def check() -> None:
        await fill(database_url)
        await fill(database_url, "DROP INDEX idx_due_work_run_at")
        found = await advice(database_url)
        assert found.proposals[0].sql == (
            "CREATE INDEX CONCURRENTLY IF NOT EXISTS idx_due_work_run_at ON public.due_work (run_at);"
        )

    run(check())


def test_unused_indexes_are_told_when_counted_for_long_enough(database_url: str) -> None:
    async def check() -> None:
        await fill(database_url)
        assert (await advice(database_url)).unused == ()
        unused = (await advice(database_url, min_unused_seconds=0.0)).unused
        names = {index.name for index in unused}
        assert {"idx_due_work_ready", "idx_task_run_success"} <= names
        assert not names & {"idx_due_work_run_at", "idx_due_work_task_id", "due_work_pkey", "agent_name_key"}

    run(check())
