"""The ids of the request that the running code belongs to."""

from __future__ import annotations

import asyncio
import contextvars
import threading
from collections.abc import Iterator

import pytest

from ordinaut_ext_observability.correlation.context import (
    WORK_FIELDS,
    RequestIds,
    bound,
    current_correlation_id,
    current_traceparent,
    request_ids,
    with_ids,
    work_ids,
)
from ordinaut_ext_observability.correlation.traceparent import parse_traceparent

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
SPAN = "00f067aa0ba902b7"


def ids(correlation_id: str, *, sampled: bool = True) -> RequestIds:
    return correlation_id, TRACE, SPAN, sampled


@pytest.fixture
def in_request() -> Iterator[None]:
    token = request_ids.set(ids("outer"))
    yield
    request_ids.reset(token)


def test_outside_a_request_there_is_nothing() -> None:
    def look() -> tuple[str | None, str | None]:
        return current_correlation_id(), current_traceparent()

    assert contextvars.Context().run(look) == (None, None)


@pytest.mark.usefixtures("in_request")
def test_inside_a_request_its_ids_are_current() -> None:
    assert current_correlation_id() == "outer"
    assert current_traceparent() == f"00-{TRACE}-{SPAN}-01"


@pytest.mark.parametrize("sampled", [False, True])
def test_the_traceparent_for_outgoing_calls_parses_back(*, sampled: bool) -> None:
    token = request_ids.set(ids("c", sampled=sampled))
    try:
        value = current_traceparent()
    finally:
        request_ids.reset(token)
    assert value is not None
    assert parse_traceparent(value.encode()) == (TRACE, SPAN, sampled)


@pytest.mark.usefixtures("in_request")
def test_a_task_sees_its_creators_ids_and_keeps_its_own_to_itself() -> None:
    async def inner(name: str) -> tuple[str | None, str | None]:
        before = current_correlation_id()
        request_ids.set(ids(name))
        await asyncio.sleep(0)
        return before, current_correlation_id()

    async def main() -> list[tuple[str | None, str | None]]:
        return await asyncio.gather(*(asyncio.create_task(inner(name)) for name in "abc"))

    assert asyncio.run(main()) == [("outer", "a"), ("outer", "b"), ("outer", "c")]
    assert current_correlation_id() == "outer"


@pytest.mark.usefixtures("in_request")
def test_a_thread_sees_the_ids_where_the_context_is_copied() -> None:
    seen: list[str | None] = []
    context = contextvars.copy_context()
    copied = threading.Thread(target=context.run, args=(lambda: seen.append(current_correlation_id()),))
    copied.start()
    copied.join(10)
    assert asyncio.run(asyncio.to_thread(current_correlation_id)) == "outer"
    assert seen == ["outer"]


def test_ids_of_the_work_are_bound_until_the_block_ends() -> None:
    assert dict(work_ids.get()) == {}
    with bound(task_id="t1", worker_id="w1"):
        with bound(task_id="t2", run_id="r1"):
            assert dict(work_ids.get()) == {"task_id": "t2", "worker_id": "w1", "run_id": "r1"}
        assert dict(work_ids.get()) == {"task_id": "t1", "worker_id": "w1"}
    assert dict(work_ids.get()) == {}


def test_ids_of_the_work_are_restored_when_the_block_raises() -> None:
    with pytest.raises(LookupError), bound(task_id="t1"):
        raise LookupError
    assert dict(work_ids.get()) == {}


def test_unknown_values_leave_the_ids_of_the_work_as_they_are() -> None:
    with bound(task_id="t1"), bound(task_id=None, agent_id=""):
        assert dict(work_ids.get()) == {"task_id": "t1"}


def test_ids_that_do_not_exist_are_refused_with_those_that_do() -> None:
    with pytest.raises(TypeError, match=", ".join(WORK_FIELDS)), bound(job_id="1"):
        pytest.fail("bound")
    assert dict(work_ids.get()) == {}


def test_ids_put_together_change_nothing_yet() -> None:
    with bound(task_id="t1"):
        assert with_ids({"step_id": "s1"}) == {"task_id": "t1", "step_id": "s1"}
        assert dict(work_ids.get()) == {"task_id": "t1"}


def test_tasks_bind_the_ids_of_their_work_apart() -> None:
    async def work(task_id: str) -> dict[str, str]:
        with bound(task_id=task_id):
            await asyncio.sleep(0)
            return dict(work_ids.get())

    async def main() -> list[dict[str, str]]:
        return await asyncio.gather(*(work(task_id) for task_id in "abc"))

    assert asyncio.run(main()) == [{"task_id": task_id} for task_id in "abc"]
