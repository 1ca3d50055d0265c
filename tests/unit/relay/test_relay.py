"""The relay's thread and its failures: fork, stop and start, stores that do not answer, raise anything or hang."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from ordinaut_ext_observability.background.clock import SystemClock
from ordinaut_ext_observability.cluster.base import ClusterUnavailableError
from ordinaut_ext_observability.metrics.definitions import Metrics
from ordinaut_ext_observability.metrics.registry import Registry
from ordinaut_ext_observability.relay.families import RelayFamilies
from ordinaut_ext_observability.relay.origins import Origin
from ordinaut_ext_observability.relay.relay import Relay, RelayOptions
from ordinaut_ext_observability.relay.store import Stores
from ordinaut_ext_observability.runtime.store import open_file

INTERVAL = 0.1
NAME = "orchestrator_worker_heartbeat_total"


def fail() -> Any:
    raise ClusterUnavailableError("not here")


class Made:
    """A relay with its thread, and what belongs to it."""

    def __init__(self, open_stores: Callable[[], Any], *, serves: bool, alone: bool = True) -> None:
        self.metrics = Metrics(Registry())
        self.events: list[str] = []
        self.relay = Relay(
            open_stores,
            RelayFamilies([self.metrics.registry]),
            self.metrics,
            SystemClock(),
            RelayOptions(
                INTERVAL,
                lambda: serves,
                lambda: alone,
                lambda event, **_: self.events.append(event.message),
            ),
        )

    def count(self, amount: int = 1) -> None:
        self.metrics.worker_heartbeats.labels("w").inc(amount)

    def scrape(self) -> float | None:
        """What a scrape shows that is answered within a second; None where it shows no counts."""
        answered, answers = threading.Event(), []

        def done(read: bool) -> None:
            answers.append(read)
            answered.set()

        self.relay.read_total(done)
        answered.wait(1.0)
        registry = self.relay.shown(fresh=answers == [True])
        for family in registry.families():
            if family.name == NAME:
                return sum(child.value for child in family.children())
        return None


@pytest.fixture
def open_store(tmp_path: Path) -> Callable[[], Stores]:
    return lambda: open_file(str(tmp_path / "store" / "relay.sqlite"), SystemClock())


@pytest.fixture
def make(open_store: Any) -> Iterator[Callable[..., Made]]:
    made: list[Made] = []

    def run(store: Callable[[], Any] | None = None, *, serves: bool = False, alone: bool = True) -> Made:
        made.append(Made(store or open_store, serves=serves, alone=alone))
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
    assert eventually(lambda: api.scrape() == 4)


def test_stopping_publishes_a_last_time_and_starting_goes_on(make: Any, eventually: Any) -> None:
    api, worker = make(serves=True), make()
    api.relay.start()
    for _ in range(3):
        worker.relay.start()
        worker.count()
        worker.relay.stop()
        worker.relay.stop()
        worker.count()
    assert eventually(lambda: api.scrape() == 5)
    worker.relay.start()
    assert eventually(lambda: api.scrape() == 6)


def test_a_process_that_ends_at_once_has_published(make: Any, eventually: Any) -> None:
    api = make(serves=True)
    api.relay.start()
    for _ in range(20):
        worker = make()
        worker.count()
        worker.relay.start()
        worker.relay.stop()
    assert eventually(lambda: api.scrape() == 20), api.scrape()


def test_stopping_what_never_started_does_nothing(make: Any) -> None:
    worker = make()
    worker.relay.stop()
    assert worker.relay.store_name is None


def test_scrape_shows_what_was_counted_until_then_whichever_process_is_asked(make: Any) -> None:
    first, second = make(serves=True), make(serves=True)
    for each in (first, second):
        each.relay.start()
        assert each.relay.settled.wait(5)
    for number in range(1, 21):
        asked, other = (first, second) if number % 3 else (second, first)
        asked.count()
        assert asked.scrape() == number
        assert other.scrape() == number


def test_where_the_store_never_answered_a_process_alone_shows_its_own_counts(make: Any, eventually: Any) -> None:
    api = make(fail, serves=True)
    api.count(1)
    api.relay.start()
    assert api.relay.settled.wait(5)
    assert api.scrape() == 1
    api.count(2)
    assert api.scrape() == 3


def test_where_the_store_never_answered_one_of_several_shows_no_counts(make: Any) -> None:
    api = make(fail, serves=True, alone=False)
    api.count(1)
    api.relay.start()
    assert api.relay.settled.wait(5)
    assert api.scrape() is None


def test_store_that_never_answers_holds_up_nobody_who_asks(make: Any) -> None:
    release = threading.Event()
    api = make(lambda: release.wait(10) and fail(), serves=True)
    api.relay.start()
    api.count(3)
    assert api.scrape() is None
    assert api.relay.pop_origin("task") is None
    release.set()


def test_store_away_a_process_alone_shows_the_last_total_and_its_own_counts(
    make: Any, open_store: Any, eventually: Any
) -> None:
    store = _Breakable(open_store())
    api, worker = make(lambda: store, serves=True), make()
    for each in (api, worker):
        each.count(2)
        each.relay.start()
        assert each.relay.settled.wait(5)
    assert api.scrape() == 4
    store.error = ClusterUnavailableError("gone")
    api.scrape()
    for number in range(1, 4):
        api.count()
        assert api.scrape() == 4 + number
    store.error = None
    worker.count()
    worker.relay.stop()
    assert eventually(lambda: api.scrape() == 8)


def test_store_away_several_processes_leave_counts_out(make: Any, open_store: Any) -> None:
    store = _Breakable(open_store())
    api, other = make(lambda: store, serves=True), make(serves=True)
    for each in (api, other):
        each.relay.start()
        assert each.relay.settled.wait(5)
    api.scrape()
    store.error = ClusterUnavailableError("gone")
    api.count()
    api.scrape()
    assert api.scrape() is None
    assert other.scrape() == 0


@pytest.mark.parametrize("error", [ClusterUnavailableError(), ValueError(), KeyError("x"), OSError(), MemoryError()])
def test_whatever_a_store_raises_nothing_comes_through(make: Any, open_store: Any, eventually: Any, error: Any) -> None:
    store = _Breakable(open_store())
    api = make(lambda: store, serves=True)
    api.relay.start()
    api.count()
    assert eventually(lambda: api.scrape() == 1)
    store.error = error
    api.relay.push_origin("task", Origin(("request-1", "a" * 32, "b" * 16, True), 0.0))
    api.count()
    assert api.scrape() in (2, None)
    store.error = None
    assert eventually(lambda: api.scrape() == 2)
    store.error = error
    api.relay.stop()


class _Breakable:
    """Stores that fail while they are told to."""

    def __init__(self, stores: Stores) -> None:
        self.error: Exception | None = None
        self.relay, self.cluster = (_Breaking(self, store) for store in stores)

    def close(self) -> None:
        self.relay.close()


class _Breaking:
    def __init__(self, whole: _Breakable, store: Any) -> None:
        self._whole, self._store = whole, store
        self.name = "breakable"

    def __getattr__(self, name: str) -> Any:
        def call(*args: Any, **kwargs: Any) -> Any:
            if self._whole.error is not None and name != "close":
                raise self._whole.error
            return getattr(self._store, name)(*args, **kwargs)

        return call


def test_a_forked_child_counts_from_zero_under_an_id_of_its_own(
    make: Any, eventually: Any, in_forked_child: Any
) -> None:
    api, worker = make(serves=True), make()
    api.relay.start()
    worker.relay.start()
    worker.count(5)
    assert eventually(lambda: api.scrape() == 5)

    def child() -> bytes:
        worker.count(2)
        worker.relay.start()
        assert worker.relay.settled.wait(5)
        worker.relay.stop()
        return worker.relay._exchange._publisher.id.encode()

    assert in_forked_child(child).decode() != worker.relay._exchange._publisher.id
    assert eventually(lambda: api.scrape() == 7)
    worker.count()
    assert eventually(lambda: api.scrape() == 8)


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
    assert eventually(lambda: api.scrape() == 113)
