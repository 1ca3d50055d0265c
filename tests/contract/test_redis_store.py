"""The Redis store where its server misbehaves."""

from __future__ import annotations

import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import redis

from ordinaut_ext_observability.cli.demo.servers import RedisServer
from ordinaut_ext_observability.relay.base import Published, Reading, StoreUnavailableError
from ordinaut_ext_observability.relay.redis import RedisStore

A = "a" * 32
ReadAll = Callable[[Any], Reading]


@pytest.fixture
def open_store() -> Iterator[Callable[..., RedisStore]]:
    opened: list[RedisStore] = []

    def run(url: str, interval_seconds: float = 0.1) -> RedisStore:
        opened.append(RedisStore(url, interval_seconds=interval_seconds, expiry_seconds=3.0))
        return opened[-1]

    yield run
    for store in opened:
        store.close()


@pytest.fixture
def admin(own_server: RedisServer) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(own_server.url) as client:
        yield client


@pytest.fixture
def unix_socket(own_server: RedisServer, tmp_path: Path) -> Iterator[Path]:
    """The server behind a Unix socket, for one connection."""
    path = tmp_path / "socket"

    def forward(source: socket.socket, target: socket.socket) -> None:
        while received := source.recv(65536):
            target.sendall(received)
        target.shutdown(socket.SHUT_WR)

    def serve() -> None:
        with listener.accept()[0] as client, socket.create_connection(("127.0.0.1", own_server.port)) as server:
            back = threading.Thread(target=forward, args=(server, client))
            back.start()
            forward(client, server)
            back.join(10)

    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        thread = threading.Thread(target=serve)
        thread.start()
        yield path
        thread.join(10)


def failures(store: RedisStore) -> list[str]:
    """The message of each call, all of which fail."""
    calls: list[Callable[[], object]] = [
        lambda: store.publish(A, 1, b"x", last_store=""),
        lambda: store.read({}, store="", retired_version=0),
        lambda: store.push_origin("task", b"x", ttl_seconds=60),
        lambda: store.pop_origin("task"),
    ]
    messages = []
    for call in calls:
        with pytest.raises(StoreUnavailableError) as raised:
            call()
        assert raised.value.__suppress_context__
        messages.append(str(raised.value))
    return messages


def test_opens_no_connection_before_the_first_call(open_store: Any, free_port: Callable[[], int]) -> None:
    store = open_store(f"redis://127.0.0.1:{free_port()}/0")
    assert set(failures(store)) == {"Redis cannot be reached"}


def test_a_server_that_stops_and_starts_again_empty(open_store: Any, own_server: RedisServer) -> None:
    store = open_store(own_server.url)
    published = store.publish(A, 1, b"x", last_store="")
    own_server.stop(keep=True)
    assert set(failures(store)) == {"Redis cannot be reached"}
    own_server.start()
    again = store.publish(A, 2, b"x", last_store=published.store)
    assert isinstance(again, Published)
    assert again.store != published.store


def test_a_server_that_starts_again_from_a_snapshot_is_another(
    open_store: Any, own_server: RedisServer, admin: redis.Redis, read_all: ReadAll
) -> None:
    """The snapshot may be older than what the store last said it had stored."""
    store = open_store(own_server.url)
    published = store.publish(A, 1, b"x", last_store="")
    admin.save()
    assert isinstance(store.publish(A, 2, b"x", last_store=published.store), Published)
    admin.close()
    own_server.stop(keep=True)
    own_server.start()
    reading = read_all(store)
    assert [vector.sequence for vector in reading.vectors] == [1]
    assert reading.store != published.store


def test_a_server_that_does_not_answer(open_store: Any, own_server: RedisServer) -> None:
    connected, not_connected = open_store(own_server.url), open_store(own_server.url)
    connected.publish(A, 1, b"x", last_store="")
    connected.pop_origin("task")
    assert own_server.process is not None
    own_server.process.send_signal(signal.SIGSTOP)
    for store in (connected, not_connected):
        begin = time.monotonic()
        with pytest.raises(StoreUnavailableError, match=r"^Redis does not answer in time$"):
            store.publish(A, 2, b"x", last_store="")
        assert time.monotonic() - begin < 2.5
        begin = time.monotonic()
        with pytest.raises(StoreUnavailableError, match=r"^Redis does not answer in time$"):
            store.pop_origin("task")
        assert time.monotonic() - begin < 0.9
    own_server.process.send_signal(signal.SIGCONT)
    assert isinstance(connected.publish(A, 3, b"x", last_store=""), Published)


