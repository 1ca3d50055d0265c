"""Which tasks an INSERT into `due_work` queues, from its parameters."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

QUEUE_TABLE = "due_work"
TASK_COLUMN = "task_id"

MAX_TASKS = 10_000
"""Tasks remembered per transaction."""

# SQLAlchemy numbers a parameter's name when a statement has several rows: task_id_m1, task_id__1.
_TASK_PARAMETER = re.compile(rf"{TASK_COLUMN}(?:_[m_]?\d+)?")

# The columns of an INSERT, up to the values of its first row; quantifiers are possessive, names hold no parentheses.
_COLUMNS = re.compile(rf'\b{QUEUE_TABLE}"?+\s*+\(([^()]{{1,1000}}+)\)\s*+VALUES\b', re.IGNORECASE)


def queued_tasks(statement: str, rows: Iterable[Any]) -> Iterator[str]:
    """The ids of the tasks, as text, from the parameters of each row or each batch of rows.

    What is no parameter (a literal, a column of a SELECT) is not found.
    """
    for row in rows:
        for value in _values(statement, row):
            if value is not None:
                yield str(value)


def _values(statement: str, row: Any) -> Iterable[Any]:
    if isinstance(row, Mapping):
        return [value for name, value in row.items() if _TASK_PARAMETER.fullmatch(name)]
    if isinstance(row, Sequence):
        found = _COLUMNS.search(statement, 0, 2000)
        columns = [column.strip(' "\n\t').lower() for column in found[1].split(",")] if found else []
        if TASK_COLUMN in columns:
            return row[columns.index(TASK_COLUMN) :: len(columns)]
    return ()
