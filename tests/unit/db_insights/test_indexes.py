"""Which indexes do another one's work, and which nobody needs."""

from __future__ import annotations

from typing import Any

import pytest

from ordinaut_ext_observability.db.insights.advice import CANDIDATES, quoted
from ordinaut_ext_observability.db.insights.indexes import Index, redundant, unused


def index(name: str, *columns: str, **differences: Any) -> Index:
    count = len(columns)
    values: dict[str, Any] = {
        "schema": "public", "table": "task_run", "method": "btree", "is_unique": False, "is_valid": True,
        "is_needed": False, "is_on_foreign_key": False, "key_columns": count, "options": ("0",) * count,
        "operator_classes": ("1",) * count, "collations": ("0",) * count, "has_expressions": False,
        "is_partial": False, "predicate": None, "size_bytes": 1, "scans": 0,
    }  # fmt: skip
    return Index(name=name, columns=columns, **{**values, **differences})


def pairs(*indexes: Index) -> list[tuple[str, str]]:
    return [(pair.index.name, pair.covered_by.name) for pair in redundant(indexes)]


def test_prefix_is_redundant() -> None:
    assert pairs(index("short", "a"), index("long", "a", "b")) == [("short", "long")]
    assert pairs(index("b", "b"), index("long", "a", "b")) == []


def test_of_two_alike_one_stays() -> None:
    assert pairs(index("a_1", "a"), index("a_2", "a")) == [("a_2", "a_1")]
    assert pairs(index("a_1", "a"), index("a_2", "a", is_unique=True)) == [("a_1", "a_2")]
    assert pairs(index("a_1", "a"), index("a_pkey", "a", is_unique=True, is_needed=True)) == [("a_1", "a_pkey")]


@pytest.mark.parametrize(
    "differences",
    [
        {"is_unique": True},
        {"is_needed": True},
        {"method": "hash"},
        {"table": "task"},
        {"options": ("3",)},
        {"operator_classes": ("2",)},
        {"collations": ("100",)},
        {"has_expressions": True},
        {"is_partial": True, "predicate": "(b IS NULL)"},
        {"is_partial": True},
    ],
)
def test_what_the_longer_one_cannot_do_is_not_redundant(differences: dict[str, Any]) -> None:
    assert pairs(index("short", "a", **differences), index("long", "a", "b")) == []


def test_invalid_index_covers_nothing() -> None:
    assert pairs(index("short", "a"), index("long", "a", "b", is_valid=False)) == []


def test_included_columns_must_be_there_too() -> None:
    assert pairs(index("short", "a", "c", key_columns=1), index("long", "a", "b")) == []
    assert pairs(index("short", "a", "b", key_columns=1), index("long", "a", "b")) == [("short", "long")]


def test_alike_partial_indexes_are_redundant() -> None:
    both = {"is_partial": True, "predicate": "(b IS NULL)"}
    assert pairs(index("short", "a", **both), index("long", "a", "b", **both)) == [("short", "long")]


def test_unused_are_those_only_queries_could_need() -> None:
    found = unused(
        [
            index("plain", "a"),
            index("scanned", "a", scans=1),
            index("unique", "a", is_unique=True),
            index("constraint", "a", is_needed=True),
            index("reference", "a", is_on_foreign_key=True),
            index("invalid", "a", is_valid=False),
        ]
    )
    assert [entry.name for entry in found] == ["plain"]


@pytest.mark.parametrize("candidate", CANDIDATES, ids=lambda candidate: f"{candidate.table}-{candidate.columns[0]}")
def test_candidate_is_served_by_itself_and_longer_ones(candidate: Any) -> None:
    partial = {"is_partial": bool(candidate.predicate), "predicate": candidate.predicate or None}
    own = index("own", *candidate.columns, table=candidate.table, **partial)
    longer = index("longer", *candidate.columns, "more", table=candidate.table)
    other = index("other", *candidate.columns, table=candidate.table, is_partial=True, predicate="(x > 1)")
    building = index("building", *candidate.columns, table=candidate.table, is_valid=False)
    assert [candidate.is_served_by(entry) for entry in (own, longer, other, building)] == [True, True, False, False]


def test_advised_name_is_one_that_is_free() -> None:
    candidate = next(candidate for candidate in CANDIDATES if candidate.columns == ("finished_at",))
    taken = [index("idx_task_run_finished_at", "other")]
    assert "EXISTS idx_task_run_finished_at ON public.task_run" in candidate.definition([], "public")
    assert 'EXISTS idx_task_run_finished_at_2 ON "My schema".task_run' in candidate.definition(taken, "My schema")
    assert quoted('a"b') == '"a""b"'
