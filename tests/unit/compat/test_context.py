"""Ids that the host sets: of a request they are ours, of a task they end with it."""

from __future__ import annotations

import contextvars
import re
from typing import Any
from uuid import UUID

import pytest

from observability.logging import (
    clear_request_context,
    generate_request_id,
    generate_run_id,
    generate_step_id,
    get_request_context,
    log_function_call,
    log_with_context,
    set_request_context,
)
from ordinaut_ext_observability.correlation.context import request_ids

IDS = ("a" * 8, "1" * 32, "2" * 16, False)


@pytest.fixture(autouse=True)
def own_context(request: pytest.FixtureRequest) -> Any:
    """Each test starts without ids, and leaves none."""
    clear_request_context()
    yield
    clear_request_context()


def test_request_id_is_that_of_the_request_being_served() -> None:
    token = request_ids.set(IDS)
    try:
        assert generate_request_id() == IDS[0]
        set_request_context(request_id=generate_request_id())
        assert request_ids.get() is IDS
    finally:
        request_ids.reset(token)


def test_outside_of_a_request_ids_are_new_and_of_the_hosts_form() -> None:
    made = {generate_request_id() for _ in range(100)}
    assert len(made) == 100
    assert all(re.fullmatch("req-[0-9a-f]{8}", each) for each in made)
    assert generate_run_id() != generate_run_id()
    assert generate_step_id("s") != generate_step_id("s")


def test_ids_are_set_as_text_and_only_when_given() -> None:
    set_request_context(request_id="r1", task_id=UUID(int=1), agent_id="a1")
    set_request_context(step_id="s1", agent_id=None, worker_id="")
    assert get_request_context() == {
        "request_id": "r1", "task_id": str(UUID(int=1)), "run_id": None, "step_id": "s1", "agent_id": "a1", "worker_id": None,
    }  # fmt: skip


def test_another_task_ends_the_step_and_the_run_of_the_one_before() -> None:
    set_request_context(task_id="t1", run_id="r1", step_id="s1", worker_id="w1")
    set_request_context(task_id="t1")
    assert get_request_context()["step_id"] == "s1"
    set_request_context(task_id="t2")
    ids = get_request_context()
    assert (ids["task_id"], ids["run_id"], ids["step_id"], ids["worker_id"]) == ("t2", None, None, "w1")


@pytest.mark.parametrize("decorate", [log_function_call(), log_with_context])
def test_what_a_pipeline_sets_is_gone_when_it_ends(decorate: Any) -> None:
    set_request_context(worker_id="w1")

    @decorate
    def run_pipeline(*, fails: bool) -> None:
        set_request_context(request_id="r1", task_id="t1", step_id="s1")
        if fails:
            raise ValueError

    run_pipeline(fails=False)
    with pytest.raises(ValueError):
        run_pipeline(fails=True)
    ids = get_request_context()
    assert (ids["request_id"], ids["task_id"], ids["step_id"], ids["worker_id"]) == (None, None, None, "w1")


def test_nothing_leaks_into_another_context() -> None:
    contextvars.copy_context().run(set_request_context, task_id="t1")
    assert get_request_context()["task_id"] is None


@pytest.mark.parametrize(
    ("given", "kept"),
    [("a b", "a_b"), ("x" * 200, "x" * 128), ("\ud800", "_"), ('a\n"b', "a__b"), (7, "7"), ("", None)],
)
def test_request_id_is_made_one_that_can_enter_logs(given: Any, kept: str | None) -> None:
    set_request_context(request_id=given, unknown=1)
    assert get_request_context()["request_id"] == kept


def test_ids_can_be_given_by_position() -> None:
    set_request_context("r1", "t1", "run1", "s1", "a1", "w1")
    assert list(get_request_context().values()) == ["r1", "t1", "run1", "s1", "a1", "w1"]


def test_each_task_of_the_scheduler_has_a_request_id_of_its_own() -> None:
    """It sets an id per task, in one thread, and never takes one back."""
    made = []
    for number in range(3):
        set_request_context(request_id=generate_request_id(), task_id=f"t{number}")
        made.append(get_request_context()["request_id"])
    assert len(set(made)) == 3


def test_another_request_ends_the_task_of_the_one_before() -> None:
    set_request_context(request_id="r1", task_id="t1", step_id="s1", worker_id="w1")
    set_request_context(request_id="r2")
    ids = get_request_context()
    assert (ids["task_id"], ids["step_id"], ids["worker_id"]) == (None, None, "w1")


def test_trace_of_the_request_goes_on_under_another_id() -> None:
    token = request_ids.set(IDS)
    try:
        set_request_context(request_id="other")
        assert request_ids.get() == ("other", *IDS[1:])
    finally:
        request_ids.reset(token)


@pytest.mark.parametrize("make", [generate_request_id, generate_run_id, generate_step_id])
def test_making_an_id_never_fails(make: Any) -> None:
    class Broken:
        def __str__(self) -> str:
            raise RuntimeError

    assert isinstance(make(Broken()), str)
    assert isinstance(make("a", "b"), str)
