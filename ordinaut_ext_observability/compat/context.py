"""The ids the host sets for the work at hand: a request in the API, a task and its steps in the worker."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from ordinaut_ext_observability.compat.guard import never_raises
from ordinaut_ext_observability.compat.wrapping import within
from ordinaut_ext_observability.context import WORK_FIELDS, request_ids, work_ids

FunctionT = TypeVar("FunctionT", bound=Callable[..., Any])

_MAX_ID_LENGTH = 200


@never_raises
def set_request_context(request_id: object = None, **ids: object) -> None:
    """Set the ids that are given (`task_id`, `run_id`, `step_id`, `agent_id`, `worker_id`); others are ignored.

    The ids stay until others are set, in the API until the request ends. Another task's id ends the run and the step
    of the one before, so that nothing of it is on the next one's lines.
    """
    if request_id:
        _bind_request(str(request_id))
    given = {name: str(value)[:_MAX_ID_LENGTH] for name, value in ids.items() if value and name in WORK_FIELDS}
    if given:
        current = dict(work_ids.get())
        if given.get("task_id", current.get("task_id")) != current.get("task_id"):
            current.pop("run_id", None)
            current.pop("step_id", None)
        work_ids.set({**current, **given})


@never_raises
def clear_request_context() -> None:
    """Forget every id."""
    request_ids.set(None)
    work_ids.set({})


def get_request_context() -> dict[str, str | None]:
    """Every id, None where there is none."""
    ids = request_ids.get()
    work = work_ids.get()
    return {"request_id": ids[0] if ids is not None else None, **{name: work.get(name) for name in WORK_FIELDS}}


def generate_request_id() -> str:
    """The correlation id of the request being served; outside of one a new id, `req-` and 8 hex digits."""
    ids = request_ids.get()
    return ids[0] if ids is not None else f"req-{os.urandom(4).hex()}"


def generate_run_id() -> str:
    """A new id: `run-` and 8 hex digits."""
    return f"run-{os.urandom(4).hex()}"


def generate_step_id(step_name: object = "step") -> str:
    """A new id that begins with the step's name; `record_step_execution` takes the name back out of it."""
    return f"{step_name}{STEP_ID_SEPARATOR}{os.urandom(4).hex()}"


STEP_ID_SEPARATOR = "-"


def step_name_of(step_id: str) -> str:
    """The name in an id of `generate_step_id`; other text as it is."""
    name, separator, suffix = step_id.rpartition(STEP_ID_SEPARATOR)
    made_here = separator and len(suffix) == 8 and all(digit in "0123456789abcdef" for digit in suffix)
    return name if made_here else step_id


def restoring_context(function: FunctionT) -> FunctionT:
    """The function; the ids set in a call of it are gone when it ends."""
    return within(function, lambda _args, _kwargs: _restored_ids())


@contextmanager
def _restored_ids() -> Iterator[None]:
    before = request_ids.get(), work_ids.get()
    try:
        yield
    finally:
        request_ids.set(before[0])
        work_ids.set(before[1])


def _bind_request(request_id: str) -> None:
    current = request_ids.get()
    if current is not None and current[0] == request_id:
        return
    from ordinaut_ext_observability.ids import match_client_id, random_ids

    if match_client_id(request_id.encode("utf-8", "replace")) is None:
        return
    digits = random_ids.take()
    request_ids.set((request_id, digits[:32], digits[32:], False))