def test_scripts_that_the_server_forgot_are_sent_again(
    open_store: Any, own_server: RedisServer, admin: redis.Redis, read_all: ReadAll
) -> None:
    store = open_store(own_server.url)
    for sequence in (1, 2):
        admin.script_flush()
        assert isinstance(store.publish(A, sequence, b"x", last_store=""), Published)
        admin.script_flush()
        store.push_origin("task", b"x", ttl_seconds=60)
        admin.script_flush()
        assert store.pop_origin("task") == b"x"
        admin.script_flush()
        assert read_all(store).vectors


def test_the_password_is_in_no_message(open_store: Any, own_server: RedisServer, admin: redis.Redis) -> None:
    admin.config_set("requirepass", "s3cret")
    host = f"127.0.0.1:{own_server.port}/0"
    assert isinstance(open_store(f"redis://:s3cret@{host}").publish(A, 1, b"x", last_store=""), Published)
    for userinfo in (":wr0ng", "alice:wr0ng"):
        assert set(failures(open_store(f"redis://{userinfo}@{host}"))) == {"Redis does not accept the user or password"}
    assert set(failures(open_store(f"redis://{host}"))) == {"Redis does not accept the user or password"}
    own_server.stop(keep=True)
    assert set(failures(open_store(f"redis://alice:s3cret@{host}"))) == {"Redis cannot be reached"}
    own_server.start()


def test_a_user_without_permissions_is_not_named(open_store: Any, own_server: RedisServer, admin: redis.Redis) -> None:
    admin.acl_setuser("alice", enabled=True, passwords=["+s3cret"], commands=["+ping"], keys=["*"])
    messages = failures(open_store(f"redis://alice:s3cret@127.0.0.1:{own_server.port}/0"))
    assert "alice" not in " ".join(messages)


def test_a_user_that_may_not_give_a_connection_a_name_can_use_it(
    open_store: Any, own_server: RedisServer, admin: redis.Redis
) -> None:
    admin.acl_setuser(
        "alice",
        enabled=True,
        passwords=["+s3cret"],
        categories=["+@all"],
        commands=["-client"],
        keys=["{ordinaut-observability}:*"],
    )
    store = open_store(f"redis://alice:s3cret@127.0.0.1:{own_server.port}/0")
    assert isinstance(store.publish(A, 1, b"x", last_store=""), Published)
    store.push_origin("task", b"x", ttl_seconds=60)
    assert store.pop_origin("task") == b"x"


def test_connections_have_a_name(open_store: Any, own_server: RedisServer, admin: redis.Redis) -> None:
    open_store(own_server.url).publish(A, 1, b"x", last_store="")
    assert "ordinaut-observability" in [client["name"] for client in admin.client_list()]


def test_a_user_that_may_not_ask_for_the_run_can_use_it(
    open_store: Any, own_server: RedisServer, admin: redis.Redis, read_all: ReadAll
) -> None:
    admin.acl_setuser(
        "alice",
        enabled=True,
        passwords=["+s3cret"],
        categories=["+@all", "-@dangerous"],
        keys=["{ordinaut-observability}:*"],
    )
    store = open_store(f"redis://alice:s3cret@127.0.0.1:{own_server.port}/0")
    published = store.publish(A, 1, b"x", last_store="")
    assert isinstance(published, Published)
    assert read_all(store).store == published.store


def test_a_unix_socket(unix_socket: Path, open_store: Any, read_all: ReadAll) -> None:
    store = open_store(f"unix://{unix_socket}?db=0")
    store.publish(A, 1, b"x", last_store="")
    assert list(read_all(store).seen_seconds) == [A]


