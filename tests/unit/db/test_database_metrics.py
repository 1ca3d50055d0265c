"""The families of database clients, pools in numbers, and the tasks an INSERT queues."""

from __future__ import annotations

import gc
from uuid import UUID

import pytest

from ordinaut_ext_observability.db.definitions import MAX_POOLS, MAX_TEXTS, DatabaseMetrics
from ordinaut_ext_observability.db.engine_events import queued_tasks
from ordinaut_ext_observability.db.statement import MAX_CHARACTERS, Statement
from ordinaut_ext_observability.metrics.declarations import Metrics
from ordinaut_ext_observability.metrics.registry import Registry


class FakePool:
    def __init__(self, **use: int) -> None:
        self.use = use


def read(pool: FakePool) -> dict[str, int]:
    return pool.use


@pytest.fixture
def metrics() -> Metrics:
    return Metrics(Registry())


@pytest.fixture
def database(metrics: Metrics) -> DatabaseMetrics:
    return DatabaseMetrics(metrics)


def connections(metrics: Metrics) -> dict[tuple[str, ...], float]:
    metrics.registry.refresh()
    return {child.label_values: child.value for child in metrics.database_connections.children()}


def test_families_have_the_documented_names_and_labels(metrics: Metrics, database: DatabaseMetrics) -> None:
    labels = {family.name: family.label_names for family in metrics.registry.families()}
    assert labels["orchestrator_database_query_duration_seconds"] == ("operation", "table")
    assert labels["orchestrator_database_query_errors_total"] == ("operation", "table", "error")
    assert labels["orchestrator_database_transactions_total"] == ("outcome",)
    assert labels["orchestrator_database_pool_wait_seconds"] == ("pool",)
    assert labels["orchestrator_database_pool_timeouts_total"] == ("pool",)


def test_outcomes_of_transactions_are_shown_from_the_start(database: DatabaseMetrics) -> None:
    assert [(child.label_values, child.value) for child in database.transactions.children()] == [
        (("commit",), 0),
        (("rollback",), 0),
    ]


def test_texts_are_described_once_and_not_all_kept(database: DatabaseMetrics) -> None:
    assert database.statement("SELECT a FROM task") is database.statement("SELECT a FROM task")
    for number in range(2 * MAX_TEXTS):
        database.statement(f"SELECT {number} FROM task")
    assert len(database._statements) <= MAX_TEXTS


def test_long_texts_with_one_beginning_are_described_once_and_not_kept_whole(database: DatabaseMetrics) -> None:
    beginning = "INSERT INTO task VALUES " + "(1), " * MAX_CHARACTERS
    described = [database.statement(f"{beginning} ({number})") for number in range(5)]
    assert described == [Statement("insert", "task")] * 5
    assert [len(text) for text in database._statements] == [MAX_CHARACTERS + 1]


def test_more_tables_than_the_budget_are_counted_together(metrics: Metrics, database: DatabaseMetrics) -> None:
    for number in range(5000):
        database.record(database.statement(f"SELECT * FROM table_{number}"), 0.001)
    assert len(database.query_seconds) <= 102
    assert sum(sum(child.counts) for child in database.query_seconds.children()) == 5000


def test_pools_of_one_name_are_added_up_and_series_go_with_the_pools(
    metrics: Metrics, database: DatabaseMetrics
) -> None:
    first, second = FakePool(size=5, idle=2, used=3, max=10), FakePool(size=1, idle=1, used=0)
    other = FakePool()
    for name, pool in (("sync", first), ("sync", second), ("async", other)):
        database.watch_pool(name, pool, read)
    assert connections(metrics) == {("sync", "size"): 6, ("sync", "idle"): 3, ("sync", "used"): 3, ("sync", "max"): 10}
    del first, pool
    gc.collect()
    assert connections(metrics) == {("sync", "size"): 1, ("sync", "idle"): 1, ("sync", "used"): 0}
    database.unwatch_pools(read)
    assert connections(metrics) == {}
    assert second.use


def test_number_of_watched_pools_is_bounded(metrics: Metrics, database: DatabaseMetrics) -> None:
    pools = [FakePool(size=1) for _ in range(MAX_POOLS + 5)]
    for pool in pools:
        database.watch_pool("sync", pool, read)
    assert connections(metrics)["sync", "size"] == MAX_POOLS


def test_pool_that_cannot_be_read_does_not_break_a_scrape(metrics: Metrics, database: DatabaseMetrics) -> None:
    pool = FakePool()
    database.watch_pool("sync", pool, lambda _: 1 // 0)
    assert connections(metrics) == {}
    assert metrics.internal_errors.labels("database").value == 1


def test_failures_of_recording_are_counted_and_kept(
    metrics: Metrics, database: DatabaseMetrics, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("broken")

    series = database.statement("SELECT 1")
    for family in (database.query_seconds, database.query_errors, database.pool_wait_seconds):
        monkeypatch.setattr(family, "labels", broken)
    monkeypatch.setattr(database, "_ended", {})
    database.record(series, 1.0)
    database.record(series, None, ValueError())
    database.record_transaction(committed=True)
    database.record_wait("x", 1.0)
    assert database.statement([]) is None
    assert metrics.internal_errors.labels("database").value == 5
    database.record(None, 1.0)
    database.record(None, None, ValueError())
    assert metrics.internal_errors.labels("database").value == 5


ID = UUID("4bf92f35-77b3-4da6-a3ce-929d0e0e4736")


@pytest.mark.parametrize(
    ("statement", "rows", "tasks"),
    [
        ("", [{"task_id": ID, "run_at": 1}], [str(ID)]),
        ("", [{"task_id": "a"}, {"task_id": "b"}], ["a", "b"]),
        ("", [{"task_id__0": "a", "task_id__1": "b", "run_at__0": 1}], ["a", "b"]),
        ("", [{"task_id_m0": "a", "task_id_m1": "b", "task_id_other": "c"}], ["a", "b"]),
        ("", [{"task_id": None}, {"other": 1}, {}], []),
        ("INSERT INTO due_work (task_id, run_at) VALUES (%s, %s)", [("a", 1)], ["a"]),
        ("INSERT INTO due_work (run_at, task_id) VALUES ($1, $2), ($3, $4)", [(1, "a", 2, "b")], ["a", "b"]),
        ('INSERT INTO public."due_work" ("run_at", "task_id")\nVALUES (%s, %s)', [(1, "a"), (2, "b")], ["a", "b"]),
        ("INSERT INTO due_work SELECT 1", [(1, "a")], []),
        ("INSERT INTO due_work VALUES (%s, %s)", [(1, "a")], []),
        ("", [None, 3, "text"], []),
    ],
)
def test_queued_tasks(statement: str, rows: list[object], tasks: list[str]) -> None:
    assert list(queued_tasks(statement, rows)) == tasks
