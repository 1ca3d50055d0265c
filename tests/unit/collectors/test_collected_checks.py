"""What health makes of readings: their age counts, and so does that there is none."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import pytest

from ordinaut_ext_observability.collectors.facts import (
    UNREAD,
    Collected,
    DatabaseFacts,
    Problem,
    QueueFacts,
    RedisFacts,
    SchedulerFacts,
    WorkerFacts,
)
from ordinaut_ext_observability.health.model import HealthStatus
from ordinaut_ext_observability.runtime.collected_checks import (
    Reckoning,
    register_database_checks,
    register_redis_check,
)

STARTED = 1000.0
HEALTHY, DEGRADED, UNHEALTHY = HealthStatus.HEALTHY, HealthStatus.DEGRADED, HealthStatus.UNHEALTHY
FACTS = {
    "database": DatabaseFacts(0.001, "16", 5, 100, in_recovery=False),
    "queue": QueueFacts(0, False, 0.0, {}, 0, 0, 0),
    "workers": WorkerFacts(1, 0, 1.0, 1.0, 0),
    "scheduler": SchedulerFacts(True, 1, 0, 0.0, 5.0, 1),
}
LED = ("queue", "workers", "scheduler")


class Checks:
    """The checks, at a time of the test's."""

    def __init__(self):
        self.collector, self.redis, self.now, self.checks = None, UNREAD, STARTED, {}
        register_database_checks(self, lambda: self.collector, self.reckon, required=True)
        register_redis_check(self, lambda: self.redis, self.reckon)

    def reckon(self):
        return Reckoning(self.now, STARTED, 90.0)

    def register_check(self, name, check, *, required):
        assert required == (name == "database")
        self.checks[name] = check

    def read(self, *names, at, leads_since=None):
        states = {name: Collected(FACTS[name], at, None) if name in names else UNREAD for name in FACTS}
        self.collector = SimpleNamespace(**states, leads_since=leads_since)

    def statuses(self, now):
        self.now = now
        return {name: check().status for name, check in self.checks.items()}


@pytest.mark.parametrize("made", [False, True])
def test_the_first_reading_is_waited_for_and_not_for_long(made):
    checks = Checks()
    if made:
        checks.read(at=None)
    assert set(checks.statuses(STARTED + 30).values()) == {HEALTHY}
    assert {checks.checks[name]().message for name in ("database", *LED, "redis")} == {"not read yet"}
    assert checks.statuses(STARTED + 31) == {"database": UNHEALTHY, **dict.fromkeys((*LED, "redis"), DEGRADED)}


def test_readings_that_are_too_old_do_not_count():
    checks = Checks()
    checks.read("database", *LED, at=STARTED + 1, leads_since=STARTED + 1)
    checks.redis = Collected(RedisFacts(0.001), STARTED + 1, None)
    assert set(checks.statuses(STARTED + 91).values()) == {HEALTHY}
    assert checks.statuses(STARTED + 92) == {"database": UNHEALTHY, **dict.fromkeys((*LED, "redis"), DEGRADED)}
    assert "no recent reading" in checks.checks["database"]().message


def test_others_read_for_a_process_that_does_not_lead():
    checks = Checks()
    checks.read("database", at=STARTED + 1000)
    assert {checks.statuses(STARTED + 1000)[name] for name in ("database", *LED)} == {HEALTHY}
    assert {checks.checks[name]().details["read_by"] for name in LED} == {"another process"}


def test_a_process_that_leads_since_just_now_has_not_read_yet():
    checks = Checks()
    checks.read("database", at=STARTED + 1000, leads_since=STARTED + 1000)
    assert {checks.statuses(STARTED + 1001)[name] for name in LED} == {HEALTHY}
    assert {checks.statuses(STARTED + 1031)[name] for name in LED} == {DEGRADED}


def test_a_problem_is_told_whatever_the_age():
    checks = Checks()
    checks.read("database", *LED, at=STARTED, leads_since=STARTED)
    for name in ("database", *LED):
        state = getattr(checks.collector, name)
        setattr(checks.collector, name, replace(state, problem=Problem.UNREACHABLE))
    statuses = checks.statuses(STARTED + 1)
    assert [statuses[name] for name in ("database", *LED)] == [UNHEALTHY, DEGRADED, DEGRADED, DEGRADED]
