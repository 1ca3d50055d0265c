"""One collection from PostgreSQL: what it costs the server with few and with many rows.

A database with 100 k runs and one with many more, both with a queue of a million due rows and the same recent traffic:
a run and its item every 40 ms for the last ten minutes, and some items at work for hours. The figures are the time on
processor of the server process behind the collector's connection, as the kernel counts it; a collection is all that a
leader does in a round, the second and later ones. The peer is what a dashboard would ask instead: exact counts.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from statistics import median
from typing import Any

import asyncpg

from benchmarks.harness import Options, Result, low, milliseconds
from ordinaut_ext_observability.background.clock import Clock
from ordinaut_ext_observability.collectors.collector import SystemCollector
from ordinaut_ext_observability.collectors.reader import LEADERS
from ordinaut_ext_observability.collectors.states import CollectorStates
from ordinaut_ext_observability.demo import servers
from ordinaut_ext_observability.demo.servers import PostgresServer
from ordinaut_ext_observability.metrics.declarations import Metrics
from ordinaut_ext_observability.metrics.declarations.system import SystemMetrics
from ordinaut_ext_observability.metrics.registry import Registry

FEW_RUNS = 100_000
TASKS = 200
_SCHEMA = Path(servers.__file__).parent / "schema.sql"

_FILL = """
INSERT INTO agent (name, scopes) VALUES ('bench', '{{}}');
INSERT INTO task (title, description, created_by, schedule_kind, payload, priority)
    SELECT 't' || n, '', (SELECT id FROM agent), 'cron', '{{}}', 1 + n % 9 FROM generate_series(1, {tasks}) n;
CREATE TEMP TABLE numbered AS SELECT id, row_number() OVER () - 1 AS n FROM task;
-- One a second, back from ten minutes ago: twenty weeks for ten million.
INSERT INTO task_run (task_id, lease_owner, started_at, finished_at, success, attempt)
    SELECT t.id, 'w', now() - s.n * interval '1 second', now(), s.n % 10 > 0, 1
    FROM generate_series(600, {runs} + 600) AS s (n) JOIN numbered t ON t.n = s.n % {tasks};
INSERT INTO task_run (task_id, lease_owner, started_at, finished_at, success, attempt)
    SELECT t.id, 'w', now() - s.n * interval '40 ms', now(), s.n % 10 > 0, 1
    FROM generate_series(0, 15000) AS s (n) JOIN numbered t ON t.n = s.n % {tasks};
INSERT INTO due_work (task_id, run_at, created_at, locked_until, locked_by)
    SELECT t.id, now() - s.n * interval '10 ms', now() - s.n * interval '10 ms',
           CASE WHEN s.n > {due} - 50 THEN now() + interval '1 hour' END, CASE WHEN s.n > {due} - 50 THEN 'w' || s.n END
    FROM generate_series(1, {due}) AS s (n) JOIN numbered t ON t.n = s.n % {tasks};
INSERT INTO worker_heartbeat (worker_id, processed_count) SELECT 'w' || n, n FROM generate_series(1, 1000) n;
INSERT INTO audit_log (actor_agent_id, action, at)
    SELECT (SELECT id FROM agent), 'agent.authenticated', now() - n * interval '1 second'
    FROM generate_series(1, 100000) n;
