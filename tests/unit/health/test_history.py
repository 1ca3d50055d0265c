"""The transitions of a check, and how much of the time it was up."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from ordinaut_ext_observability.health.model import HealthStatus, Transition, uptime_ratio

START = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)
HEALTHY, DEGRADED, UNHEALTHY = HealthStatus.HEALTHY, HealthStatus.DEGRADED, HealthStatus.UNHEALTHY


def at(minutes: float) -> datetime:
    return START + timedelta(minutes=minutes)


def history(*entries: tuple[float, HealthStatus | None]) -> list[Transition]:
    """Transitions to these statuses, each so many minutes after the start; None: unknown."""
    return [Transition(at(minutes), None, after, "") for minutes, after in entries]


def ratio(made: list[Transition], now_minutes: float, window_minutes: float) -> float | None:
    return uptime_ratio(made, at(now_minutes), timedelta(minutes=window_minutes))


def test_nothing_is_known_of_a_check_without_a_result() -> None:
    assert ratio([], 10, 5) is None


def test_what_is_unknown_is_neither_up_nor_down() -> None:
    made = history((0, HEALTHY), (4, None), (6, UNHEALTHY))
    assert ratio(made, 10, 10) == pytest.approx(4 / 8)
    assert ratio(history((0, HEALTHY), (4, None)), 10, 5) is None
    assert ratio(history((5, None)), 5, 5) is None


@pytest.mark.parametrize(
    ("now", "window", "expected"),
    [
        (10, 10, 0.7),  # up 0 to 4 and 7 to 10
        (10, 100, 0.7),  # cut to what is known
        (10, 5, 0.6),  # the window begins while it is down
        (10, 8, 5 / 8),  # the window begins while it is up
        (10, 3, 1.0),
        (7, 3, 0.0),
        (7, 6, 0.5),
    ],
)
def test_uptime_is_the_share_of_the_window(now: float, window: float, expected: float) -> None:
    made = history((0, HEALTHY), (4, UNHEALTHY), (7, HEALTHY))
    if now == 7:
        made = history((0, HEALTHY), (4, UNHEALTHY))
    assert ratio(made, now, window) == pytest.approx(expected)


@pytest.mark.parametrize(("status", "expected"), [(HEALTHY, 1.0), (DEGRADED, 1.0), (UNHEALTHY, 0.0)])
def test_at_the_instant_of_the_first_transition_its_status_is_what_is_known(
    status: HealthStatus, expected: float
) -> None:
    assert ratio(history((0, status)), 0, 5) == expected


def test_a_window_of_no_length_tells_the_status_now() -> None:
    made = history((0, HEALTHY), (4, UNHEALTHY))
    assert ratio(made, 10, 0) == 0.0


def test_a_wall_clock_set_back_leaves_a_ratio() -> None:
    """Of the same instant told twice, the later word counts."""
    made = history((0, HEALTHY), (60, UNHEALTHY), (10, HEALTHY))
    assert ratio(made, 20, 100) == 1.0
    assert ratio(history((60, UNHEALTHY)), 10, 5) == 0.0


def test_a_window_longer_than_the_calendar_is_cut_like_any_other() -> None:
    made = history((0, HEALTHY), (5, UNHEALTHY))
    assert uptime_ratio(made, at(10), timedelta.max) == 0.5
