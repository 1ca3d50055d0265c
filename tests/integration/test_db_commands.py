"""`ordinaut-observability db` and `advise` as an operator runs them: text, JSON, exit status, and nothing changed."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from typer.testing import CliRunner

from ordinaut_ext_observability.cli.main import app
from ordinaut_ext_observability.db.insights.report import read_report
from ordinaut_ext_observability.db.insights.queries import read_only_session

SECRET = "hunter2secret"

FILL = """
INSERT INTO agent (name, scopes) VALUES ('a', '{}');
INSERT INTO task (title, description, created_by, schedule_kind, payload)
    SELECT 't', 'd', id, 'once', '{}' FROM agent;
INSERT INTO task_run (task_id, finished_at, created_at)
    SELECT task.id, now() - g * interval '10 s', now() - g * interval '10 s'
    FROM task, generate_series(1, 20000) AS g;
ANALYZE;
"""

STATE = """
SELECT json_build_object(
    'relations', (SELECT json_agg(c.oid::text || c.relname ORDER BY c.oid) FROM pg_class AS c),
    'rows', (SELECT count(*) FROM task_run),
    'settings', (SELECT json_agg(s.setconfig) FROM pg_db_role_setting AS s)
)::text
"""


class Shown:
    """What a command printed, and its exit status."""

    def __init__(self, command: str, url: str, *options: str, width: int = 100) -> None:
        done = CliRunner().invoke(app, [command, "--url", url, *options], env={"COLUMNS": str(width)})
        self.status = done.exit_code
        self.text = done.stdout
        self.lines = self.text.splitlines()


async def execute(url: str, sql: str) -> Any:
    connection = await asyncpg.connect(url)
    try:
        *before, last = sql.split("; ")
        for statement in before:
            await connection.execute(statement)
        return await connection.fetchval(last)
    finally:
        await connection.close()


def fill(url: str) -> None:
    async def run() -> None:
        connection = await asyncpg.connect(url)
        await connection.execute(FILL)
        await connection.close()

    asyncio.run(run())


@asynccontextmanager
async def blocked(url: str) -> AsyncIterator[tuple[int, int]]:
    """A session that waits for another one's lock: the holder's process id and the waiter's."""
    holder = await asyncpg.connect(url, server_settings={"application_name": "scheduler [bold]"})
    waiter = await asyncpg.connect(url, server_settings={"application_name": "worker"})
    await holder.execute(f"BEGIN; LOCK TABLE agent; SELECT '{SECRET}'")
    waiting = asyncio.create_task(waiter.execute(f"UPDATE agent SET webhook_url = '{SECRET}'"))
    try:
        while not await execute(url, f"SELECT cardinality(pg_blocking_pids({waiter.get_server_pid()}))"):
            await asyncio.sleep(0.02)
        yield holder.get_server_pid(), waiter.get_server_pid()
    finally:
        await holder.execute("ROLLBACK")
        await waiting
        await holder.close()
        await waiter.close()


def shown_while_blocked(url: str, *options: str, width: int = 100) -> tuple[Shown, int, int]:
    async def run() -> tuple[Shown, int, int]:
        async with blocked(url) as (holder, waiter):
            return await asyncio.to_thread(Shown, "db", url, *options, width=width), holder, waiter

    return asyncio.run(run())


def test_blocked_sessions_come_first_with_what_ends_them(database_url: str) -> None:
    shown, holder, waiter = shown_while_blocked(database_url)
    assert shown.status == 0
    assert shown.lines[1] == f"! 1 blocked by locks; at the head: {holder}"
    assert f"{holder} blocks 1  (orchestrator, scheduler [bold], idle in transaction" in shown.text
    assert f"└── {waiter} waits" in shown.text
    assert "for RowExclusiveLock on agent" in shown.text
    assert f"SELECT pg_terminate_backend({holder});" in shown.text
    assert "UPDATE agent SET webhook_url = ?" in shown.text
    assert SECRET not in shown.text


def test_quiet_database_says_so(database_url: str) -> None:
    shown = Shown("db", database_url)
    assert shown.lines[1] == "nothing needs attention"
    assert "  nobody waits" in shown.lines
    assert "not there: apscheduler_jobs" in shown.text
    assert "not counted: the extension pg_stat_statements is not installed in this database" in shown.text
    for table in ("agent", "audit_log", "due_work", "task", "task_run", "worker_heartbeat"):
        assert any(line.split()[:1] == [table] for line in shown.lines)


