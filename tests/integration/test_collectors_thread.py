"""The collectors as a process has them: on a thread of their own, which alone loads the drivers."""

from __future__ import annotations

import os
import subprocess
import sys
import warnings

import pytest
from pydantic import SecretStr

from ordinaut_ext_observability.background.clock import SystemClock
from ordinaut_ext_observability.cluster.base import ClusterUnavailableError
from ordinaut_ext_observability.logs.event_types import DATABASE_NOT_READ, REDIS_NOT_READ
from ordinaut_ext_observability.metrics.definitions import Metrics
from ordinaut_ext_observability.metrics.registry import Registry
from ordinaut_ext_observability.relay.store import Stores
from ordinaut_ext_observability.runtime.collecting import Collecting, _Insights
from ordinaut_ext_observability.settings.parts import CollectorSettings
from tests.conftest import eventually

_BEFORE_THE_START = """
import sys
from types import SimpleNamespace
from ordinaut_ext_observability.background.clock import SystemClock
from ordinaut_ext_observability.metrics.definitions import Metrics
from ordinaut_ext_observability.metrics.registry import Registry
from ordinaut_ext_observability.runtime.collecting import Collecting
from ordinaut_ext_observability.settings.parts import CollectorSettings

checks = {}
metrics = Metrics(Registry())
collecting = Collecting(
    CollectorSettings(database_url="postgresql://orchestrator@127.0.0.1:1/x"), "redis://127.0.0.1:1/0", metrics, metrics.registry,
    SystemClock(), event=print, open_stores=None,
)
collecting.register_checks(
    SimpleNamespace(register_check=lambda name, check, required: checks.update({name: check})), required=True
)
assert {check().message for check in checks.values()} == {"not read yet"}, checks
assert collecting.shared_families
assert collecting.note() == "PostgreSQL, Redis; not connected yet"
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
        settings = CollectorSettings(interval_seconds=1.0).model_copy(
            update={"database_url": SecretStr(database_url) if database_url else None}  # whatever settings make of it
        )
        collecting = Collecting(
            settings,
            redis_url,
            Metrics(Registry()),
            Registry(),
            SystemClock(),
            event=lambda event, **fields: events.append((event, fields)),
            open_stores=open_stores,
        )
        made.append(collecting)
        collecting.events = events
        return collecting

    yield make
    for collecting in made:
        collecting.stop()


def has_read(collecting):
    system = collecting.system
    return system is not None and system.leads and system.queue.facts is not None


def test_before_the_start_no_driver_is_loaded():
    subprocess.run([sys.executable, "-c", _BEFORE_THE_START], check=True, timeout=30)


def test_stopped_and_started_again_it_reads(make, database_url, redis_url):
    collecting = make(database_url, redis_url)
    for _ in range(2):
        collecting.start()
        assert eventually(lambda: has_read(collecting) and collecting.redis.state.facts is not None)
        assert collecting.note() == "PostgreSQL, Redis; this process reads for all; leadership: advisory lock"
        collecting.stop()


def test_the_stores_are_closed_with_the_thread(make, database_url):
    stores = []

    def open_stores():
        stores.append(Stores(Store(), Store()))
        return stores[-1]

    collecting = make(database_url, open_stores=open_stores)
    collecting.start()
    assert eventually(lambda: has_read(collecting))
    assert collecting.system.checkpoints.hold_lease("me", 1.0)
    collecting.stop()
    assert [store.closed for pair in stores for store in pair] == [1, 1]


def test_a_forked_child_reads_anew_and_leaves_the_parent_alone(make, database_url, redis_url):
    collecting = make(database_url, redis_url)
    collecting.start()
    assert eventually(lambda: has_read(collecting) and collecting.redis.state.facts is not None)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        child = os.fork()
    if child == 0:
        try:
            good = collecting.system is None and collecting.redis is None and collecting.shared_families != []
            collecting.start()
            good = good and eventually(
                lambda: (
                    collecting.system is not None
                    and collecting.system.database.facts is not None
                    and collecting.redis is not None
                    and collecting.redis.state.facts is not None
                )
            )
            good = good and not collecting.system.leads
            collecting.stop()
        except BaseException:
            good = False
        os._exit(0 if good else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    read_at = collecting.system.queue.collected_at
    assert eventually(lambda: collecting.system.queue.collected_at > read_at)
    assert collecting.system.leads
    assert collecting.system.database.problem is collecting.redis.state.problem is None


def test_an_url_that_is_not_of_postgresql_has_no_checks(make):
    collecting = make("mysql://h/x")
    checks = []
    collecting.register_checks(checks, required=True)
    collecting.start()
    assert collecting.shared_families == []
    assert collecting.note() == "off: no URL that can be read"
    assert [event for event, _ in collecting.events] == [DATABASE_NOT_READ]


def test_an_url_of_redis_that_cannot_be_read_is_a_problem(make):
    collecting = make(None, "redis://127.0.0.1:a-port/0")
    collecting.start()
    assert eventually(lambda: collecting._redis_state().problem is not None)
    assert eventually(lambda: [event for event, _ in collecting.events] == [REDIS_NOT_READ])


def test_parts_of_the_insights_that_failed_are_told(database_url, monkeypatch):
    import asyncio

    import asyncpg

    from ordinaut_ext_observability.db.insights import collect

    async def denied(_):
        raise asyncpg.InsufficientPrivilegeError("denied")

    monkeypatch.setattr(collect, "read_locks", denied)

    async def run():
        connection = await asyncpg.connect(database_url)
        try:
            return await _Insights(Registry()).read(connection)
        finally:
            await connection.close()

    assert asyncio.run(run())["locks"] == "no_permission"
