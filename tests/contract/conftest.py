"""The two relay stores behind one face, on a real server and a real directory."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import redis

from ordinaut_ext_observability.cli.demo.servers import RedisServer
from ordinaut_ext_observability.relay.base import (
    NOTHING_RETIRED,
    Published,
    Reading,
    RelayStore,
    Retired,
)
from ordinaut_ext_observability.relay.directory import DirectoryStore
from ordinaut_ext_observability.relay.redis import RedisStore

REDIS_INTERVAL_SECONDS = 0.1
DIRECTORY_INTERVAL_SECONDS = 15.0
EXPIRY_INTERVALS = 4


class ManualClock:
    """Both clocks, moved by hand."""

    def __init__(self) -> None:
        self.now = 1_700_000_000.0

    def monotonic(self) -> float:
        return self.now

    def wall(self) -> float:
        return self.now


class Place:
    """Where the stores of several processes are one and the same."""

    interval_seconds: float
    lose: Callable[[], object]
    """Delete all that is stored."""

    def __init__(self) -> None:
        self._opened: list[RelayStore] = []
        self._publications: dict[str, int] = {}

    def _make(self) -> RelayStore:
        raise NotImplementedError

    def wait(self, seconds: float) -> None:
        raise NotImplementedError

    def open(self) -> RelayStore:
        """The store as another process has it."""
        self._opened.append(self._make())
        return self._opened[-1]

    def close(self) -> None:
        for store in self._opened:
            store.close()

    def wait_epochs(self, count: int = 1) -> None:
        self.wait(count * self.interval_seconds)

    def epoch(self, now_seconds: float) -> int:
        return int(now_seconds / self.interval_seconds)

    def publish(self, store: RelayStore, incarnation: str, content: bytes = b"x", last_store: str = "") -> Published:
        """Publish under the next sequence."""
        sequence = self._publications[incarnation] = self._publications.get(incarnation, 0) + 1
        published = store.publish(incarnation, sequence, content, last_store=last_store)
        assert isinstance(published, Published)
        return published

    def publish_in_each_epoch(self, store: RelayStore, incarnation: str, count: int) -> list[tuple[int, int]]:
        """Epoch and sequence of each vector that no other took the place of."""
        newest: dict[int, int] = {}
        for sequence in range(1, count + 1):
            published = self.publish(store, incarnation, str(sequence).encode())
            newest[self.epoch(published.now_seconds)] = sequence
            self.wait_epochs()
        return sorted(newest.items())

    def fold(self, store: RelayStore, incarnations: Sequence[str], content: bytes = b"total") -> bool:
        """Fold what is there of these."""
        reading = read_all(store)
        newest = {vector.incarnation: vector.sequence for vector in reading.vectors}
        folding = {incarnation: newest[incarnation] for incarnation in incarnations}
        before = reading.retired or NOTHING_RETIRED
        return store.fold(
            store=reading.store,
            expected_version=before.version,
            retired=Retired(before.version + 1, content, {**before.folded, **folding}),
            folding=folding,
        )


class RedisPlace(Place):
    interval_seconds = REDIS_INTERVAL_SECONDS

    def __init__(self, url: str) -> None:
        super().__init__()
        self._url = url

    def _make(self) -> RelayStore:
        return RedisStore(
            self._url,
            interval_seconds=self.interval_seconds,
            expiry_seconds=EXPIRY_INTERVALS * self.interval_seconds,
        )

    def wait(self, seconds: float) -> None:
        time.sleep(seconds)

    def lose(self) -> None:
        with redis.Redis.from_url(self._url) as client:
            client.flushall()


class DirectoryPlace(Place):
    interval_seconds = DIRECTORY_INTERVAL_SECONDS

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path = path
        self.clock = ManualClock()

    @property
    def folder(self) -> Path:
        """That of the interval."""
        return self.path / "15000"

    def _make(self) -> RelayStore:
        return DirectoryStore(
            self.path,
            interval_seconds=self.interval_seconds,
            expiry_seconds=EXPIRY_INTERVALS * self.interval_seconds,
            clock=self.clock,
        )

    def wait(self, seconds: float) -> None:
        self.clock.now += seconds

    def lose(self) -> None:
        shutil.rmtree(self.path)


def read_all(store: RelayStore) -> Reading:
    return store.read({}, store="", retired_version=0)


@pytest.fixture(scope="session", name="read_all")
def _read_all() -> Callable[[RelayStore], Reading]:
    return read_all


@pytest.fixture
def new_id() -> Callable[[], str]:
    return lambda: os.urandom(16).hex()


@pytest.fixture
def redis_place(redis_url: str) -> Iterator[RedisPlace]:
    place = RedisPlace(redis_url)
    yield place
    place.close()


@pytest.fixture
def directory_place(tmp_path: Path) -> Iterator[DirectoryPlace]:
    place = DirectoryPlace(tmp_path / "relay")
    yield place
    place.close()


@pytest.fixture(params=["redis_place", "directory_place"], ids=["redis", "directory"])
def place(request: pytest.FixtureRequest) -> Any:
    return request.getfixturevalue(request.param)


@pytest.fixture
def store(place: Place) -> RelayStore:
    return place.open()


@pytest.fixture
def own_server(redis_server: RedisServer) -> Iterator[RedisServer]:
    """A server that the test may stop; there is one only where there is the shared one."""
    server = RedisServer()
    server.start()
    yield server
    server.stop()
