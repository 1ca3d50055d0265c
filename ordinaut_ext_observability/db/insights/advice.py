"""Advice on indexes: the planner is asked how it would find the rows without them, and nothing is run."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import asyncpg

from ordinaut_ext_observability.db.insights.indexes import Index, Redundancy, redundant, unused
from ordinaut_ext_observability.db.insights.queries import Connection, read_row, read_rows
from ordinaut_ext_observability.db.insights.report import bytes_text
from ordinaut_ext_observability.db.insights.views import HOST_TABLES, Server, TableUsage, read_tables
from ordinaut_ext_observability.postgresql.connection import concerns_statement

MIN_ROWS = 10_000
"""A table below this is read as a whole within a few milliseconds."""

MIN_UNUSED_SECONDS = 7 * 86400.0
"""Time an index must not have been used: work that comes once a month, or with an incident, may need it later still."""

MAX_SHARE = 0.1
"""Above this share of a table's rows the planner does not use an index for them."""

MIN_SORTED_ROWS = 1_000
"""Below this, finding the rows by one index and sorting them costs next to nothing."""

_SOME_TASK = "(SELECT id FROM task LIMIT 1)"
"""Planned in place of a parameter: a task of which the planner has to assume that it is like all others."""

_PLAIN_IDENTIFIER = re.compile(r"[a-z_][a-z0-9_]*")


@dataclass(frozen=True, slots=True)
class Candidate:
    """An index that may be worth having."""

    table: str
    columns: tuple[str, ...]
    """All ascending: a B-tree is read in both directions."""
    serves: str
    """The ones that run the statement, and when."""
    statement: str
    """The part of the statement that looks for rows; planned, never run. `$1` is a task's id."""
    predicate: str = ""
    """The predicate of a partial index, as PostgreSQL prints it; empty for all rows."""

    def is_served_by(self, index: Index) -> bool:
        """Tell whether an index does already what this one would."""
        return (
            index.table == self.table
            and index.method == "btree"
            and index.is_valid
            and index.keys[: len(self.columns)] == self.columns
            and (not index.is_partial or (bool(self.predicate) and index.predicate == self.predicate))
        )

    def definition(self, indexes: Sequence[Index], schema: str) -> str:
        """The statement that makes it, under a name as the host makes its own, or the next that is free."""
        taken = {index.name for index in indexes}
        first = "_".join(("idx", self.table, *self.columns))
        name = next(name for name in (first, *(f"{first}_{n}" for n in range(2, 100))) if name not in taken)
        where = f" WHERE {self.predicate}" if self.predicate else ""
        columns = ", ".join(self.columns)
        return f"CREATE INDEX CONCURRENTLY IF NOT EXISTS {name} ON {quoted(schema)}.{self.table} ({columns}){where};"


CANDIDATES = (
    Candidate(
        "due_work",
        ("run_at",),
        "workers, each time they look for work",
        "SELECT id, task_id, run_at FROM due_work WHERE run_at <= now()"
        " AND (locked_until IS NULL OR locked_until < now()) ORDER BY run_at LIMIT 1",
    ),
    Candidate(
        "due_work",
        ("locked_until",),
        "workers when they free expired leases, and monitoring that counts them",
        "SELECT id FROM due_work WHERE locked_until < now() - interval '60 seconds'",
        "(locked_until IS NOT NULL)",
    ),
    Candidate(
        "due_work",
        ("task_id",),
        "the API when a task is snoozed, canceled or deleted",
        "SELECT id FROM due_work WHERE task_id = $1",
    ),
    Candidate(
        "task_run",
        ("finished_at",),
        "monitoring that counts the runs of the last minutes",
        "SELECT success FROM task_run WHERE finished_at >= now() - interval '5 minutes'",
    ),
    Candidate(
        "task_run",
        ("created_at",),
        "the API's list of runs, newest first (GET /runs), and its statistics",
        "SELECT * FROM task_run ORDER BY created_at DESC LIMIT 50",
    ),
    Candidate(
        "task_run",
        ("task_id", "created_at"),
        "the API's latest runs of one task",
        "SELECT * FROM task_run WHERE task_id = $1 ORDER BY created_at DESC LIMIT 50",
    ),
    Candidate(
        "audit_log",
        ("at",),
        "monitoring that counts the latest security events",
        "SELECT action FROM audit_log WHERE at >= now() - interval '5 minutes'",
    ),
    Candidate(
        "worker_heartbeat",
        ("last_seen",),
        "monitoring that counts the workers alive: rows of ended workers stay",
        "SELECT worker_id FROM worker_heartbeat WHERE last_seen >= now() - interval '2 minutes'",
    ),
)


