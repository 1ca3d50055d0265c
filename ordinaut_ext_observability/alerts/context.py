"""The facts that conditions in Python are about, by the names that the usual ones ask for."""

from __future__ import annotations

import math
from collections.abc import Generator
from typing import Any, Final

from ordinaut_ext_observability.health.model import HealthReport
from ordinaut_ext_observability.history.series import SampleSource
from ordinaut_ext_observability.promql.evaluate import evaluate
from ordinaut_ext_observability.promql.parse import parse
from ordinaut_ext_observability.promql.query import Limits, Query, Sample

_QUERIES: Final = {
    "queue_depth": "max(orchestrator_queue_depth)",
    # Of the rows of task_run; where they are not read, of what processes report.
    "task_failure_rate": """
        1 - max(orchestrator_execution_success_ratio{window="hour"})
        or sum(increase(orchestrator_task_executions_total{status="error"}[1h]))
           / sum(increase(orchestrator_task_executions_total{status!="cancelled"}[1h]))
    """,
}


def context_at(
    time_ms: int, source: SampleSource, health: HealthReport, context: dict[str, Any]
) -> Generator[None, None, None]:
    """Put what is known at this time into `context`; what is not known is missing.

    That is `queue_depth`, `task_failure_rate` of the last hour (0 to 1), `database_status`, `database_error`, and the
    status of every health check by its name.
    """
    context |= {check.name: check.shown_status for check in health.checks}
    for check in health.checks:
        if check.name == "database" and check.known:
            context |= {"database_status": check.status.value, "database_error": check.message}
    for name, query in _QUERIES.items():
        answer = yield from evaluate(Query(parse(query), time_ms, time_ms), source, Limits(seconds=5.0))
        if isinstance(answer.value, list):
            for sample in answer.value:
                if isinstance(sample, Sample) and math.isfinite(sample.value):
                    context[name] = sample.value