@pytest.mark.parametrize("url", ["http://s3cret@host", "redis://:s3cret/x@host:s3cret", "s3cret"])
def test_a_url_that_cannot_be_read_is_not_quoted(url: str) -> None:
    with pytest.raises(StoreUnavailableError, match=r"^the URL of Redis cannot be read$") as raised:
        RedisStore(url, interval_seconds=1.0, expiry_seconds=30.0)
    assert raised.value.__suppress_context__


def test_options_in_the_url_change_neither_bytes_nor_time_outs(
    open_store: Any, redis_url: str, read_all: ReadAll
) -> None:
    store = open_store(f"{redis_url}?decode_responses=true&socket_timeout=600")
    store.publish(A, 1, b"\xff\xfe", last_store="")
    assert read_all(store).vectors[0].content == b"\xff\xfe"


def test_the_newer_protocol(open_store: Any, redis_url: str, read_all: ReadAll) -> None:
    store = open_store(f"{redis_url}?protocol=3")
    store.publish(A, 1, b"\xff\xfe", last_store="")
    reading = read_all(store)
    assert (reading.vectors[0].content, list(reading.seen_seconds)) == (b"\xff\xfe", [A])


def test_all_keys_have_the_hash_tag_and_interval(open_store: Any, redis_url: str, read_all: ReadAll) -> None:
    store, other = open_store(redis_url, 0.25), open_store(redis_url, 15.0)
    store.publish(A, 1, b"x", last_store="")
    store.push_origin("task", b"x", ttl_seconds=60)
    with redis.Redis.from_url(redis_url) as client:
        keys = client.keys()
        assert len(keys) == 4
        assert all(key.startswith(b"{ordinaut-observability}:relay:250:") for key in keys)
        assert 0 < client.ttl("{ordinaut-observability}:relay:250:origin:task") <= 60
        assert client.ttl(f"{{ordinaut-observability}}:relay:250:vector:{A}") == -1
    assert read_all(other).vectors == ()
    assert other.pop_origin("task") is None


def test_evicted_vectors_hinder_neither_publishing_nor_folding(
    open_store: Any, redis_url: str, read_all: ReadAll
) -> None:
    store = open_store(redis_url)
    published = store.publish(A, 1, b"x", last_store="")
    with redis.Redis.from_url(redis_url) as client:
        client.delete(f"{{ordinaut-observability}}:relay:100:vector:{A}")
        assert isinstance(store.publish(A, 2, b"x", last_store=published.store), Published)
        client.delete(f"{{ordinaut-observability}}:relay:100:vector:{A}")
    retired = read_all(store).retired
    assert store.fold(
        store=published.store, expected_version=0, retired=type(retired)(1, b"total", {A: 2}), folding={A: 2}
    )
    assert read_all(store).seen_seconds == {}


def test_an_evicted_incarnation_is_not_silent_for_ever(redis_place: Any, redis_url: str, read_all: ReadAll) -> None:
    store = redis_place.open()
    redis_place.publish(store, A)
    redis_place.publish(store, "b" * 32)
    with redis.Redis.from_url(redis_url) as client:
        client.delete(f"{{ordinaut-observability}}:relay:100:vector:{A}")
    redis_place.wait_epochs(9)
    assert redis_place.publish(store, "c" * 32).silent == 1
    assert list(read_all(store).seen_seconds) == ["b" * 32, "c" * 32]


def test_an_evicted_total_makes_it_another_store(open_store: Any, redis_url: str, read_all: ReadAll) -> None:
    store = open_store(redis_url)
    before = store.publish(A, 1, b"x", last_store="").store
    with redis.Redis.from_url(redis_url) as client:
        client.delete("{ordinaut-observability}:relay:100:retired")
    assert read_all(store).store != before


def test_a_server_out_of_memory(
    open_store: Any, own_server: RedisServer, admin: redis.Redis, read_all: ReadAll
) -> None:
    store = open_store(own_server.url)
    store.publish(A, 1, b"x", last_store="")
    admin.config_set("maxmemory", "1")
    with pytest.raises(StoreUnavailableError, match=r"^Redis is out of memory$"):
        store.publish("b" * 32, 1, b"x", last_store="")
    assert len(read_all(store).vectors) == 1