@dataclass(frozen=True, slots=True)
class Proposal:
    """An index worth having."""

    sql: str
    table: str
    reason: str
    evidence: str
    statement: str
    """The statement it serves."""


@dataclass(frozen=True, slots=True)
class Advice:
    """Things to do about the host's indexes; nothing of it is done here."""

    proposals: tuple[Proposal, ...]
    redundant: tuple[Redundancy, ...]
    unused: tuple[Index, ...]
    """Large ones that nobody used for `MIN_UNUSED_SECONDS`."""
    invalid: tuple[Index, ...]
    not_judged: tuple[str, ...]
    """Tables and columns that could not be looked at, and why."""
    server: Server


async def read_advice(
    connection: Connection, min_rows: int = MIN_ROWS, min_unused_seconds: float = MIN_UNUSED_SECONDS
) -> Advice:
    """Compare the host's indexes with its statements, in the caller's transaction; may raise asyncpg.PostgresError."""
    server = await read_row(Server, "server", connection)
    tables = await read_tables(connection)
    indexes = await read_rows(Index, "indexes", connection, HOST_TABLES)
    large = {table.name: table for table in tables.found if table.rows >= min_rows}
    proposals: list[Proposal] = []
    not_judged = [f"{name}: there is no such table in the search path" for name in tables.missing]
    for candidate in CANDIDATES:
        if candidate.table not in large or any(map(candidate.is_served_by, indexes)):
            continue
        try:
            proposals += await _judged(connection, candidate, large[candidate.table], indexes)
        except asyncpg.PostgresError as error:
            if not concerns_statement(error):
                raise
            not_judged.append(f"{candidate.table} ({', '.join(candidate.columns)}): {error}")
    serving = [index for index in indexes if any(candidate.is_served_by(index) for candidate in CANDIDATES)]
    is_counted = not server.in_recovery and server.statistics_age_seconds >= min_unused_seconds
    idle = unused(indexes) if is_counted else ()
    return Advice(
        proposals=tuple(proposals),
        redundant=tuple(pair for pair in redundant(indexes) if pair.index.table in large),
        unused=tuple(index for index in idle if index.table in large and index not in serving),
        invalid=tuple(index for index in indexes if not index.is_valid),
        not_judged=tuple(not_judged),
        server=server,
    )


async def _judged(
    connection: Connection, candidate: Candidate, usage: TableUsage, indexes: Sequence[Index]
) -> list[Proposal]:
    """The index as a proposal, if the planner reads too much without it and could use it."""
    async with connection.transaction():  # a savepoint: without the right to read the table only this fails
        (row,) = await connection.fetch(f"EXPLAIN (FORMAT JSON) {candidate.statement.replace('$1', _SOME_TASK)}")
    plan = json.loads(row[0])[0]["Plan"]
    today = _excess(list(_nodes(plan)), usage.name)
    if not today or plan["Plan Rows"] > MAX_SHARE * usage.rows:
        return []
    size = "size unknown" if usage.size_bytes is None else bytes_text(usage.size_bytes)
    reads = f"read as a whole {usage.sequential_scans:,} times ({usage.sequential_rows:,} rows)"
    analysed = "" if usage.analyze_age_seconds is not None else "; never analysed: run ANALYZE, then ask again"
    proposal = Proposal(
        sql=candidate.definition(indexes, usage.schema),
        table=usage.name,
        reason=f"serves {candidate.serves}",
        evidence=f"{usage.rows:,} rows, {size}, {reads}; planned now: {today}, cost {plan['Total Cost']:,.0f},"
        f" to find {plan['Plan Rows']:,}{analysed}",
        statement=candidate.statement,
    )
    return [proposal]


def _nodes(plan: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    yield plan
    for child in plan.get("Plans", ()):
        yield from _nodes(child)


def _excess(nodes: Sequence[Mapping[str, Any]], table: str) -> str:
    """Tell what the plan does that an index would spare; empty: nothing."""
    if any(node["Node Type"] == "Seq Scan" and node["Relation Name"] == table for node in nodes):
        return "reads the whole table"
    sorted_rows = max((node["Plans"][0]["Plan Rows"] for node in nodes if node["Node Type"] == "Sort"), default=0)
    return f"sorts {sorted_rows:,} rows" if sorted_rows >= MIN_SORTED_ROWS else ""


def quoted(identifier: str) -> str:
    """The identifier as SQL."""
    return identifier if _PLAIN_IDENTIFIER.fullmatch(identifier) else '"' + identifier.replace('"', '""') + '"'