@pytest.mark.parametrize("width", [40, 60, 80])
def test_narrow_terminals_cut_nothing_off(database_url: str, width: int) -> None:
    shown, holder, _ = shown_while_blocked(database_url, width=width)
    assert max(map(len, shown.lines)) <= max(width, len(f"  to end it: SELECT pg_terminate_backend({holder});"))
    assert "…" not in shown.text


def test_piped_output_has_no_colour(database_url: str) -> None:
    assert "\x1b" not in Shown("db", database_url).text
    assert "\x1b" not in Shown("advise", database_url).text


def test_json_is_everything(database_url: str) -> None:
    shown, holder, waiter = shown_while_blocked(database_url, "--json")
    report = json.loads(shown.text)
    (root,) = report["locks"]["roots"]
    assert (root["pid"], root["waiters"][0]["pid"]) == (holder, waiter)
    assert root["waiters"][0]["blocked_by"] == [holder]
    assert report["attention"] == [f"1 blocked by locks; at the head: {holder}"]
    assert {index["name"] for index in report["indexes"]} >= {"idx_due_work_run_at", "task_pkey"}
    assert report["problems"] == []
    assert SECRET not in shown.text


def test_role_without_pg_monitor_is_told(postgres_server: Any, database_url: str) -> None:
    postgres_server.run_sql("CREATE ROLE onlooker LOGIN", "postgres")
    try:
        url = database_url.replace("orchestrator@", "onlooker@")

        async def run() -> Shown:
            async with blocked(database_url):
                return await asyncio.to_thread(Shown, "db", url, width=200)

        shown = asyncio.run(run())
        assert "as onlooker; may not see what other roles do: GRANT pg_monitor TO it" in shown.lines[0]
        assert "2 sessions of other roles are hidden" in shown.text
        assert "1 blocked by locks" in shown.text
        assert "hidden 2" in shown.text
    finally:
        postgres_server.run_sql("DROP ROLE onlooker", "postgres")


def test_advice_is_a_script_and_changes_nothing(database_url: str) -> None:
    """Our role is the superuser here."""
    fill(database_url)
    before = asyncio.run(execute(database_url, STATE))
    shown = Shown("advise", database_url, "--min-unused-days", "0")
    assert shown.status == 0
    statements = [line for line in shown.lines if line and not line.startswith("-- ")]
    assert statements == [
        "CREATE INDEX CONCURRENTLY IF NOT EXISTS idx_task_run_finished_at ON public.task_run (finished_at);",
        "CREATE INDEX CONCURRENTLY IF NOT EXISTS idx_task_run_created_at ON public.task_run (created_at);",
        "CREATE INDEX CONCURRENTLY IF NOT EXISTS idx_task_run_task_id_created_at"
        " ON public.task_run (task_id, created_at);",
    ]
    assert "-- DROP INDEX CONCURRENTLY IF EXISTS public.idx_task_run_task_id;" in shown.lines
    assert "planned now: reads the whole table" in shown.text.replace("\n-- ", " ")
    Shown("db", database_url)
    assert asyncio.run(execute(database_url, STATE)) == before


def test_session_of_the_commands_cannot_write(database_url: str) -> None:
    """Our role is the superuser here."""

    async def run() -> None:
        for sql in ("CREATE INDEX ON task (title)", "DELETE FROM task", "DROP TABLE task_run"):
            with pytest.raises(asyncpg.ReadOnlySQLTransactionError):
                async with read_only_session(database_url, 5.0) as connection:
                    await connection.execute(sql)

    asyncio.run(run())


def test_script_runs_and_leaves_nothing_to_advise(postgres_server: Any, database_url: str) -> None:
    fill(database_url)
    script = Shown("advise", database_url, width=50).lines
    for line in script:
        if line.startswith("CREATE"):
            asyncio.run(execute(database_url, line))
    assert "-- No index is missing." in Shown("advise", database_url).lines


def test_invalid_index_is_shown_as_such(database_url: str) -> None:
    asyncio.run(execute(database_url, "CREATE INDEX broken ON task (title); UPDATE pg_index SET indisvalid = false"
                                      " WHERE indexrelid = 'broken'::regclass"))  # fmt: skip
    assert "! index broken is invalid: it failed to build, or is being built" in Shown("db", database_url).lines
    assert "-- DROP INDEX CONCURRENTLY IF EXISTS public.broken;" in Shown("advise", database_url).lines


def test_advice_as_json(database_url: str) -> None:
    fill(database_url)
    advice = json.loads(Shown("advise", database_url, "--json").text)
    assert [entry["table"] for entry in advice["create"]] == ["task_run"] * 3
    assert advice["redundant"][0]["index"]["name"] == "idx_task_run_task_id"
    assert advice["not_judged"] == ["apscheduler_jobs: there is no such table in the search path"]


