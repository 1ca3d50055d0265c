"""The ids the host sets for the work at hand: a request in the API, a task and its steps in the worker."""

from __future__ import annotations

import os
from contextvars import ContextVar

from ordinaut_ext_observability.compat.guard import never_raises, runtime
from ordinaut_ext_observability.correlation.context import WORK_FIELDS, RequestIds, request_ids, work_ids
from ordinaut_ext_observability.correlation.ids import MAX_ID_LENGTH, random_ids

_MAX_WORK_ID_LENGTH = 200
STEP_ID_SEPARATOR = "~"  # which no step's name has
_ID_LETTERS = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-")

_set_here: ContextVar[RequestIds | None] = ContextVar("ordinaut_ids_set_by_host", default=None)
"""The ids that the host set itself: they are no request's that is being served, and lend their id to nobody."""

queued_by: ContextVar[RequestIds | None] = ContextVar("ordinaut_queued_by", default=None)
"""The ids of the request that queued the work at hand."""


@never_raises
def set_request_context(
    request_id: object = None,
    task_id: object = None,
    run_id: object = None,
    step_id: object = None,
    agent_id: object = None,
    worker_id: object = None,
    **_: object,
) -> None:
    """Set the ids that are given, until others are set, in the API until the request ends.

    Characters that cannot enter logs become `_` in a request id. Another request's id ends the task, another task's id
    the run and the step.
    """
    given = _texts(task_id=task_id, run_id=run_id, step_id=step_id, agent_id=agent_id, worker_id=worker_id)
    work = work_ids.get()
    ended: tuple[str, ...] = ()
    if request_id and _bind_request(str(request_id)):
        ended = ("task_id", "run_id", "step_id")
    elif "task_id" in given and given["task_id"] != work.get("task_id"):
        ended = ("run_id", "step_id")
    work_ids.set({**{name: value for name, value in work.items() if name not in ended}, **given})


def clear_request_context() -> None:
    """Leave every id: work for nothing."""
    request_ids.set(None)
    work_ids.set({})
    queued_by.set(None)


@never_raises
def begin_work(worker_id: object, task_id: object) -> None:
    """The worker leased this task: until the next one, or its next heartbeat, its lines are about it.

    They carry a run id, and the ids of the request that queued the work, in whose trace this is a new span.
    """
    clear_request_context()
    work = {**_texts(task_id=task_id), "run_id": generate_run_id(), **_texts(worker_id=worker_id)}
    work_ids.set(work)
    origin = runtime().merged.origin_of(work["task_id"])
    queued_by.set(origin)
    if origin is not None:
        _bind((*origin[:2], random_ids.take()[1], origin[3]))


def get_request_context() -> dict[str, str | None]:
    """Every id, None where there is none."""
    ids = request_ids.get()
    work = work_ids.get()
    return {"request_id": None if ids is None else ids[0], **{name: work.get(name) for name in WORK_FIELDS}}


def generate_request_id(*_: object) -> str:
    """The correlation id of the request being served; outside of one a new id, `req-` and 8 hex digits."""
    ids = request_ids.get()
    return ids[0] if ids is not None and ids is not _set_here.get() else f"req-{os.urandom(4).hex()}"


def generate_run_id(*_: object) -> str:
    """A new id: `run-` and 8 hex digits."""
    return f"run-{os.urandom(4).hex()}"


def generate_step_id(step_name: object = "step", *_: object) -> str:
    """A new id that begins with the step's name; `record_step_execution` takes the name back out of it."""
    try:
        name = str(step_name)
    except Exception:  # noqa: BLE001 - other people's `__str__`
        name = "step"
    return f"{name}{STEP_ID_SEPARATOR}{os.urandom(4).hex()}"


class RestoredIds:
    """A block after which the ids are those of before."""

    def __enter__(self) -> None:
        self._before = request_ids.get(), work_ids.get()

    def __exit__(self, *_: object) -> None:
        request_ids.set(self._before[0])
        work_ids.set(self._before[1])


def _texts(**ids: object) -> dict[str, str]:
    return {name: str(value)[:_MAX_WORK_ID_LENGTH] for name, value in ids.items() if value}


def _bind_request(request_id: str) -> bool:
    """Bind a request's id; False where it is bound already. The trace of a request being served goes on."""
    usable = "".join(letter if letter in _ID_LETTERS else "_" for letter in request_id[:MAX_ID_LENGTH])
    current = request_ids.get()
    if current is not None and current[0] == usable:
        return False
    if current is None or current is _set_here.get():
        current = ("", *random_ids.take(), False)
    _bind((usable, *current[1:]))
    return True


def _bind(ids: RequestIds) -> None:
    request_ids.set(ids)
    _set_here.set(ids)
