"""The relay's thread and its failures: fork, stop and start, stores that do not answer, raise anything or hang."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from ordinaut_ext_observability.background.clock import Clock
from ordinaut_ext_observability.background.fork import reset_in_forked_child
from ordinaut_ext_observability.cluster.base import ClusterBusyError, ClusterUnavailableError
from ordinaut_ext_observability.metrics.declarations import Metrics
from ordinaut_ext_observability.metrics.registry import Registry
from ordinaut_ext_observability.relay.exchange import Exchange
from ordinaut_ext_observability.relay.relay import Relay
from ordinaut_ext_observability.relay.siblings import Siblings
from ordinaut_ext_observability.relay.store import RelayStore
from ordinaut_ext_observability.relay.sqlite_store import SqliteRelayStore

INTERVAL = 0.1
NAME = "orchestrator_worker_heartbeat_total"


def fail() -> Any:
    raise ClusterUnavailableError("not here")


class Neighbours(Siblings):
    """So many other processes serve at this one's address."""

    def __init__(self, count: int) -> None:
        super().__init__()
        self._count = count

    def count(self) -> int:
        return self._count


class Made:
    """A relay with its thread, and what belongs to it."""

    def __init__(self, open_store: Callable[[], Any], *, serves: bool, alone: bool = True) -> None:
        self.metrics = Metrics(Registry())
        self._serves = serves
        self.events: list[str] = []
        self.relay = Relay(
            Exchange(open_store, [self.metrics.registry], self.metrics),
            self.metrics,
            Clock(),
            Neighbours(0 if alone else 1),
            INTERVAL,
            lambda event, **_: self.events.append(event.message),
        )
        reset_in_forked_child(self.relay)

    def start(self) -> None:
        self.relay.start(serves=self._serves)

    def count(self, amount: int = 1) -> None:
        self.metrics.worker_heartbeats.labels("w").inc(amount)

    def scrape(self) -> float | None:
        """What a scrape shows that is answered within a second; None where it shows no counts."""
        answer = self.relay.read_total()
        try:
            registry = self.relay.shown(fresh=answer.result(1.0))
        except TimeoutError:
            registry = self.relay.shown(fresh=False)
        for family in registry.families():
            if family.name == NAME:
                return sum(child.value for child in family.children())
        return None


@pytest.fixture
def open_store(tmp_path: Path) -> Callable[[], RelayStore]:
    return lambda: SqliteRelayStore(str(tmp_path / "store" / "relay.sqlite"), Clock())


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
        each.start()
        each.start()
        each.count(2)
    assert eventually(lambda: api.scrape() == 4)


def test_stopping_publishes_a_last_time_and_starting_goes_on(make: Any, eventually: Any) -> None:
    api, worker = make(serves=True), make()
    api.start()
    for _ in range(3):
        worker.start()
        worker.count()
        worker.relay.stop()
        worker.relay.stop()
        worker.count()
    assert eventually(lambda: api.scrape() == 5)
    worker.start()
    assert eventually(lambda: api.scrape() == 6)


def test_a_process_that_ends_at_once_has_published(make: Any, eventually: Any) -> None:
    api = make(serves=True)
    api.start()
    for _ in range(20):
        worker = make()
        worker.count()
        worker.start()
        worker.relay.stop()
    assert eventually(lambda: api.scrape() == 20), api.scrape()


def test_a_process_that_ends_before_its_first_publication_has_exchanged_its_documents(
    make: Any, open_store: Any
) -> None:
    ended = make()
    exchange = lambda content, write: write(content + b"said")  # noqa: E731
    ended.relay.documents["words"] = SimpleNamespace(waits=True, exchange=exchange)
    asyncio.run(ended.relay._leave())  # all that is left to do where the stop comes first
    with closing(open_store()) as store:
        assert store.get("words").content == b"said"


def test_stopping_what_never_started_does_nothing(make: Any) -> None:
    worker = make()
    worker.relay.stop()
    assert worker.relay.exchange.store_name is None


def test_scrape_shows_what_was_counted_until_then_whichever_process_is_asked(make: Any) -> None:
    first, second = make(serves=True), make(serves=True)
    for each in (first, second):
        each.start()
        assert each.relay.state.settled.wait(5)
    for number in range(1, 21):
        asked, other = (first, second) if number % 3 else (second, first)
        asked.count()
        assert asked.scrape() == number
        assert other.scrape() == number


def test_where_the_store_never_answered_a_process_alone_shows_its_own_counts(make: Any, eventually: Any) -> None:
    api = make(fail, serves=True)
    api.count(1)
    api.start()
    assert api.relay.state.settled.wait(5)
    assert api.scrape() == 1
    api.count(2)
    assert api.scrape() == 3


def test_where_the_store_never_answered_one_of_several_shows_no_counts(make: Any) -> None:
    api = make(fail, serves=True, alone=False)
    api.count(1)
    api.start()
    assert api.relay.state.settled.wait(5)
    assert api.scrape() is None


