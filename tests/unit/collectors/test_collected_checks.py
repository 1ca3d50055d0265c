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
    """The checks, at a time of the test's; `elsewhere`: how long ago another process read, by collector."""

    def __init__(self, elsewhere=None):
        self.collector, self.redis, self.now, self.checks = None, UNREAD, STARTED, {}
        read_elsewhere = elsewhere.get if elsewhere is not None else None
        register_database_checks(
            self, lambda: self.collector, self.reckon, required=True, read_elsewhere=read_elsewhere
        )
        register_redis_check(self, lambda: self.redis, self.reckon)

    def reckon(self):
        return Reckoning(self.now, 90.0)

    def register_check(self, name, check, *, required):
        assert required == (name == "database")
        self.checks[name] = check

    def read(self, *names, at, leads=False, mode="advisory lock"):
        states = {name: Collected(FACTS[name], at, None) if name in names else UNREAD for name in FACTS}
        self.collector = SimpleNamespace(**states, leads=leads, mode=mode)

    def statuses(self, now):
        """By name; None for unknown."""
        self.now = now
        outcomes = {name: check() for name, check in self.checks.items()}
        return {name: outcome.status if outcome.known else None for name, outcome in outcomes.items()}


@pytest.mark.parametrize("made", [False, True])
@pytest.mark.parametrize("after", [0, 1000])
def test_before_the_first_reading_nothing_is_known(made, after):
    checks = Checks()
    if made:
        checks.read(at=None)
    assert set(checks.statuses(STARTED + after).values()) == {None}
    assert {checks.checks[name]().message for name in ("database", *LED, "redis")} == {"not read yet"}


def test_readings_that_are_too_old_do_not_count():
    checks = Checks()
    checks.read("database", *LED, at=STARTED + 1, leads=True)
    checks.redis = Collected(RedisFacts(0.001), STARTED + 1, None)
    assert set(checks.statuses(STARTED + 91).values()) == {HEALTHY}
    assert checks.statuses(STARTED + 92) == {"database": UNHEALTHY, **dict.fromkeys((*LED, "redis"), DEGRADED)}
    assert "no recent reading" in checks.checks["database"]().message


@pytest.mark.parametrize(("age", "status"), [(0.0, HEALTHY), (90.0, HEALTHY), (90.1, None), (None, None)], ids=str)
def test_others_read_for_a_process_only_where_one_of_them_says_so(age, status):
    checks = Checks(dict.fromkeys(LED, age))
    checks.read("database", at=STARTED)
    assert {checks.statuses(STARTED)[name] for name in LED} == {status}
    if status is None:
        assert "has not said lately" in checks.checks["queue"]().message
    else:
        assert checks.checks["queue"]().details == {"read_by": "another process", "age_seconds": age}


def test_without_a_store_nobody_knows_whether_others_read():
    checks = Checks()
    checks.read("database", at=STARTED)
    assert {checks.statuses(STARTED)[name] for name in ("database", *LED)} == {HEALTHY, None}
    assert "REDIS_URL" in checks.checks["queue"]().message


def test_where_nobody_can_lead_the_reason_is_said():
    checks = Checks({})
    checks.read("database", at=STARTED, mode="none: a pooler, and no relay")
    assert {checks.statuses(STARTED)[name] for name in LED} == {None}
    assert checks.checks["workers"]().message == "no process reads it: a pooler, and no relay"


def test_a_process_that_leads_since_just_now_has_not_read_yet():
    checks = Checks()
    checks.read("database", at=STARTED, leads=True)
    assert {checks.statuses(STARTED + 1)[name] for name in LED} == {None}


@pytest.mark.parametrize(("leads", "status"), [(True, DEGRADED), (False, None)])
def test_a_problem_is_told_whatever_the_age(leads, status):
    checks = Checks(dict.fromkeys(LED, 1.0))
    checks.read("database", *LED, at=STARTED, leads=leads)
    for name in ("database", *LED):
        state = getattr(checks.collector, name)
        setattr(checks.collector, name, replace(state, problem=Problem.UNREACHABLE))
    statuses = checks.statuses(STARTED + 1)
    assert [statuses[name] for name in ("database", *LED)] == [UNHEALTHY, status, status, status]
    assert "cannot be reached" in checks.checks["queue"]().message


def test_a_schedule_that_cannot_be_read_is_not_kept():
    """The tables may be in another schema: then there is no job either."""
    checks = Checks()
    checks.read("database", *LED, at=STARTED, leads=True)
    checks.collector.scheduler = Collected(SchedulerFacts(False, 0, 0, 0.0, None, None), STARTED, None)
    assert checks.statuses(STARTED)["scheduler"] is DEGRADED
    assert "task cannot be read" in checks.checks["scheduler"]().message
