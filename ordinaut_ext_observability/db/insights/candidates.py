"""Indexes that Ordinaut's own statements and its monitoring can use: what each is on, and whom it serves."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from ordinaut_ext_observability.db.insights.indexes import Index

_SOME_TASK = "(SELECT id FROM task LIMIT 1)"
"""A task of which the planner has to assume that it is like all others."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """An index that may be worth having."""

    table: str
    columns: tuple[str, ...]
    """All ascending: a B-tree is read in both directions."""
    serves: str
    """Who runs the statement."""
    statement: str
    """The part of the statement that looks for rows; planned, never run."""
    predicate: str = ""
    """The predicate of a partial index, as PostgreSQL prints it; empty for all rows."""

    @property
    def name(self) -> str:
        """The name, made as the host makes its own."""
        return "_".join(("idx", self.table, *self.columns))

    @property
    def shown_statement(self) -> str:
        """The statement with a parameter where the planner is given a value it cannot know."""
        return self.statement.replace(_SOME_TASK, "$1")

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
        """The statement that makes it, under a name that is free."""
        taken = {index.name for index in indexes}
        name = next(name for name in (self.name, *(f"{self.name}_{n}" for n in range(2, 100))) if name not in taken)
        where = f" WHERE {self.predicate}" if self.predicate else ""
        columns = ", ".join(self.columns)
        return f"CREATE INDEX CONCURRENTLY IF NOT EXISTS {name} ON {quoted(schema)}.{self.table} ({columns}){where};"


_PLAIN_IDENTIFIER = re.compile(r"[a-z_][a-z0-9_]*")


def quoted(identifier: str) -> str:
    """The identifier as SQL."""
    return identifier if _PLAIN_IDENTIFIER.fullmatch(identifier) else '"' + identifier.replace('"', '""') + '"'


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
        "SELECT id FROM due_work WHERE task_id = (SELECT id FROM task LIMIT 1)",
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
        "SELECT * FROM task_run WHERE task_id = (SELECT id FROM task LIMIT 1) ORDER BY created_at DESC LIMIT 50",
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
