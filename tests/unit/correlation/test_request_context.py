"""Ids bound for a block of work: what is inherited, what is restored, whose ids are accepted."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import gc
import logging
import re
import sys
import threading
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import UUID

import pytest

from ordinaut_ext_observability.correlation.context import (
    RequestContext,
    current_correlation_id,
    current_traceparent,
    request_ids,
    work_ids,
)
from ordinaut_ext_observability.correlation.ids import match_client_id
from ordinaut_ext_observability.logs.setup import LoggingSetup

IDS = ("c0ffee-1", "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7", True)
NOTHING: tuple[None, dict[str, str]] = (None, {})


def now() -> tuple[str | None, dict[str, str]]:
    return current_correlation_id(), dict(work_ids.get())


@pytest.fixture
def in_request() -> Iterator[None]:
    token = request_ids.set(IDS)
    yield
    request_ids.reset(token)


@pytest.fixture(autouse=True)
def nothing_left() -> Iterator[None]:
    """Every test here gives back what it bound."""
    assert now() == NOTHING
    yield
    if current_correlation_id() != IDS[0]:
        assert now() == NOTHING


def test_the_seeds_sketch(log_lines: Any) -> None:
    """Its formatter lost every extra, its context forgot the outer one and always made a new id."""
    setup = LoggingSetup(log_lines.writer)
    logger = setup.get_logger("tests.seeds_sketch")
    try:
        logger.info("before")
        with RequestContext(task_id="task-1", agent_id="agent-1", correlation_id="incoming.id-1") as outer:
            logger.info("outer", extra={"user_id": 42, "items": ["a"]})
            with RequestContext(task_id="task-2") as inner:
                logger.info("inner")
            logger.info("outer again")
            try:
                raise ValueError("no")
            except ValueError:
                logger.exception("failed")
        logger.info("after")
    finally:
        setup.restore()
    lines = {fields["message"]: fields for fields in log_lines.all()}
    assert list(lines) == ["before", "outer", "inner", "outer again", "failed", "after"]
    assert outer.correlation_id == inner.correlation_id == "incoming.id-1"
    assert (lines["outer"]["user_id"], lines["outer"]["items"]) == (42, ["a"])
    assert lines["outer"]["correlation_id"] == lines["outer"]["request_id"] == "incoming.id-1"
    assert lines["outer"]["task_context"] == outer.context
    assert outer.context == {"task_id": "task-1", "agent_id": "agent-1", "request_id": "incoming.id-1"}
    assert lines["inner"]["task_context"] == {**outer.context, "task_id": "task-2"}
    assert lines["outer again"]["task_context"] == outer.context
    assert lines["failed"]["exception"].endswith("ValueError: no")
    for outside in ("before", "after"):
        assert not {"correlation_id", "request_id", "task_context"} & lines[outside].keys()
    assert [lines["outer"][name] for name in ("level", "logger", "module", "function")] == [
        *("INFO", "tests.seeds_sketch"),
        *("test_request_context", "test_the_seeds_sketch"),
    ]


def test_a_block_of_its_own_gets_new_ids() -> None:
    with RequestContext() as first:
        assert now() == (first.correlation_id, {})
        assert re.fullmatch("[0-9a-f]{32}", first.correlation_id)
        traceparent = current_traceparent()
    assert traceparent is not None
    assert re.fullmatch(f"00-{first.correlation_id}-[0-9a-f]{{16}}-00", traceparent)
    with RequestContext() as second:
        assert second.correlation_id != first.correlation_id


@pytest.mark.usefixtures("in_request")
def test_within_a_request_its_id_and_trace_are_kept() -> None:
    with RequestContext(task_id="t") as context:
        assert now() == (IDS[0], {"task_id": "t"})
        ids = request_ids.get()
        assert ids is not None
        assert (ids[:2], ids[3]) == (IDS[:2], IDS[3])
        assert ids[2] != IDS[2]
        assert re.fullmatch("[0-9a-f]{16}", ids[2])
    assert context.correlation_id == IDS[0]
    assert request_ids.get() == IDS


@pytest.mark.parametrize("given", ["a", "0", "A.b_c-1", "x" * 128, UUID(int=5), 17])
def test_an_id_from_elsewhere_is_accepted(given: Any) -> None:
    with RequestContext(correlation_id=given) as context:
        assert current_correlation_id() == context.correlation_id == str(given)


@pytest.mark.parametrize(
    "given",
    ["", "x" * 129, "a b", "a\n", "\na", 'a"b', "é", "a/b", "{}", "\x00", b"bytes", "１", "\u212a"],
    ids=lambda given: repr(given)[:12],
)
def test_an_id_that_does_not_belong_into_logs_is_replaced(given: Any) -> None:
    with RequestContext(correlation_id=given) as context:
        assert re.fullmatch("[0-9a-f]{32}", context.correlation_id)
        with RequestContext(correlation_id=given) as inner:
            assert inner.correlation_id == context.correlation_id


@pytest.mark.parametrize("given", ["\ud800", "a\udcff"])
def test_an_id_that_is_not_unicode_is_replaced(given: str) -> None:
    with RequestContext(correlation_id=given) as context:
        assert match_client_id(context.correlation_id.encode())


def test_the_id_that_was_looked_at_is_the_one_used() -> None:
    class Changing:
        texts = ["good", 'bad","level":"forged', 'bad","level":"forged']

        def __str__(self) -> str:
            return self.texts.pop(0)

    with RequestContext(correlation_id=Changing()) as context:  # type: ignore[arg-type]
        assert match_client_id(context.correlation_id.encode())


def test_all_ids_of_the_work_can_be_given() -> None:
    with RequestContext("t", "a", run_id="r", step_id="s", worker_id="w"):
        assert now()[1] == {"task_id": "t", "agent_id": "a", "run_id": "r", "step_id": "s", "worker_id": "w"}


def test_ids_of_the_work_may_be_other_than_text() -> None:
    with RequestContext(UUID(int=1), 0) as context:  # type: ignore[arg-type]
        assert now()[1] == {"task_id": str(UUID(int=1)), "agent_id": "0"}
    assert context.context["agent_id"] == "0"


def test_an_inner_block_inherits_what_it_is_not_given() -> None:
    with RequestContext("t1", "a1", run_id="r1", correlation_id="c1"):
        with RequestContext(step_id="s2", run_id="r2", task_id=""):
            assert now() == ("c1", {"task_id": "t1", "agent_id": "a1", "run_id": "r2", "step_id": "s2"})
            with RequestContext(worker_id="w3"), RequestContext(correlation_id="c4"):
                assert now() == (
                    "c4",
                    {"task_id": "t1", "agent_id": "a1", "run_id": "r2", "step_id": "s2", "worker_id": "w3"},
                )
        assert now() == ("c1", {"task_id": "t1", "agent_id": "a1", "run_id": "r1"})


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, GeneratorExit, asyncio.CancelledError])
def test_a_block_that_raises_is_restored_and_the_error_passed_on(error: type[BaseException]) -> None:
    with RequestContext("outer", correlation_id="c1"):
        with pytest.raises(error), RequestContext("inner", correlation_id="c2"):
            raise error
        assert now() == ("c1", {"task_id": "outer"})


def test_a_context_can_be_used_again_and_within_itself() -> None:
    context = RequestContext("t", correlation_id="c")
    for _ in range(2):
        with context, context:
            assert now() == ("c", {"task_id": "t"})
            with RequestContext("other"), context:
                assert now() == ("c", {"task_id": "t"})
        assert now() == NOTHING


def test_a_context_can_be_used_by_two_tasks_at_once() -> None:
    context = RequestContext("t", correlation_id="c")

    async def work(rounds: int) -> tuple[str | None, dict[str, str]]:
        with context:
            for _ in range(rounds):
                await asyncio.sleep(0)
        return now()

    async def main() -> list[Any]:
        return await asyncio.gather(work(1), work(3))

    assert asyncio.run(main()) == [NOTHING, NOTHING]


def test_it_is_bound_on_entering_and_not_before() -> None:
    context = RequestContext("t")
    assert now() == NOTHING
    with context:
        assert now()[1] == {"task_id": "t"}


def test_the_surrounding_ids_are_those_where_the_block_begins() -> None:
    """One made once, at import, and used in every request."""
    context = RequestContext("nightly")
    with RequestContext(correlation_id="request-1"), context:
        assert current_correlation_id() == "request-1"


def test_a_generator_that_is_closed_restores(log_lines: Any) -> None:
    def work() -> Iterator[int]:
        with RequestContext("in generator"):
            yield 1
            yield 2

    with RequestContext("outer", correlation_id="c"):
        generator = work()
        next(generator)
        generator.close()
        assert now() == ("c", {"task_id": "outer"})
        assert list(work()) == [1, 2]
        assert now() == ("c", {"task_id": "outer"})
        with contextlib.suppress(LookupError):
            generator = work()
            next(generator)
            generator.throw(LookupError)
        assert now() == ("c", {"task_id": "outer"})


def test_a_task_that_is_cancelled_restores() -> None:
    seen: list[Any] = []

    async def work() -> None:
        try:
            with RequestContext("inner"):
                await asyncio.sleep(60)
        finally:
            seen.append(now())

    async def main() -> None:
        with RequestContext("outer", correlation_id="c"):
            task = asyncio.create_task(work())
            await asyncio.sleep(0)
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
            seen.append(now())

    asyncio.run(main())
    assert seen == [("c", {"task_id": "outer"})] * 2


def test_an_async_generator_restores_in_the_task_that_runs_it() -> None:
    async def work() -> AsyncIterator[Any]:
        with RequestContext("in generator", correlation_id="g"):
            yield now()

    async def main() -> list[Any]:
        inside = [value async for value in work()]
        return [*inside, now()]

    assert asyncio.run(main()) == [("g", {"task_id": "in generator"}), NOTHING]


def test_a_block_that_ends_in_another_context_fails_nobody() -> None:
    """As a dependency of FastAPI with `yield` in a plain function: its two halves run in two threads."""

    def dependency() -> Iterator[None]:
        with RequestContext("t"):
            yield

    generator = dependency()
    with ThreadPoolExecutor(1) as pool:
        pool.submit(contextvars.copy_context().run, next, generator).result(10)
        pool.submit(contextvars.copy_context().run, next, generator, None).result(10)
    assert now() == NOTHING


@pytest.mark.filterwarnings("default::pytest.PytestUnraisableExceptionWarning")
def test_a_generator_collected_in_another_context_tells_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[Any] = []
    monkeypatch.setattr(sys, "unraisablehook", lambda what: told.append(what.exc_type))

    def work() -> Iterator[None]:
        with RequestContext("t"):
            yield

    generator = work()
    contextvars.copy_context().run(next, generator)
    del generator
    gc.collect()
    assert told == []


def test_an_async_dependency_of_a_route_sees_and_gives_back() -> None:
    """What FastAPI runs in the request's own task."""
    import httpx
    from fastapi import Depends, FastAPI

    async def context() -> AsyncIterator[RequestContext]:
        with RequestContext("t", correlation_id="c") as entered:
            yield entered

    app = FastAPI()

    @app.get("/")
    async def root(entered: Any = Depends(context)) -> list[Any]:  # noqa: FAST002
        return list(now())

    @app.get("/plain")
    def plain(entered: Any = Depends(context)) -> list[Any]:  # noqa: FAST002
        return list(now())

    async def main() -> list[Any]:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://host") as client:
            return [(await client.get(path)).json() for path in ("/", "/plain")] + [now()]

    assert asyncio.run(main()) == [["c", {"task_id": "t"}], ["c", {"task_id": "t"}], NOTHING]


def test_threads_start_without_the_ids_and_keep_theirs_to_themselves() -> None:
    seen: dict[str, Any] = {}

    def work() -> None:
        seen["before"] = now()
        with RequestContext("in thread", correlation_id="t"):
            seen["inside"] = now()
            inside.set()
            may_end.wait(10)
        seen["after"] = now()

    inside, may_end = threading.Event(), threading.Event()
    with RequestContext("outer", correlation_id="c"):
        thread = threading.Thread(target=contextvars.Context().run, args=(work,))
        thread.start()
        assert inside.wait(10)
        assert now() == ("c", {"task_id": "outer"})
        may_end.set()
        thread.join(10)
    assert seen == {"before": NOTHING, "inside": ("t", {"task_id": "in thread"}), "after": NOTHING}


def test_work_ids_that_hold_anything_make_a_line(log_lines: Any) -> None:
    logger = logging.Logger("tests.odd_ids")  # noqa: LOG001
    setup = LoggingSetup(log_lines.writer)
    logger.addHandler(setup.handler)
    with RequestContext('"\n\ud800' + "x" * 50_000, "\\"):
        logger.warning("m")
    fields = log_lines.only()
    assert fields["agent_id"] == "\\"
    assert fields["task_id"].startswith('"\n')
