"""The work item a worker is at: its ids are on every line from the lease to the next one, or to the next heartbeat."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ordinaut_ext_observability.compat.context import bind_origin, clear_request_context, generate_run_id
from ordinaut_ext_observability.compat.guard import never_raises
from ordinaut_ext_observability.correlation.context import work_ids

if TYPE_CHECKING:
    from ordinaut_ext_observability.correlation.context import RequestIds

_MAX_ID_LENGTH = 200


@never_raises
def begin_work(worker_id: object, task_id: object) -> None:
    """The worker leased this task. Its lines carry a run id, and the ids of the request that queued the work."""
    task, worker = str(task_id)[:_MAX_ID_LENGTH], str(worker_id)[:_MAX_ID_LENGTH]
    clear_request_context()
    work_ids.set({"task_id": task, "run_id": generate_run_id(), "worker_id": worker})
    origin = _origin_of(task)
    if origin is not None:
        bind_origin(origin)


@never_raises
def end_work() -> None:
    """The worker is at no item: it sends its heartbeats between items."""
    clear_request_context()


def _origin_of(task_id: str) -> RequestIds | None:
    from ordinaut_ext_observability.runtime.current import current_runtime

    return current_runtime().sources.merged.origin_of(task_id)
