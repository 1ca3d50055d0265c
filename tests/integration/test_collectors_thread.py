"""The collectors as a process has them: on a thread of their own, which alone loads the drivers."""

from __future__ import annotations

import os
import subprocess
import sys
import warnings
from types import SimpleNamespace

import asyncpg
import pytest

from ordinaut_ext_observability.background.clock import Clock, monotonic_seconds
from ordinaut_ext_observability.background.daemon_threads import STOP_SECONDS
from ordinaut_ext_observability.cluster.base import ClusterUnavailableError
from ordinaut_ext_observability.db.insights import report
from ordinaut_ext_observability.errors import Problem
from ordinaut_ext_observability.health.monitor import HealthMonitor
from ordinaut_ext_observability.metrics.declarations import Metrics
from ordinaut_ext_observability.metrics.registry import Registry
from ordinaut_ext_observability.runtime.collectors import Collectors
from ordinaut_ext_observability.settings.parts import CollectorSettings, RelaySettings
from tests.conftest import eventually

_BEFORE_THE_START = """
import sys
from types import SimpleNamespace
from ordinaut_ext_observability.background.clock import Clock
from ordinaut_ext_observability.metrics.declarations import Metrics
from ordinaut_ext_observability.metrics.registry import Registry
from ordinaut_ext_observability.runtime.collectors import Collectors
from ordinaut_ext_observability.settings.parts import CollectorSettings, RelaySettings

checks = {}
metrics = Metrics(Registry())
settings = SimpleNamespace(
    collectors=CollectorSettings(database_url="postgresql://orchestrator@127.0.0.1:1/x"),
    relay=RelaySettings(redis_url="redis://127.0.0.1:1/0"),
)
monitor = SimpleNamespace(register_check=lambda name, check, required: checks.update({name: (check, required)}))
relay = SimpleNamespace(exchange=SimpleNamespace(shown_only=()))
merged = SimpleNamespace(collected=metrics.registry, relay=relay, open_store=None, seconds_since_read=None)
collecting = Collectors(settings, metrics, Clock(), monitor, merged, print)
collecting.database_required = True
collecting._thread.start = lambda: None
collecting.start(serves=False)
assert collecting.notes() == {"collectors": "off"} and not checks
collecting.start(serves=True)
assert {check().message for check, _ in checks.values()} == {"not read yet"}, checks
assert [name for name, (_, required) in checks.items() if required] == ["database"]
assert relay.exchange.shown_only
assert collecting.notes() == {"collectors": "PostgreSQL, Redis; not connected yet"}
assert {"orchestrator_redis_up", "orchestrator_oldest_due_work_age_seconds"} <= metrics.registry.names()
assert not {"asyncpg", "redis"} & sys.modules.keys()
"""


class Store:
    """A store that keeps nothing, and whether it was closed."""

    def __init__(self):
        self.closed = 0

    def join(self, *_):
        raise ClusterUnavailableError("nothing")

    get = join

    def hold_lease(self, name, owner, ttl_seconds):
        return True

    def close(self):
        self.closed += 1


@pytest.fixture
def make():
    made, events = [], []

    def make(database_url, redis_url=None, open_stores=None):
        settings = SimpleNamespace(
            collectors=CollectorSettings(interval_seconds=1.0, database_url=database_url),
            relay=RelaySettings(redis_url=redis_url),
        )
        collecting = Collectors(
            settings,
            Metrics(Registry()),
            Clock(),
            HealthMonitor(),
            SimpleNamespace(collected=Registry(), relay=None, open_store=open_stores),
            lambda event, **fields: events.append((event, fields)),
        )
        made.append(collecting)
        collecting.events = events
        return collecting

    yield make
    for collecting in made:
        collecting.stop(monotonic_seconds() + STOP_SECONDS)


def has_read(collecting):
    return collecting.states.leads and collecting.states.of("queue").facts is not None


def test_before_the_start_no_driver_is_loaded():
    subprocess.run([sys.executable, "-c", _BEFORE_THE_START], check=True, timeout=30)


def test_stopped_and_started_again_it_reads(make, database_url, redis_url):
    collecting = make(database_url, redis_url)
    for _ in range(2):
        collecting.start(serves=True)
        assert eventually(lambda: has_read(collecting) and collecting.states.of("redis").facts is not None)
        assert collecting.notes() == {
            "collectors": "PostgreSQL, Redis; this process reads for all; leadership: advisory lock"
        }
        collecting.stop(monotonic_seconds() + STOP_SECONDS)


def test_the_stores_are_closed_with_the_thread(make, database_url):
    stores = []

    def open_stores():
        stores.append(Store())
        return stores[-1]

    collecting = make(database_url, open_stores=open_stores)
    collecting.start(serves=True)
    assert eventually(lambda: has_read(collecting))
    collecting.stop(monotonic_seconds() + STOP_SECONDS)
    assert eventually(lambda: [store.closed for store in stores] == [1])


def test_a_forked_child_reads_anew_and_leaves_the_parent_alone(make, database_url, redis_url):
    collecting = make(database_url, redis_url)
    collecting.start(serves=True)
    assert eventually(lambda: has_read(collecting) and collecting.states.of("redis").facts is not None)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        child = os.fork()
    if child == 0:
        try:
            good = not any(collecting.states.of(name).facts for name in ("database", "redis"))
            collecting.start(serves=True)
            good = good and eventually(
                lambda: all(collecting.states.of(name).facts is not None for name in ("database", "redis"))
            )
            good = good and not collecting.states.leads
            collecting.stop(monotonic_seconds() + STOP_SECONDS)
        except BaseException:
            good = False
        os._exit(0 if good else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    read_at = collecting.states.of("queue").collected_at
    assert eventually(lambda: collecting.states.of("queue").collected_at > read_at)
    assert collecting.states.leads
    assert collecting.states.of("database").problem is collecting.states.of("redis").problem is None


def test_an_url_of_redis_that_cannot_be_read_is_a_problem_of_redis_alone(make, database_url):
    collecting = make(database_url, "redis://127.0.0.1:1/0?socket_timeout=soon")
    collecting.start(serves=True)
    assert eventually(lambda: collecting.states.of("redis").problem is Problem.REFUSED)
    assert eventually(lambda: has_read(collecting))
    told = [fields for event, fields in collecting.events if event.name == "collector_problem"]
    assert [each["detail"] for each in told] == ["the URL of Redis cannot be read"]


def test_parts_of_the_insights_that_failed_are_told(make, database_url, monkeypatch):
    async def denied(_):
        raise asyncpg.InsufficientPrivilegeError("denied")

    monkeypatch.setitem(report.MEASURED, "locks", denied)
    collecting = make(database_url)
    collecting.start(serves=True)
    assert eventually(lambda: any(fields.get("part") == "locks" for *_, fields in collecting.events))
    (told,) = [fields for *_, fields in collecting.events if "part" in fields]
    assert (told["collector"], told["reason"]) == ("insights", "no_permission")
