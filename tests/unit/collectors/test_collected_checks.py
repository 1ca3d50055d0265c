"""What health makes of readings: their age counts, and so does that there is none."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ordinaut_ext_observability.collectors.states import (
    DatabaseFacts,
    QueueFacts,
    RedisFacts,
    SchedulerFacts,
    WorkerFacts,
)
from ordinaut_ext_observability.errors import Problem
from ordinaut_ext_observability.health.model import HealthStatus
from ordinaut_ext_observability.metrics.declarations import Metrics
from ordinaut_ext_observability.metrics.registry import Registry
from ordinaut_ext_observability.runtime.collected_checks import CollectedChecks, checks_of
from tests.clock import ManualClock
from tests.collectors import states_of

HEALTHY, DEGRADED, UNHEALTHY = HealthStatus
UNKNOWN = "unknown"
FACTS = {
    "database": DatabaseFacts(0.001, "16", 5, 100, in_recovery=False),
    "queue": QueueFacts(0, False, 0.0, {}, 0, 0, 0),
    "workers": WorkerFacts(1, 0, 1.0, 1.0, 0),
    "scheduler": SchedulerFacts(True, 1, 0, 0.0, 5.0, 1),
    "redis": RedisFacts(0.001),
}
LED = ("queue", "workers", "scheduler")


class Checks:
    """The checks, at a time of the test's; `elsewhere`: how long ago another process read, by collector."""

    def __init__(self, elsewhere=None, *, leads=False, mode="advisory lock"):
        metrics, self.clock = Metrics(Registry()), ManualClock()
        self.states = states_of(metrics, clock=self.clock)
        self.states.leads, self.states.mode = leads, mode
        self.checks = CollectedChecks(self.states, 90.0, elsewhere.get if elsewhere is not None else None)

    def read(self, *names, **facts):
        for name in names:
            self.states.succeeded(name, facts.get(name, FACTS[name]))

    def of(self, name):
        return self.checks.find(name)

    def statuses(self, *names):
        found = {name: self.of(name) for name in names or (*checks_of("PostgreSQL"), *checks_of("Redis"))}
        return {name: outcome.status if outcome.known else UNKNOWN for name, outcome in found.items()}


@pytest.mark.parametrize("leads", [False, True])
@pytest.mark.parametrize("after", [0, 1000])
def test_before_the_first_reading_nothing_is_known(leads, after):
    checks = Checks(leads=leads)
    checks.clock.now += after
    assert set(checks.statuses().values()) == {UNKNOWN}
    assert {checks.of(name).message for name in ("database", *LED, "redis")} == {"not read yet"}


def test_readings_that_are_too_old_do_not_count():
    checks = Checks(leads=True)
    checks.read(*FACTS)
    checks.clock.now += 90
    assert set(checks.statuses().values()) == {HEALTHY}
    checks.clock.now += 1
    assert checks.statuses() == {"database": UNHEALTHY, **dict.fromkeys((*LED, "redis"), DEGRADED)}
    assert "no recent reading" in checks.of("database").message


@pytest.mark.parametrize(("age", "status"), [(0.0, HEALTHY), (90.0, HEALTHY), (90.1, UNKNOWN), (None, UNKNOWN)])
def test_others_read_for_a_process_only_where_one_of_them_says_so(age, status):
    checks = Checks(dict.fromkeys(LED, age))
    checks.read("database")
    assert set(checks.statuses(*LED).values()) == {status}
    if status == UNKNOWN:
        assert "has not said lately" in checks.of("queue").message
    else:
        assert checks.of("queue").details == {"read_by": "another process", "age_seconds": age}


def test_without_a_store_nobody_knows_whether_others_read():
    checks = Checks()
    checks.read("database")
    assert checks.statuses("database", *LED) == {"database": HEALTHY, **dict.fromkeys(LED, UNKNOWN)}
    assert "REDIS_URL" in checks.of("queue").message