@pytest.mark.parametrize("command", ["db", "advise"])
@pytest.mark.parametrize(
    ("url", "said"),
    [
        (
            "nonsense",
            "the database URL does not begin with postgresql://: "
            "expected postgresql://user:password@host:port/database",
        ),
        (f"mysql://u:{SECRET}@db/x", "the database URL does not begin with postgresql://"),
        (f"postgresql://u:12?{SECRET}@127.0.0.1:1/x", "the database URL cannot be read"),
        (f"postgresql+psycopg://u:{SECRET}@127.0.0.1:1/ordinaut", "127.0.0.1:1/ordinaut: nobody listens there"),
        (
            f"postgresql://u:{SECRET}@127.0.0.1:1,127.0.0.1:2/x",
            "127.0.0.1:1/x: nobody listens there; 127.0.0.1:2/x: nobody listens there",
        ),
        (f"postgresql://u:{SECRET}@127.0.0.1:1/x?port={SECRET}", "the database URL has a port that is no number"),
        (
            f"postgresql://u:{SECRET}@127.0.0.1:1/x?sslmode={SECRET}",
            "the database URL has a parameter sslmode that is none of",
        ),
    ],
)
def test_no_connection_is_2_and_one_line_without_secrets(command: str, url: str, said: str) -> None:
    shown = Shown(command, url, "--timeout", "2")
    assert (shown.status, len(shown.lines)) == (2, 1)
    assert shown.text.startswith(said)
    assert SECRET not in shown.text


def test_database_that_is_not_there_is_2(database_url: str) -> None:
    shown = Shown("db", database_url.rpartition("/")[0] + "/nowhere")
    assert (shown.status, len(shown.lines)) == (2, 1)
    assert shown.text.rstrip().endswith('/nowhere: database "nowhere" does not exist')


def test_server_that_does_not_answer_is_2(free_port: Callable[[], int]) -> None:
    import socket

    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        shown = Shown("db", f"postgresql://u@127.0.0.1:{silent.getsockname()[1]}/x", "--timeout", "0.3")
    assert shown.status == 2
    assert "no answer within 0.3 s" in shown.text


def test_connection_that_breaks_is_2_and_one_line(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from ordinaut_ext_observability.db.insights import report

    async def broken(connection: Any, top: int) -> None:
        await execute(database_url, f"SELECT pg_terminate_backend({connection.get_server_pid()}, 5000)")
        await read_report(connection, top)

    monkeypatch.setattr(report, "read_report", broken)
    shown = Shown("db", database_url)
    assert (shown.status, len(shown.lines)) == (2, 1)
    assert shown.text.rstrip().endswith(": the connection broke")


def test_urls_of_sqlalchemy_are_accepted(database_url: str) -> None:
    for scheme in ("postgresql+psycopg", "postgresql+asyncpg", "postgres"):
        assert Shown("db", database_url.replace("postgresql", scheme, 1)).status == 0


def test_urls_with_several_servers_and_parameters_of_other_drivers_are_accepted(
    database_url: str, free_port: Callable[[], int]
) -> None:
    beginning, _, rest = database_url.partition("@")
    url = f"{beginning}@127.0.0.1:{free_port()},{rest}?keepalives=1&channel_binding=prefer&application_name=x"
    assert Shown("db", url).status == 0
    assert Shown("advise", url).status == 0


@pytest.mark.parametrize("command", ["db", "advise"])
def test_commands_take_the_hosts_variable(database_url: str, command: str) -> None:
    found = CliRunner().invoke(app, [command, "--json"], env={"DATABASE_URL": database_url, "COLUMNS": "100"})
    assert found.exit_code == 0
    assert json.loads(found.stdout)
    assert CliRunner().invoke(app, [command, "--url", "nonsense"]).exit_code == 2


@pytest.mark.parametrize("command", ["db", "advise"])
def test_without_a_url_the_variable_and_the_option_are_named(command: str) -> None:
    for given in ("", " "):
        found = CliRunner().invoke(app, [command], env={"DATABASE_URL": given})
        assert found.exit_code == 2
        assert found.stdout.startswith("No database: set DATABASE_URL, or give --url.")


def test_days_without_use_are_an_option(database_url: str) -> None:
    fill(database_url)
    documented = (Path(__file__).parents[2] / "docs" / "database.md").read_text()
    assert "--min-unused-days" in documented
    runs = [CliRunner().invoke(app, ["advise", "--url", database_url, "--min-unused-days", days]) for days in "07"]
    assert [run.exit_code for run in runs] == [0, 0]
    assert ["is unused" in run.stdout for run in runs] == [True, False]
