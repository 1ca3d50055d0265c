"""Readings as metrics: counters that never go back, gauges that show only what is known."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from ordinaut_ext_observability.db.definitions import InsightMetrics
from ordinaut_ext_observability.db.insights.views import Connections, Longest
from ordinaut_ext_observability.db.insights.locks import Locks
from ordinaut_ext_observability.db.insights.report import Report
from ordinaut_ext_observability.db.insights.views import Server, XidAge
from ordinaut_ext_observability.db.insights.views import Statement, Statements
from ordinaut_ext_observability.db.insights.views import Tables, TableUsage
from ordinaut_ext_observability.metrics.declarations import Metrics
from ordinaut_ext_observability.metrics.registry import Registry

SERVER = Server(
    database="d", version="18", role="r", sees_all=True, in_recovery=False, max_connections=100, reserved_connections=3,
    commits=1000, rollbacks=10, deadlocks=1, temp_bytes=0, blocks_from_cache=90, blocks_from_disk=10,
    statistics_age_seconds=1.0,
)  # fmt: skip
TABLE = TableUsage("task", "public", 100, 5, 8192, 1, 100, 3, None, None, None)
READING = Report(
    server=SERVER,
    connections=Connections(5, 4, {"active": 2, "idle": 3}, {"api": 5}),
    longest=Longest(3.0, 2.0, 1.0, 0),
    locks=Locks(2, (), 0),
    xid_age=XidAge(200, "postgres", "task", 50, 200_000_000),
    tables=Tables((TABLE,), ("apscheduler_jobs",)),
    statements=Statements((Statement("7", 10, 2.0, 1, ""),), 0.0, ""),
)


@pytest.fixture
def metrics() -> Metrics:
    return Metrics(Registry())


@pytest.fixture
def insights(metrics: Metrics) -> InsightMetrics:
    return InsightMetrics(metrics.registry)


def values(metrics: Metrics, name: str) -> dict[tuple[str, ...], float]:
    (family,) = (family for family in metrics.registry.families() if family.name == name)
    return {child.label_values: child.value for child in family.children()}  # type: ignore[union-attr]


def test_gauges_show_the_reading(metrics: Metrics, insights: InsightMetrics) -> None:
    insights.update(READING)
    expected: dict[str, Any] = {
        "orchestrator_database_connections_active": {(): 2},
        "orchestrator_database_backends": {("active",): 2, ("idle",): 3},
        "orchestrator_database_max_connections": {(): 97},
        "orchestrator_database_cache_hit_ratio": {(): 0.9},
        "orchestrator_database_longest_transaction_seconds": {(): 3},
        "orchestrator_database_longest_query_seconds": {(): 1},
        "orchestrator_database_idle_in_transaction_seconds": {(): 2},
        "orchestrator_database_blocked_sessions": {(): 2},
        "orchestrator_database_xid_age": {(): 200},
        "orchestrator_database_index_scan_ratio": {("task",): 0.75},
        "orchestrator_database_dead_tuples": {("task",): 5},
        "orchestrator_database_table_size_bytes": {("task",): 8192},
        "orchestrator_database_last_autovacuum_age_seconds": {},
    }
    assert {name: values(metrics, name) for name in expected} == expected


def test_counters_follow_what_grew_since_the_first_reading(metrics: Metrics, insights: InsightMetrics) -> None:
    name = "orchestrator_database_server_transactions_total"
    insights.update(READING)
    assert values(metrics, name) == {("commit",): 0, ("rollback",): 0}
    insights.update(replace(READING, server=replace(SERVER, commits=1500)))
    assert values(metrics, name) == {("commit",): 500, ("rollback",): 0}


def test_reset_of_the_statistics_does_not_turn_counters_back(metrics: Metrics, insights: InsightMetrics) -> None:
    for commits in (1000, 1500, 30, 40):
        insights.update(replace(READING, server=replace(SERVER, commits=commits)))
    assert values(metrics, "orchestrator_database_server_transactions_total")[("commit",)] == 540


def test_part_that_failed_has_no_old_values(metrics: Metrics, insights: InsightMetrics) -> None:
    insights.update(READING)
    insights.update(Report())
    gauges = [family for family in metrics.registry.families() if family.name.startswith("orchestrator_database_")]
    assert {family.name for family in gauges if family.kind == "gauge" and len(family)} == set()
    insights.update(replace(READING, server=replace(SERVER, commits=1001)))
    assert values(metrics, "orchestrator_database_server_transactions_total")[("commit",)] == 1


def test_states_and_tables_that_are_gone_go(metrics: Metrics, insights: InsightMetrics) -> None:
    insights.update(READING)
    insights.update(replace(READING, connections=Connections(1, 1, {"idle": 1}, {}), tables=Tables((), ("task",))))
    assert values(metrics, "orchestrator_database_backends") == {("idle",): 1}
    assert values(metrics, "orchestrator_database_dead_tuples") == {}


def test_process_that_reads_no_more_shows_none_and_starts_anew(metrics: Metrics, insights: InsightMetrics) -> None:
    name = "orchestrator_database_server_transactions_total"
    insights.update(READING)
    insights.update(replace(READING, server=replace(SERVER, commits=1100)))
    insights.clear()
    assert values(metrics, "orchestrator_database_blocked_sessions") == {}
    insights.update(replace(READING, server=replace(SERVER, commits=9000)))
    assert values(metrics, name)[("commit",)] == 100  # what came meanwhile, the other process counted


def top(*ids: int, seconds: float) -> Report:
    """A reading of these statements."""
    statements = tuple(Statement(str(number), 10, seconds, 0, "") for number in ids)
    return replace(READING, statements=Statements(statements, 0.0, ""))


def test_statements_are_the_top_ones_only(metrics: Metrics, insights: InsightMetrics) -> None:
    name = "orchestrator_database_statement_seconds_total"
    insights.update(top(*range(30), seconds=1.0))
    assert len(values(metrics, name)) == 10
    insights.update(top(*range(5, 15), seconds=3.0))
    assert values(metrics, name) == {(str(number),): 2.0 if 5 <= number < 10 else 0.0 for number in range(15)}
    assert values(metrics, "ordinaut_observability_label_overflow_total") == {}


def test_statement_that_leaves_the_top_keeps_its_count_and_comes_again_without_a_leap(
    metrics: Metrics, insights: InsightMetrics
) -> None:
    name = "orchestrator_database_statement_seconds_total"
    seen = []
    for reading in (top(1, seconds=1.0), top(1, seconds=3.0), top(2, seconds=9.0), top(1, seconds=50.0)):
        insights.update(reading)
        seen.append(values(metrics, name)["1",])
    insights.update(top(1, seconds=51.0))
    assert [*seen, values(metrics, name)["1",]] == [0.0, 2.0, 2.0, 2.0, 3.0]


def test_every_help_names_its_source(metrics: Metrics, insights: InsightMetrics) -> None:
    for family in metrics.registry.families():
        if family.name.startswith("orchestrator_database_") and family is not metrics.database_connections:
            assert "(pg_" in family.documentation, family.name