"""

_EXACT = (
    "SELECT count(*) FROM due_work WHERE run_at <= now() AND (locked_until IS NULL OR locked_until < now())",
    "SELECT count(*), count(*) FILTER (WHERE success) FROM task_run WHERE finished_at > now() - interval '1 hour'",
)


def run(options: Options) -> list[Result]:
    many, due = options.pick(1_000_000, 10_000_000), options.pick(200_000, 1_000_000)
    rounds = options.pick(10, 40)
    server = PostgresServer(
        settings={"shared_buffers": "512MB", "max_wal_size": "8GB", "maintenance_work_mem": "512MB"}
    )
    server.start()
    try:
        figures = {runs: asyncio.run(_measure(server, runs, due, rounds)) for runs in (FEW_RUNS, many)}
    finally:
        server.stop()
    few, more = figures[FEW_RUNS], figures[many]
    peer = f"exact counts of due_work and of an hour of task_run, {many:,} runs, {due:,} due rows"
    notes = [
        f"{FEW_RUNS:,} runs: {milliseconds(few.ours)} of the server, {milliseconds(few.wall)} in all",
        f"{many:,} runs: {milliseconds(more.ours)} of the server, {milliseconds(more.wall)} in all",
        f"exact counts: {milliseconds(few.peer)} and {milliseconds(more.peer)} of the server",
    ]
    return [
        Result("collection_growth", milliseconds(more.ours), milliseconds(few.ours), more.ours / few.ours,
               f"itself with {FEW_RUNS:,} runs", notes),
        Result("collection_server", milliseconds(more.ours), milliseconds(more.peer), more.ours * 1000, peer, notes),
    ]  # fmt: skip


class _Figures:
    def __init__(self, ours: list[float], wall: list[float], peer: list[float]) -> None:
        self.ours, self.wall, self.peer = low(ours), median(wall), low(peer)


async def _measure(server: PostgresServer, runs: int, due: int, rounds: int) -> _Figures:
    url = server.url(await _fill(server, runs, due))
    metrics = Metrics(Registry())
    families = SystemMetrics(metrics.registry)
    states = CollectorStates(families, Clock(), lambda *_, **__: None, metrics.count_internal_error)
    collector = SystemCollector(url, families, states, interval_seconds=15.0)

    async def collect() -> None:
        collector._due = 0.0
        await collector.collect()

    host = await asyncpg.connect(url)
    ours, wall, peer = [], [], []
    for number in range(rounds + 2):
        await _work(host)
        begun = time.perf_counter()
        spent = await _server_seconds(lambda: _backend(host), collect)
        if number >= 2:  # the first finds the baseline, the second fills caches
            wall.append(time.perf_counter() - begun)
            ours.append(spent)
        _complete(collector)
    for _ in range(3):
        peer.append(await _server_seconds(lambda: asyncio.sleep(0, host.get_server_pid()), lambda: _exact(host)))
    await host.close()
    await collector.close()
    return _Figures(ours, wall, peer)


async def _fill(server: PostgresServer, runs: int, due: int) -> str:
    name = f"runs_{runs}"
    host = await asyncpg.connect(server.url("postgres"))
    await host.execute(f"CREATE DATABASE {name}")
    await host.close()
    host = await asyncpg.connect(server.url(name))
    await host.execute(_SCHEMA.read_text())
    await host.execute(_FILL.format(tasks=TASKS, runs=runs, due=due))
    await host.execute("VACUUM ANALYZE")
    await host.close()
    return name


async def _work(host: Any) -> None:
    """What the host does between two collections."""
    await host.execute(
        "INSERT INTO task_run (task_id, lease_owner, started_at, finished_at, success, attempt) "
        "SELECT id, 'w', now(), now(), true, 1 FROM task LIMIT 100"
    )
    await host.execute("INSERT INTO audit_log (action) SELECT 'task.run_now' FROM generate_series(1, 100)")


async def _exact(host: Any) -> None:
    for statement in _EXACT:
        await host.fetch(statement)


async def _backend(host: Any) -> int | None:
    """The process behind the collector's connection; None before it has one."""
    return await host.fetchval(
        "SELECT pid FROM pg_stat_activity "
        "WHERE application_name = 'ordinaut-observability' AND datname = current_database()"
    )


async def _server_seconds(backend: Callable[[], Awaitable[int | None]], work: Callable[[], Awaitable[None]]) -> float:
    """Time on processor of the server process during the work."""
    pid = await backend()
    before = _on_processor(pid)
    await work()
    return _on_processor(await backend()) - before


def _on_processor(pid: int | None) -> float:
    return int(Path(f"/proc/{pid}/schedstat").read_text().split()[0]) / 1e9 if pid is not None else 0.0


def _complete(collector: SystemCollector) -> None:
    """A collection in which something failed would be cheap."""
    states = {name: collector.states.of(name) for name in (*LEADERS, "database")}
    failed = [name for name, state in states.items() if state.problem is not None or state.collected_at is None]
    if failed:
        raise RuntimeError(f"not read: {failed}")
