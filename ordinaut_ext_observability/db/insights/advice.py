"""Which indexes are worth having: the planner is asked how it would find the rows without them, and nothing is run."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import asyncpg

from ordinaut_ext_observability.db.insights.candidates import CANDIDATES, Candidate
from ordinaut_ext_observability.db.insights.indexes import Index, Redundancy, read_indexes, redundant, unused
from ordinaut_ext_observability.db.insights.quantities import bytes_text
from ordinaut_ext_observability.db.insights.queries import Connection, breaks_connection, read_row
from ordinaut_ext_observability.db.insights.views import Server, TableUsage, read_tables

MIN_ROWS = 10_000
"""A table below this is read as a whole within a few milliseconds."""

MIN_UNUSED_SECONDS = 7 * 86400.0
"""For how long an index must not have been used: monthly work and the last incident's are not in less."""

MAX_SHARE = 0.1
"""Above this share of a table's rows the planner does not use an index for them."""

MIN_SORTED_ROWS = 1_000
"""Below this, finding the rows by one index and sorting them costs next to nothing."""


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
    """What to do about the host's indexes; nothing of it is done here."""

    proposals: tuple[Proposal, ...]
    redundant: tuple[Redundancy, ...]
    unused: tuple[Index, ...]
    """Large ones that nobody used for `MIN_UNUSED_SECONDS`."""
    invalid: tuple[Index, ...]
    not_judged: tuple[str, ...]
    """What could not be looked at, and why."""
    server: Server


async def read_advice(
    connection: Connection, min_rows: int = MIN_ROWS, min_unused_seconds: float = MIN_UNUSED_SECONDS
) -> Advice:
    """Compare the host's indexes with its statements, on a connection whose transaction the caller ends.

    Raises:
        asyncpg.PostgresError: the system views cannot be read.
    """
    server = await read_row(Server, "server", connection)
    tables = await read_tables(connection)
    indexes = await read_indexes(connection)
    large = {table.name: table for table in tables.found if table.rows >= min_rows}
    proposals: list[Proposal] = []
    not_judged = [f"{name}: there is no such table in the search path" for name in tables.missing]
    for candidate in CANDIDATES:
        if candidate.table not in large or any(map(candidate.is_served_by, indexes)):
            continue
        try:
            proposals += await _judged(connection, candidate, large[candidate.table], indexes)
        except asyncpg.PostgresError as error:
            if breaks_connection(error):
                raise
            not_judged.append(f"{candidate.table} ({', '.join(candidate.columns)}): {error}")
    is_counted = not server.in_recovery and server.statistics_age_seconds >= min_unused_seconds
    return Advice(
        proposals=tuple(proposals),
        redundant=tuple(pair for pair in redundant(indexes) if pair.index.table in large),
        unused=tuple(index for index in unused(indexes) if is_counted and index.table in large and not _serves(index)),
        invalid=tuple(index for index in indexes if not index.is_valid),
        not_judged=tuple(not_judged),
        server=server,
    )


def _serves(index: Index) -> bool:
    """Tell whether one of the statements known here would use it."""
    return any(candidate.is_served_by(index) for candidate in CANDIDATES)


async def _judged(
    connection: Connection, candidate: Candidate, usage: TableUsage, indexes: Sequence[Index]
) -> list[Proposal]:
    """The index as a proposal, if the planner reads too much without it and could use it."""
    async with connection.transaction():  # a savepoint: without the right to read the table only this fails
        (row,) = await connection.fetch(f"EXPLAIN (FORMAT JSON) {candidate.statement}")
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
        statement=candidate.shown_statement,
    )
    return [proposal]


def _nodes(plan: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    yield plan
    for child in plan.get("Plans", ()):
        yield from _nodes(child)


def _excess(nodes: Sequence[Mapping[str, Any]], table: str) -> str:
    """What the plan does that an index would spare; empty: nothing."""
    if any(node["Node Type"] == "Seq Scan" and node["Relation Name"] == table for node in nodes):
        return "reads the whole table"
    sorted_rows = max((node["Plans"][0]["Plan Rows"] for node in nodes if node["Node Type"] == "Sort"), default=0)
    return f"sorts {sorted_rows:,} rows" if sorted_rows >= MIN_SORTED_ROWS else ""
