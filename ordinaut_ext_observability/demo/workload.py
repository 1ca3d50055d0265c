"""The demo's agents and tasks: what each does, how often, and how it goes wrong."""

from __future__ import annotations

import json
import random
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from uuid import UUID, uuid5

_NAMESPACE = UUID("6f0f5f0e-5d6e-4b60-9f3c-2f1c4a4d8a11")

SYSTEM_AGENT_ID = UUID("00000000-0000-0000-0000-000000000001")
"""The agent that the host's migration creates."""

LEASE_SECONDS = 10
DEAD_WORKER_ID = "worker-00000000-0000-4000-8000-00000000dead"
"""A worker that went away long before the demo began, with work leased."""


@dataclass(frozen=True, slots=True)
class Step:
    """One call of a tool, as in the payload of a task: its time, give or take a third, and how often it fails."""

    id: str
    uses: str
    seconds: float
    failure_ratio: float = 0.0
    error: str = "ToolError"


@dataclass(frozen=True, slots=True)
class DemoTask:
    """A task and the pipeline it runs."""

    title: str
    agent: str
    kind: str
    expression: str | None
    steps: tuple[Step, ...]
    priority: int = 5
    max_retries: int = 0
    status: str = "active"
    at_start: bool = False
    """Whether some of its work waits when the demo begins."""

    @property
    def id(self) -> UUID:
        """The same in every demo."""
        return uuid5(_NAMESPACE, self.title)


AGENTS = ("mailer", "reporter", "crawler")
ORDER_PLACED = "order.placed"

TASKS = (
    DemoTask("Poll the inbox", "mailer", "rrule", "FREQ=SECONDLY;INTERVAL=3",
             (Step("fetch", "imap.fetch", 0.05), Step("classify", "language-model.classify", 0.15))),
    DemoTask("Synchronise calendars", "reporter", "rrule", "FREQ=SECONDLY;INTERVAL=5",
             (Step("synchronise", "calendar.sync", 0.2, 0.3, "Conflict"),), priority=3, max_retries=3),
    DemoTask("Crawl the news", "crawler", "rrule", "FREQ=SECONDLY;INTERVAL=8",
             (Step("download", "http.get", 1.6, 0.1, "Timeout"), Step("store", "archive.put", 0.05)), max_retries=1),
    DemoTask("Validate the import", "reporter", "cron", "* * * * *",
             (Step("validate", "warehouse.validate", 0.1, 1.0, "ValidationError"),), priority=2, max_retries=1,
             at_start=True),
    DemoTask("Import the warehouse", "reporter", "rrule", "FREQ=MINUTELY;INTERVAL=1",
             (Step("import", "warehouse.import", 3.2 * LEASE_SECONDS),), priority=9, at_start=True),
    DemoTask("Charge the card", "mailer", "event", ORDER_PLACED,
             (Step("charge", "payments.charge", 0.12, 0.15, "Declined"), Step("receipt", "smtp.send", 0.05)),
             priority=1, max_retries=2),
    DemoTask("Free the disk", "crawler", "condition", "disk.free < 0.1", (Step("free", "disk.free", 0.1),)),
    DemoTask("Clean the archive", "crawler", "condition", "archive.age > 90", (Step("clean", "archive.clean", 0.3),)),
    DemoTask("Send the newsletter", "mailer", "cron", "0 8 * * 1", (Step("send", "smtp.send", 0.1),), status="paused"),
    DemoTask("Count the sheep", "crawler", "rrule", "FREQ=NEVER", (Step("count", "sheep.count", 0.1),)),
)  # fmt: skip

ONCE_AFTER_SECONDS = (15, 30, 45, 3600)


def all_tasks(started_at: datetime) -> tuple[DemoTask, ...]:
    """The tasks, those that run once included, which are due after the start."""
    once = tuple(
        DemoTask(
            f"Remind after {seconds} seconds",
            "mailer",
            "once",
            (started_at + timedelta(seconds=seconds)).isoformat(),
            (Step("remind", "smtp.send", 0.05),),
        )
        for seconds in ONCE_AFTER_SECONDS
    )
    return (*TASKS, *once)


def agent_id(name: str) -> UUID:
    """The id of an agent, the same in every demo."""
    return uuid5(_NAMESPACE, f"agent {name}")


def steps_of(payload: str) -> tuple[Step, ...]:
    """The steps in a task's payload."""
    return tuple(Step(**step) for step in json.loads(payload)["pipeline"])


def fate(seed: int, work_id: int, attempt: int, step: Step) -> tuple[float, bool]:
    """How many seconds a step takes, and whether it succeeds: the same for the same work, whoever does it."""
    chance = random.Random(f"{seed}:{work_id}:{attempt}:{step.id}")
    seconds = step.seconds * chance.uniform(0.67, 1.33)
    return seconds, chance.random() >= step.failure_ratio


def initial_rows(started_at: datetime) -> str:
    """Statements for the agents and tasks, for work that waits already, and for what a dead worker left."""
    agents = [(SYSTEM_AGENT_ID, "system", "{admin,system}"), *((agent_id(name), name, "{tasks}") for name in AGENTS)]
    statements = [
        f"INSERT INTO agent (id, name, scopes) VALUES ('{identity}', '{name}', '{scopes}');"
        for identity, name, scopes in agents
    ]
    statements += map(_task_row, all_tasks(started_at))
    statements += [
        f"INSERT INTO due_work (task_id, run_at) VALUES ('{task.id}', now());" for task in TASKS if task.at_start
    ]
    statements.append(
        "INSERT INTO worker_heartbeat (worker_id, last_seen, processed_count, pid, hostname, created_at) VALUES "
        f"('{DEAD_WORKER_ID}', now() - interval '1 hour', 17, 1, 'gone', now() - interval '2 hours');"
    )
    return "\n".join([*statements, abandoned_lease()])


def abandoned_lease() -> str:
    """A statement for work whose lease runs out in a second, and whose owner is dead.

    The table takes no lease that has run out already.
    """
    return (
        "INSERT INTO due_work (task_id, run_at, locked_until, locked_by) "
        f"VALUES ('{TASKS[0].id}', now(), now() + interval '1 second', '{DEAD_WORKER_ID}');"
    )


def _task_row(task: DemoTask) -> str:
    payload = json.dumps({"pipeline": [asdict(step) for step in task.steps]})
    expression = "NULL" if task.expression is None else f"'{task.expression}'"
    return (
        "INSERT INTO task (id, title, description, created_by, schedule_kind, schedule_expr, timezone, payload, "
        f"status, priority, max_retries) VALUES ('{task.id}', '{task.title}', 'Of the demo', "
        f"'{agent_id(task.agent)}', '{task.kind}', {expression}, 'UTC', '{payload}', "
        f"'{task.status}', {task.priority}, {task.max_retries});"
    )
