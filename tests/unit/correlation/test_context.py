"""The ids of the request that the running code belongs to."""

from __future__ import annotations

import asyncio
import contextvars
import threading
from collections.abc import Iterator

import pytest

from ordinaut_ext_observability.correlation.context import (
    RequestIds,
    current_correlation_id,
    current_traceparent,
    request_ids,
)
from ordinaut_ext_observability.correlation.ids import parse_traceparent

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
