"""RelayStore behind one face: on a real server, in a file and in memory."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import redis

from ordinaut_ext_observability.demo.servers import RedisServer
from ordinaut_ext_observability.cluster.sqlite import MEMORY
from ordinaut_ext_observability.relay.redis_store import RedisRelayStore
from ordinaut_ext_observability.relay.sqlite_store import SqliteRelayStore
from ordinaut_ext_observability.relay.store import RelayStore
from tests.clock import ManualClock


class Place:
    """Where the stores of several processes are one and the same."""

    def __init__(
        self, connect: Callable[[], RelayStore], wait: Callable[[float], object], lose: Callable[[], object]
    ) -> None:
        self._connect = connect
        self.wait = wait
        self.lose = lose
        """Delete all that is stored."""
        self.has_processes = True
        self.clock = ManualClock()
        self._opened: list[RelayStore] = []

    def open(self) -> RelayStore:
        """The store as another process has it."""
        self._opened.append(self._connect())
        return self._opened[-1]

    def close(self) -> None:
        for stores in self._opened:
            stores.close()


@pytest.fixture
def redis_place(redis_url: str) -> Iterator[Place]:
    def lose() -> None:
        with redis.Redis.from_url(redis_url) as client:
            client.flushall()

    place = Place(lambda: RedisRelayStore(redis_url, "mine"), time.sleep, lose)
    yield place
    place.close()


@pytest.fixture
def file_place(tmp_path: Path) -> Iterator[Place]:
    path, clock = tmp_path / "private" / "store.sqlite", ManualClock()

    def lose() -> None:
        for file in path.parent.iterdir():
            file.unlink()

    place = Place(lambda: SqliteRelayStore(str(path), clock), clock.advance, lose)
    place.clock = clock
    yield place
    place.close()


@pytest.fixture
def memory_place() -> Iterator[Place]:
    clock = ManualClock()
    stores = SqliteRelayStore(MEMORY, clock)
    place = Place(lambda: stores, clock.advance, stores.close)
    place.has_processes = False
    yield place
    place.close()


@pytest.fixture(params=["redis_place", "file_place", "memory_place"], ids=["redis", "file", "memory"])
def place(request: pytest.FixtureRequest) -> Any:
    return request.getfixturevalue(request.param)


@pytest.fixture
def relay(place: Place) -> RelayStore:
    return place.open()


@pytest.fixture
def own_server(redis_server: RedisServer) -> Iterator[RedisServer]:
    """A server that the test may stop; there is one only where there is the shared one."""
    server = RedisServer()
    server.start()
    yield server
    server.stop()
