"""The demo's work is the same for the same seed, and its rows fit the host's tables."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from statistics import mean
from typing import Any

from ordinaut_ext_observability.demo.scheduler import next_run
from ordinaut_ext_observability.demo.workload import TASKS, Step, all_tasks, fate, initial_rows, steps_of

NOW = datetime(2026, 11, 25, 12, tzinfo=UTC)
STEP = Step("charge", "payments.charge", 0.3, 0.25, "Declined")


def test_every_kind_of_schedule_is_there() -> None:
    assert {task.kind for task in all_tasks(NOW)} == {"cron", "rrule", "once", "event", "condition"}


def test_ids_are_the_same_in_every_demo_and_titles_are_unique() -> None:
    tasks = all_tasks(NOW)
    assert len({task.id for task in tasks}) == len(tasks)
    assert [task.id for task in tasks] == [task.id for task in all_tasks(NOW)]


def test_fate_depends_on_seed_work_attempt_and_step_alone() -> None:
    assert fate(1, 2, 3, STEP) == fate(1, 2, 3, STEP)
    others = [fate(2, 2, 3, STEP), fate(1, 3, 3, STEP), fate(1, 2, 4, STEP)]
    assert fate(1, 2, 3, STEP) not in others


def test_fate_is_what_the_step_says() -> None:
    fates = [fate(1, number, 1, STEP) for number in range(2000)]
    assert 0.2 < mean(not succeeds for _, succeeds in fates) < 0.3
    assert all(0.2 < seconds < 0.4 for seconds, _ in fates)
    assert all(fate(1, number, 1, Step("a", "b", 1.0))[1] for number in range(100))


def test_steps_survive_the_payload(database_rows: list[dict[str, Any]]) -> None:
    by_title = {row["title"]: row for row in database_rows}
    for task in TASKS:
        assert steps_of(by_title[task.title]["payload"]) == task.steps


def test_one_active_schedule_cannot_be_read(database_rows: list[dict[str, Any]]) -> None:
    broken = []
    for row in database_rows:
        if row["status"] == "active" and row["schedule_kind"] in ("cron", "rrule", "once"):
            try:
                next_run(row["schedule_kind"], row["schedule_expr"], NOW)
            except ValueError:
                broken.append(row["title"])
    assert broken == ["Count the sheep"]


def test_payloads_are_pipelines(database_rows: list[dict[str, Any]]) -> None:
    for row in database_rows:
        assert all({"id", "uses"} <= set(step) for step in json.loads(row["payload"])["pipeline"])


def test_rows_are_deterministic() -> None:
    assert initial_rows(NOW) == initial_rows(NOW)
