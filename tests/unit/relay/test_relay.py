"""The relay's thread and its failures: fork, stop and start, stores that do not answer, raise anything or hang."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from ordinaut_ext_observability.clock import SystemClock
from ordinaut_ext_observability.metrics.definitions import Metrics
from ordinaut_ext_observability.metrics.registry import Registry
from ordinaut_ext_observability.relay.base import StoreUnavailableError
from ordinaut_ext_observability.relay.directory import DirectoryStore
from ordinaut_ext_observability.relay.origins import Origin
from ordinaut_ext_observability.relay.relay import Relay

INTERVAL = 0.1
NAME = "orchestrator_worker_heartbeat_total"


def fail() -> Any:
    raise StoreUnavailableError("not here")


class Made:
    """A relay with its thread, and what belongs to it."""

    def __init__(self, stores: list[Callable[[], Any]], *, serves: bool) -> None:
        self.metrics = Metrics(Registry())
        self.events: list[str] = []
        self.relay = Relay(
            stores,
            self.metrics,
            SystemClock(),
            serves=lambda: serves,
            interval_seconds=INTERVAL,
            event=lambda _level, message, *_, **__: self.events.append(message),
        )

    def count(self, amount: int = 1) -> None:
        self.metrics.worker_heartbeats.labels("w").inc(amount)

    def shown(self) -> float:
        family: Any = next(family for family in self.relay.shown().families() if family.name == NAME)
        return sum(child.value for child in family.children())


@pytest.fixture
def open_store(tmp_path: Path) -> Callable[[], DirectoryStore]:
    return lambda: DirectoryStore(
        tmp_path / "relay", interval_seconds=INTERVAL, expiry_seconds=30 * INTERVAL, clock=SystemClock()
    )


@pytest.fixture
def make(open_store: Any) -> Iterator[Callable[..., Made]]:
    made: list[Made] = []

    def run(stores: list[Callable[[], Any]] | None = None, *, serves: bool = False) -> Made:
        made.append(Made(stores or [open_store], serves=serves))
        return made[-1]

    yield run
    for each in made:
        each.relay.stop()


def test_it_publishes_and_shows(make: Any, eventually: Any) -> None:
    api, worker = make(serves=True), make()
    for each in (api, worker):
        each.relay.start()
        each.relay.start()
        each.count(2)
    assert eventually(lambda: api.shown() == 4)


def test_stopping_publishes_a_last_time_and_starting_goes_on(make: Any, eventually: Any) -> None:
    api, worker = make(serves=True), make()
    api.relay.start()
    for _ in range(3):
        worker.relay.start()
        worker.count()
        worker.relay.stop()
        worker.relay.stop()
        worker.count()
    assert eventually(lambda: api.shown() == 5)
    worker.relay.start()
    assert eventually(lambda: api.shown() == 6)


def test_a_process_that_ends_at_once_has_published(make: Any, eventually: Any) -> None:
    api = make(serves=True)
    api.relay.start()
    for _ in range(20):
        worker = make()
        worker.count()
        worker.relay.start()
        worker.relay.stop()
    assert eventually(lambda: api.shown() == 20), api.shown()


def test_stopping_what_never_started_does_nothing(make: Any) -> None:
    worker = make()
    worker.relay.stop()
    assert worker.relay.store_name is None


def test_where_no_store_answers_the_own_counts_are_shown(make: Any, eventually: Any) -> None:
    api = make([fail, fail], serves=True)
    api.count(1)
    api.relay.start()
    assert api.relay.settled.wait(5)
    assert api.shown() == 1
    api.count(2)
    assert eventually(lambda: api.shown() == 3)


def test_a_store_that_never_answers_holds_up_nobody_who_asks(make: Any) -> None:
    release = threading.Event()
    api = make([lambda: release.wait(10) and fail()], serves=True)
    api.relay.start()
    api.count(3)
    assert api.shown() == 3
    assert api.relay.pop_origin("task") is None
    release.set()


def test_the_second_store_is_taken_where_the_first_does_not_answer(make: Any, open_store: Any) -> None:
    worker = make([fail, open_store])
    worker.relay.start()
    assert worker.relay.settled.wait(5)
    assert worker.relay.store_name == "directory"
    assert worker.events == ["relay store does not answer", "relay open"]


def test_the_second_store_is_taken_where_the_url_of_the_first_cannot_be_read(make: Any, open_store: Any) -> None:
    from ordinaut_ext_observability.relay.redis import RedisStore

    def open_redis() -> Any:
        return RedisStore("redis://127.0.0.1:port/0", interval_seconds=INTERVAL, expiry_seconds=30 * INTERVAL)

    worker = make([open_redis, open_store])
    worker.relay.start()
    assert worker.relay.settled.wait(5)
    assert worker.relay.store_name == "directory"


@pytest.mark.parametrize("error", [StoreUnavailableError(), ValueError(), KeyError("x"), OSError(), MemoryError()])
def test_whatever_a_store_raises_nothing_comes_through(make: Any, open_store: Any, eventually: Any, error: Any) -> None:
    class Raising:
        name = "raising"
        interval_seconds = INTERVAL
        broken = False

        def __init__(self) -> None:
            self._store = open_store()

        def __getattr__(self, name: str) -> Any:
            def call(*args: Any, **kwargs: Any) -> Any:
                if self.broken:
                    raise error
                return getattr(self._store, name)(*args, **kwargs)

            return call

    store = Raising()
    api = make([lambda: store], serves=True)
    api.relay.start()
    api.count()
    assert eventually(lambda: api.relay.store_name == "raising" and api.shown() == 1)
    store.broken = True
    api.relay.push_origin("task", Origin(("request-1", "a" * 32, "b" * 16, True), 0.0))
    api.count()
    assert api.shown() >= 1
    store.broken = False
    assert eventually(lambda: api.shown() == 2)
    store.broken = True
    api.relay.stop()


def test_a_forked_child_counts_from_zero_under_an_id_of_its_own(
    make: Any, eventually: Any, in_forked_child: Any
) -> None:
    api, worker = make(serves=True), make()
    api.relay.start()
    worker.relay.start()
    worker.count(5)
    assert eventually(lambda: api.shown() == 5)

    def child() -> bytes:
        worker.count(2)
        worker.relay.start()
        assert worker.relay.settled.wait(5)
        worker.relay.stop()
        return worker.relay._incarnation.id.encode()

    assert in_forked_child(child).decode() != worker.relay._incarnation.id
    assert eventually(lambda: api.shown() == 7)
    worker.count()
    assert eventually(lambda: api.shown() == 8)


def test_a_child_forked_again_and_again_is_counted_once(make: Any, eventually: Any, in_forked_child: Any) -> None:
    api, worker = make(serves=True), make()
    api.relay.start()
    worker.count(3)

    def child() -> bytes:
        worker.count(10)
        pid = os.fork()
        if pid == 0:
            worker.count(100)
            worker.relay.start()
            worker.relay.settled.wait(5)
            worker.relay.stop()
            os._exit(0)
        os.waitpid(pid, 0)
        worker.relay.start()
        worker.relay.settled.wait(5)
        worker.relay.stop()
        return b"done"

    assert in_forked_child(child) == b"done"
    worker.relay.start()
    assert eventually(lambda: api.shown() == 113)
