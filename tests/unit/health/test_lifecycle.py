"""What the probes of an orchestrator are told."""

from __future__ import annotations

from typing import Any

import pytest

from ordinaut_ext_observability.health.lifecycle import Lifecycle
from ordinaut_ext_observability.health.model import CheckReport, HealthReport, HealthStatus

LIMIT = 5.0


class Watch:
    """A loop watch that says what it is told to."""

    blocked = 0.0

    def blocked_seconds(self) -> float:
        return self.blocked


class World:
    """A lifecycle, and what it asks."""

    def __init__(self) -> None:
        self.watch: Any = Watch()
        self.health: HealthStatus | Exception = HealthStatus.HEALTHY
        self.checks: tuple[CheckReport, ...] = ()
        self.asked = 0
        monitor: Any = self
        self.lifecycle = Lifecycle(self.watch, LIMIT, monitor)

    def report(self) -> HealthReport:
        self.asked += 1
        if isinstance(self.health, Exception):
            raise self.health
        return HealthReport(self.health, self.checks)

    def answers(self) -> tuple[str, str, str]:
        """Why each of live, ready and startup is not ok."""
        return self.lifecycle.why_not_live(), self.lifecycle.why_not_ready(), self.lifecycle.why_not_started()


@pytest.fixture
def world() -> World:
    return World()


def test_before_the_start_it_lives_and_nothing_else(world: World) -> None:
    assert world.answers() == ("", "starting", "starting")


@pytest.mark.parametrize("status", list(HealthStatus))
def test_only_an_unhealthy_whole_is_not_ready(world: World, status: HealthStatus) -> None:
    world.lifecycle.started = True
    world.health = status
    assert world.answers() == ("", "unhealthy" if status is HealthStatus.UNHEALTHY else "", "")


@pytest.mark.parametrize("required", [True, False])
def test_with_a_required_check_of_which_nothing_is_known_it_is_not_ready(world: World, required: bool) -> None:
    world.lifecycle.started = True
    world.health = HealthStatus.DEGRADED
    world.checks = (CheckReport("database", HealthStatus.DEGRADED, required, False, 0.1, "", None, known=False),)
    assert world.answers() == ("", "unknown" if required else "", "")


def test_live_and_startup_never_ask_for_the_checks(world: World) -> None:
    world.health = RuntimeError("the checks cannot be read")
    world.lifecycle.started = True
    assert (world.lifecycle.why_not_live(), world.lifecycle.why_not_started()) == ("", "")
    assert world.asked == 0


@pytest.mark.parametrize(("blocked", "reason"), [(LIMIT, ""), (LIMIT + 0.001, "event_loop_blocked"), (0.0, "")])
def test_a_loop_blocked_longer_than_the_limit_is_neither_live_nor_ready(
    world: World, blocked: float, reason: str
) -> None:
    world.lifecycle.started = True
    world.watch.blocked = blocked
    assert world.answers() == (reason, reason, "")


def test_stopping_it_lives_and_is_not_ready(world: World) -> None:
    world.lifecycle.started = True
    world.lifecycle.stopping = True
    assert world.answers() == ("", "stopping", "")


def test_started_latches(world: World) -> None:
    world.lifecycle.started = True
    world.lifecycle.stopping = True
    world.lifecycle.stopping = False
    world.health = HealthStatus.UNHEALTHY
    world.watch.blocked = LIMIT * 2
    assert world.lifecycle.why_not_started() == ""


def test_started_again_after_a_shutdown_it_takes_work_again(world: World) -> None:
    world.lifecycle.started = True
    world.lifecycle.stopping = True
    world.lifecycle.stopping = False
    world.lifecycle.started = True
    assert world.answers() == ("", "", "")
