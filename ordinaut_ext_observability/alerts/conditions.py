"""Conditions that the host wrote in Python, and the facts that they are about."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Generator
from typing import Any, Final

from ordinaut_ext_observability.alerts.manager import known_managers
from ordinaut_ext_observability.alerts.rules import AlertingRule
from ordinaut_ext_observability.background.slicer import Slicer
from ordinaut_ext_observability.health.model import HealthReport
from ordinaut_ext_observability.history.series import SampleSource

_QUERIES: Final = {
    "queue_depth": "max(orchestrator_queue_depth)",
    # Of the rows of task_run; where they are not read, of what processes report.
    "task_failure_rate": """
        1 - max(orchestrator_execution_success_ratio{window="hour"})
        or sum(increase(orchestrator_task_executions_total{status="error"}[1h]))
           / sum(increase(orchestrator_task_executions_total{status!="cancelled"}[1h]))
    """,
}


_SECONDS: Final = 2.0
"""Longest wait for all conditions; while one hangs, none is asked again."""

Condition = tuple[str, str]
"""Name and severity, by which it is known."""
Answers = dict[Condition, tuple[bool | None, str]]
"""Truth of each condition, None where it failed, and its message."""


def known_conditions() -> list[AlertingRule]:
    """Those that somebody added to a manager, each name and severity once, as rules without an expression."""
    from ordinaut_ext_observability.alerts.templates import compile_template  # LoadedRules imported it, in a thread
    from ordinaut_ext_observability.promql.nodes import Number

    keys = {(rule.name, rule.severity.value): None for manager in known_managers() for rule in manager.rules}
    return [
        AlertingRule(name, "a condition in Python", Number(0.0), labels={"severity": compile_template(severity)})
        for name, severity in keys
    ]


class Conditions:
    """Asks all conditions, in a thread: what they do is not known."""

    def __init__(self, source: SampleSource, health: Callable[[], HealthReport]) -> None:
        self._source = source
        self._health = health
        self._asked: asyncio.Future[Answers] | None = None

    async def ask(self, time_ms: int, slicer: Slicer) -> Answers:
        """Ask them about this time; nothing where there are none, or where they take too long."""
        if not known_conditions() or (self._asked is not None and not self._asked.done()):
            return {}
        context: dict[str, Any] = {}
        async for _ in slicer.slices(self._put_facts(time_ms, context)):
            pass
        self._asked = asyncio.ensure_future(asyncio.to_thread(_ask, context))
        done, _ = await asyncio.wait([self._asked], timeout=_SECONDS)
        return self._asked.result() if done else {}

    def _put_facts(self, time_ms: int, context: dict[str, Any]) -> Generator[None, None, None]:
        """Put what is known at this time into `context`; what is not known is missing.

        That is `queue_depth`, `task_failure_rate` of the last hour (0 to 1), `database_status`, `database_error`, and
        the status of every health check by its name.
        """
        from ordinaut_ext_observability.alerts.results import Results
        from ordinaut_ext_observability.promql.parse import parse

        checks = self._health().checks
        context |= {check.name: check.shown_status for check in checks}
        for check in checks:
            if check.name == "database" and check.known:
                context |= {"database_status": check.status.value, "database_error": check.message}
        for name, query in _QUERIES.items():
            for _, value in (yield from Results(self._source).vector(parse(query), time_ms)):
                if math.isfinite(value):
                    context[name] = value


def _ask(context: dict[str, Any]) -> Answers:
    answers = [answer for manager in known_managers() for answer in manager.evaluate(context)]
    return {(rule.name, rule.severity.value): (holds, message) for rule, holds, message in answers}