def test_store_that_never_answers_holds_up_nobody_who_asks(make: Any) -> None:
    release = threading.Event()
    api = make(lambda: release.wait(10) and fail(), serves=True)
    api.start()
    api.count(3)
    assert api.scrape() is None
    assert api.relay.origins.pop("task") is None
    release.set()


def test_store_away_a_process_alone_shows_the_last_total_and_its_own_counts(
    make: Any, open_store: Any, eventually: Any
) -> None:
    store = _Breakable(open_store())
    api, worker = make(lambda: store, serves=True), make()
    for each in (api, worker):
        each.count(2)
        each.start()
        assert each.relay.state.settled.wait(5)
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
        each.start()
        assert each.relay.state.settled.wait(5)
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
    api.start()
    api.count()
    assert eventually(lambda: api.scrape() == 1)
    store.error = error
    api.relay.origins.push("task", ("request-1", "a" * 32, "b" * 16, True))
    api.count()
    assert api.scrape() in (2, None)
    store.error = None
    assert eventually(lambda: api.scrape() == 2)
    store.error = error
    api.relay.stop()


class _Breakable:
    """A store that fails while it is told to."""

    name = "breakable"

    def __init__(self, store: Any) -> None:
        self.error: Exception | None = None
        self.can_read = False
        """Whether it can be read though it fails."""
        self._store = store

    def __getattr__(self, name: str) -> Any:
        def call(*args: Any, **kwargs: Any) -> Any:
            if self.error is not None and name != "close" and not (self.can_read and name == "read"):
                raise self.error
            return getattr(self._store, name)(*args, **kwargs)

        return call


def test_while_another_process_holds_the_file_its_total_is_shown(make: Any, open_store: Any, eventually: Any) -> None:
    store = _Breakable(open_store())
    api, other = make(lambda: store, serves=True), make(serves=True)
    for each in (api, other):
        each.start()
        assert each.relay.state.settled.wait(5)
    other.count(3)
    assert other.scrape() == 3
    store.error, store.can_read = ClusterBusyError("locked"), True
    api.count()
    failures = api.metrics.relay_failures.labels("store")
    assert eventually(lambda: failures.value > 2)  # also when that is known
    assert api.scrape() == 3
    store.error = None
    assert eventually(lambda: api.scrape() == 4)


class _Hanging:
    """A store that hangs until it is told to go on, and notes how many threads ask it at once."""

    name = "hanging"

    def __init__(self, store: Any) -> None:
        self.hangs, self.go_on = threading.Event(), threading.Event()
        self.inside = self.most = 0
        self._store = store

    def __getattr__(self, name: str) -> Any:
        def call(*args: Any, **kwargs: Any) -> Any:
            self.inside += 1
            self.most = max(self.most, self.inside)
            self.hangs.set()
            try:
                assert self.go_on.wait(10)
                return getattr(self._store, name)(*args, **kwargs)
            finally:
                self.inside -= 1

        return call


def test_stopped_while_the_store_hangs_and_started_again_one_thread_asks_at_a_time(
    make: Any, open_store: Any, eventually: Any
) -> None:
    store = _Hanging(open_store())
    api = make(lambda: store, serves=True)
    api.count(2)
    api.start()
    assert store.hangs.wait(5)
    api.relay.stop()
    api.start()
    api.count(3)
    store.go_on.set()
    assert eventually(lambda: api.scrape() == 5)
    assert eventually(lambda: sum(t.name == "observability-relay" for t in threading.enumerate()) <= 1)
    assert api.scrape() == 5
    assert store.most == 1


def test_a_forked_child_counts_from_zero_under_an_id_of_its_own(
    make: Any, eventually: Any, in_forked_child: Any
) -> None:
    api, worker = make(serves=True), make()
    api.start()
    worker.start()
    worker.count(5)
    assert eventually(lambda: api.scrape() == 5)

    def child() -> bytes:
        worker.count(2)
        worker.start()
        assert worker.relay.state.settled.wait(5)
        worker.relay.stop()
        return worker.relay.exchange._publisher.id.encode()

    assert in_forked_child(child).decode() != worker.relay.exchange._publisher.id
    assert eventually(lambda: api.scrape() == 7)
    worker.count()
    assert eventually(lambda: api.scrape() == 8)


def test_a_child_forked_again_and_again_is_counted_once(make: Any, eventually: Any, in_forked_child: Any) -> None:
    api, worker = make(serves=True), make()
    api.start()
    worker.count(3)

    def child() -> bytes:
        worker.count(10)
        pid = os.fork()
        if pid == 0:
            worker.count(100)
            worker.start()
            worker.relay.state.settled.wait(5)
            worker.relay.stop()
            os._exit(0)
        os.waitpid(pid, 0)
        worker.start()
        worker.relay.state.settled.wait(5)
        worker.relay.stop()
        return b"done"

    assert in_forked_child(child) == b"done"
    worker.start()
    assert eventually(lambda: api.scrape() == 113)
