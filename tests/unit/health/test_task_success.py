"""The share of task executions that succeeded of late."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from ordinaut_ext_observability.health.checks import TaskSuccessCheck
from ordinaut_ext_observability.health.model import HealthStatus, Outcome
from ordinaut_ext_observability.metrics.budget import LabelBudgets
from ordinaut_ext_observability.metrics.declarations import Metrics
from ordinaut_ext_observability.metrics.registry import Registry

HEALTHY, DEGRADED, UNHEALTHY = HealthStatus.HEALTHY, HealthStatus.DEGRADED, HealthStatus.UNHEALTHY


class World:
    def __init__(self, clock: Any) -> None:
        self.clock = clock
        self.executions = Metrics(Registry(LabelBudgets())).task_executions
        self.check = TaskSuccessCheck(self.executions, clock)

    def execute(self, **counts: int) -> None:
        """Count so many executions, by status."""
        others = self.executions.label_names[1:]
        for status, count in counts.items():
            self.executions.labels(status, *("any" for _ in others)).inc(count)

    def run(self) -> Outcome:
        return asyncio.run(self.check.run())


@pytest.fixture
def world(clock: Any) -> World:
    return World(clock)


def test_status_is_the_first_label_of_the_counter(world: World) -> None:
    """What the check relies on."""
    assert world.executions.label_names[0] == "status"


def test_without_executions_all_is_well(world: World) -> None:
    assert world.run() == Outcome(HEALTHY, "", {"succeeded": 0, "failed": 0, "seconds": 0})


def test_what_was_counted_before_the_first_run_does_not_count(world: World) -> None:
    world.execute(failed=100)
    world.run()
    world.clock.advance(10)
    assert world.run() == Outcome(HEALTHY, "", {"succeeded": 0, "failed": 0, "seconds": 10})


@pytest.mark.parametrize(
    ("succeeded", "failed", "status"),
    [
        (100, 0, HEALTHY),
        (90, 10, HEALTHY),
        (89, 11, DEGRADED),
        (50, 50, DEGRADED),
        (49, 51, UNHEALTHY),
        (0, 100, UNHEALTHY),
        (0, 9, HEALTHY),  # too few to tell
        (0, 10, UNHEALTHY),
    ],
)
def test_status_follows_the_share_of_the_window(
    world: World, succeeded: int, failed: int, status: HealthStatus
) -> None:
    world.run()
    world.execute(success=succeeded, failed=failed)
    world.clock.advance(15)
    outcome = world.run()
    assert outcome.status is status
    assert outcome.details == {"succeeded": succeeded, "failed": failed, "seconds": 15}
    assert outcome.message == ("" if status is HEALTHY else f"{failed} of {succeeded + failed} executions failed")


def test_cancelled_executions_count_neither_way_and_any_other_as_failed(world: World) -> None:
    world.run()
    world.execute(success=10, cancelled=100, failed=1, timeout=2)
    assert world.run().details == {"succeeded": 10, "failed": 3, "seconds": 0}


def test_executions_older_than_the_window_are_forgotten(clock: Any) -> None:
    world = World(clock)
    world.run()
    world.execute(failed=20)
    statuses = []
    for _ in range(7):
        clock.advance(75)
        world.execute(success=1)
        statuses.append(world.run().status)
    assert statuses == [UNHEALTHY, UNHEALTHY, UNHEALTHY, UNHEALTHY, HEALTHY, HEALTHY, HEALTHY]


def test_window_reaches_back_to_the_reading_before_it(clock: Any) -> None:
    world = World(clock)
    for _ in range(10):
        outcome = world.run()
        clock.advance(125)
    assert outcome.details["seconds"] == 375


def test_readings_are_bounded(clock: Any) -> None:
    world = World(clock)
    for _ in range(1100):
        clock.advance(0.2)
        outcome = world.run()
    assert outcome.details["seconds"] <= 200