def test_where_nobody_can_lead_the_reason_is_said():
    checks = Checks({}, mode="none: a pooler, and no relay")
    checks.read("database")
    assert set(checks.statuses(*LED).values()) == {UNKNOWN}
    assert checks.of("workers").message == "no process reads it: a pooler, and no relay"


def test_a_process_that_leads_since_just_now_has_not_read_yet():
    checks = Checks(leads=True)
    checks.read("database")
    assert set(checks.statuses(*LED).values()) == {UNKNOWN}


@pytest.mark.parametrize(("leads", "status"), [(True, DEGRADED), (False, UNKNOWN)])
def test_a_problem_is_told_whatever_the_age(leads, status):
    checks = Checks(dict.fromkeys(LED, 1.0), leads=leads)
    checks.read("database", *LED)
    checks.states.lost(("database", *LED), Problem.UNREACHABLE)
    assert checks.statuses("database", *LED) == {"database": UNHEALTHY, **dict.fromkeys(LED, status)}
    assert "cannot be reached" in checks.of("queue").message


def test_a_schedule_that_cannot_be_read_is_not_kept():
    """The tables may be in another schema: then there is no job either."""
    checks = Checks(leads=True)
    checks.read("scheduler", scheduler=SchedulerFacts(False, 0, 0, 0.0, None, None))
    assert checks.of("scheduler").status == DEGRADED
    assert "task cannot be read" in checks.of("scheduler").message


@pytest.mark.parametrize(
    ("name", "changed", "status", "message"),
    [
        ("database", {"connections": 90}, DEGRADED, "90 of 100 connections are in use"),
        ("database", {"latency_seconds": 1.25}, DEGRADED, "an answer takes 1.2 s"),
        ("redis", {"latency_seconds": 1.25}, DEGRADED, "an answer takes 1.2 s"),
        ("redis", {"used_memory_bytes": 90, "max_memory_bytes": 100}, DEGRADED, "its memory is nearly used up"),
        ("redis", {"used_memory_bytes": 90, "max_memory_bytes": 0}, HEALTHY, ""),
        ("queue", {"oldest_claimable_age_seconds": 61.0}, DEGRADED, "work has been waiting for 61 s"),
        ("queue", {"oldest_claimable_age_seconds": 301.0}, UNHEALTHY, "work has been waiting for 301 s"),
        (
            "queue",
            {"expired_owner_alive": 1},
            DEGRADED,
            "1 lease ran out while its worker lives: the work may run twice",
        ),
        (
            "queue",
            {"expired_owner_alive": 2},
            DEGRADED,
            "2 leases ran out while their worker lives: the work may run twice",
        ),
        ("workers", {"active": 0}, DEGRADED, "no worker shows signs of life"),
        ("workers", {"active": 0, "busy": 1}, HEALTHY, ""),
        (
            "scheduler",
            {"overdue_jobs": 3, "oldest_overdue_seconds": 301.0},
            UNHEALTHY,
            "3 jobs are overdue, the oldest by 301 s",
        ),
        ("scheduler", {"jobs": 0}, DEGRADED, "1 tasks have a schedule, and no job is scheduled"),
    ],
)
def test_thresholds(name, changed, status, message):
    checks = Checks(leads=True)
    checks.read(name, **{name: replace(FACTS[name], **changed)})
    found = checks.of(name)
    assert (found.status, found.message) == (status, message)
    assert found.details


def test_work_that_waits_without_a_worker_is_worse():
    checks = Checks(leads=True)
    checks.read(
        "workers", "queue", workers=WorkerFacts(0, 0, None, None, 0), queue=QueueFacts(1, False, 0.0, {}, 0, 0, 0)
    )
    assert checks.of("workers").status == UNHEALTHY


def test_redis_that_gives_no_permission_for_a_part_is_read():
    checks = Checks()
    checks.states.succeeded("redis", FACTS["redis"], Problem.NO_PERMISSION)
    assert checks.of("redis").status == HEALTHY
