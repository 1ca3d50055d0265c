"""What the processes of one installation share, over a real server, a file and in memory: one contract."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from ordinaut_ext_observability.background.clock import Clock
from ordinaut_ext_observability.background import fork
from ordinaut_ext_observability.cluster import base, redis, sqlite
from ordinaut_ext_observability.cluster.base import Append, Cluster, ClusterUnavailableError, Document, Put, Record
from ordinaut_ext_observability.cluster.redis import RedisCluster
from ordinaut_ext_observability.cluster.sqlite import MEMORY, SqliteCluster
from tests.clock import ManualClock

SHORT_SECONDS = 0.05

HOLDER = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute(sys.argv[2])
print("ready", flush=True)
sys.stdin.read()
"""


class Installation:
    """One place, opened by as many processes as a test wants."""

    def __init__(self, connect: Callable[[], Cluster]) -> None:
        self._connect = connect
        self.opened: list[Cluster] = []

    def open(self) -> Cluster:
        self.opened.append(self._connect())
        return self.opened[-1]


@pytest.fixture(params=["redis", "file", "memory"])
def installation(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Installation]:
    if request.param == "redis":
        url = request.getfixturevalue("redis_url")
        place = Installation(lambda: RedisCluster(url, "mine"))
    elif request.param == "file":
        path = str(tmp_path / "private" / "cluster.sqlite")
        place = Installation(lambda: SqliteCluster(path, Clock()))
    else:
        shared = SqliteCluster(MEMORY, Clock())
        place = Installation(lambda: shared)
    yield place
    for cluster in place.opened:
        cluster.close()


@pytest.fixture
def cluster(installation: Installation) -> Cluster:
    return installation.open()


def test_lease_has_one_holder_until_it_is_released(installation: Installation) -> None:
    first, second = installation.open(), installation.open()
    assert first.hold_lease("alerts", "a", 60)
    assert not second.hold_lease("alerts", "b", 60)
    assert first.hold_lease("alerts", "a", 60)
    assert second.hold_lease("collectors", "b", 60)
    second.release_lease("alerts", "b")
    assert not second.hold_lease("alerts", "b", 60)
    first.release_lease("alerts", "a")
    assert second.hold_lease("alerts", "b", 60)


def test_lease_ends_with_its_time(installation: Installation) -> None:
    first, second = installation.open(), installation.open()
    assert first.hold_lease("alerts", "a", SHORT_SECONDS)
    deadline = time.monotonic() + 5
    while not second.hold_lease("alerts", "b", 60):
        assert time.monotonic() < deadline
    assert not first.hold_lease("alerts", "a", 60)


def test_document_that_was_never_written_is_empty(cluster: Cluster) -> None:
    assert cluster.get("nothing") == Document(0, b"")


@pytest.mark.parametrize("content", [b"", b"\x00\xff\n", os.urandom(200_000)], ids=["empty", "binary", "large"])
def test_document_comes_back_as_it_was_written(installation: Installation, content: bytes) -> None:
    assert installation.open().write([Put("states", 0, content)])
    assert installation.open().get("states") == Document(1, content)


def test_document_is_written_only_over_the_version_that_was_read(installation: Installation) -> None:
    first, second = installation.open(), installation.open()
    assert first.write([Put("states", 0, b"1")])
    assert not second.write([Put("states", 0, b"other")])
    assert second.write([Put("states", 1, b"2")])
    assert not first.write([Put("states", 1, b"other")])
    assert not first.write([Put("states", 5, b"other")])
    assert not first.write([Put("missing", 1, b"other")])
    assert first.get("states") == Document(2, b"2")
    assert first.get("missing") == Document(0, b"")


def test_rows_are_taken_once_and_in_order(installation: Installation) -> None:
    first, second = installation.open(), installation.open()
    assert first.write(rows=[Append("outbox", b"1", 60), Append("other", b"x", 60), Append("outbox", b"2", 60)])
    assert second.write(rows=[Append("outbox", b"\x00 3", 60)])
    assert second.take("outbox", 2) == [b"1", b"2"]
    assert first.take("outbox", 2) == [b"\x00 3"]
    assert second.take("outbox") == []
    assert second.take("other") == [b"x"]


def test_row_that_expired_is_not_handed_out(cluster: Cluster) -> None:
    cluster.write(rows=[Append("outbox", b"short", SHORT_SECONDS), Append("outbox", b"long", 60)])
    time.sleep(2 * SHORT_SECONDS)
    assert cluster.take("outbox", 10) == [b"long"]


def test_documents_and_rows_are_written_together_or_not_at_all(cluster: Cluster) -> None:
    assert cluster.write([Put("states", 0, b"1"), Put("silences", 0, b"1")], [Append("outbox", b"1", 60)])
    assert not cluster.write([Put("states", 1, b"2"), Put("silences", 7, b"2")], [Append("outbox", b"2", 60)])
    assert cluster.get("states") == Document(1, b"1")
    assert cluster.take("outbox", 10) == [b"1"]


def test_queue_that_nobody_empties_keeps_the_newest(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (base, redis, sqlite):
        monkeypatch.setattr(module, "QUEUE_ROWS", 3)
    cluster.write(rows=[Append("outbox", str(number).encode(), 60) for number in range(5)])
    assert cluster.take("outbox", 10) == [b"2", b"3", b"4"]


def test_records_are_kept_by_key_until_they_go(installation: Installation) -> None:
    first, second = installation.open(), installation.open()
    assert first.write(
        records=[Record("silences", "a", b"1"), Record("silences", "b", b"", 60), Record("acks", "a", b"2")]
    )
    assert second.records("silences", "acks", "none") == [{"a": b"1", "b": b""}, {"a": b"2"}, {}]
    assert second.write(records=[Record("silences", "a", b"\x00\xff"), Record("silences", "b", None)])
    assert first.records("silences") == [{"a": b"\x00\xff"}]
    assert first.records() == []


def test_record_ends_with_its_time_and_is_kept_again_without_one(cluster: Cluster) -> None:
    cluster.write(records=[Record("acks", key, b"1", SHORT_SECONDS) for key in "abc"])
    cluster.write(records=[Record("acks", "b", b"2"), Record("acks", "c", b"3", 60)])
    time.sleep(2 * SHORT_SECONDS)
    assert cluster.records("acks") == [{"b": b"2", "c": b"3"}]


def test_records_are_written_with_documents_or_not_at_all(cluster: Cluster) -> None:
    assert cluster.write([Put("states", 0, b"1")], records=[Record("outbox", "a", b"1")])
    assert not cluster.write([Put("states", 7, b"2")], [Append("other", b"1", 60)], [Record("outbox", "a", None)])
    assert (cluster.records("outbox"), cluster.take("other")) == ([{"a": b"1"}], [])


def test_full_table_loses_the_records_that_end_first_and_none_without_a_time(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (base, redis, sqlite):
        monkeypatch.setattr(module, "TABLE_RECORDS", 2)
    cluster.write(records=[Record("journal", "stays", b"")])
    cluster.write(records=[Record("journal", str(number), b"", 60 + number) for number in range(5)])
    assert set(cluster.records("journal")[0]) == {"stays", "3", "4"}


@pytest.mark.parametrize("name", ["", "a b", "ünïcode", "\udcff", "x" * 500, "a'b\"c;--", "{tag}:1"])
def test_any_name_will_do(cluster: Cluster, name: str) -> None:
    assert cluster.hold_lease(name, "a", 60)
    assert cluster.write([Put(name, 0, b"1")], [Append(name, b"2", 60)])
    assert (cluster.get(name), cluster.take(name)) == (Document(1, b"1"), [b"2"])
    assert cluster.write(records=[Record(name, "ü", b"3")])
    assert cluster.records(name) == [{"ü": b"3"}]


def test_writers_at_the_same_time_lose_nothing(installation: Installation) -> None:
    """Each adds to one document until it has added its share."""
    installation.open().write([Put("sum", 0, b"0")])
    clusters = [installation.open() for _ in range(3)]

    def add(cluster: Any) -> None:
        added = 0
        while added < 20:
            held = cluster.get("sum")
            added += cluster.write([Put("sum", held.version, str(int(held.content) + 1).encode())])

    if len(set(map(id, clusters))) == 1:
        clusters = clusters[:1] * 1  # in memory there is one process
    threads = [threading.Thread(target=add, args=(cluster,)) for cluster in clusters]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert installation.open().get("sum") == Document(20 * len(clusters) + 1, str(20 * len(clusters)).encode())


def test_installations_on_one_server_do_not_meet(redis_url: str) -> None:
    mine, other = RedisCluster(redis_url, "mine"), RedisCluster(redis_url, "other")
    mine.write([Put("states", 0, b"mine")], [Append("outbox", b"mine", 60)])
    assert mine.hold_lease("alerts", "a", 60)
    assert other.get("states") == Document(0, b"")
    assert other.take("outbox") == []
    assert other.hold_lease("alerts", "b", 60)
    mine.close()
    other.close()


def test_server_that_is_gone_is_said_without_its_url() -> None:
    cluster = RedisCluster("redis://user:secret@127.0.0.1:1/0", "mine")
    with pytest.raises(ClusterUnavailableError, match="^Redis cannot be reached$"):
        cluster.get("states")
    with pytest.raises(ClusterUnavailableError, match="^the URL of Redis cannot be read$"):
        RedisCluster("redis://user:sec:ret@[::1/0", "mine")


class TestFile:
    """What is particular to a file."""

    @pytest.fixture(autouse=True)
    def _closed_at_the_end(self) -> Iterator[None]:
        self._made: list[SqliteCluster] = []
        yield
        for cluster in self._made:
            cluster.close()

    def make(self, path: Path, clock: Any = None) -> SqliteCluster:
        self._made.append(SqliteCluster(str(path), clock or Clock()))
        return self._made[-1]

    def test_file_and_folder_are_private(self, tmp_path: Path) -> None:
        path = tmp_path / "new" / "cluster.sqlite"
        self.make(path).get("states")
        assert path.stat().st_mode & 0o777 == 0o600
        assert path.parent.stat().st_mode & 0o777 == 0o700

    @pytest.mark.parametrize("kind", ["link", "device", "pipe", "folder", "writable", "writable folder", "other user"])
    def test_file_that_somebody_else_may_have_made_is_refused(self, tmp_path: Path, kind: str) -> None:
        path = tmp_path / "store" / "cluster.sqlite"
        path.parent.mkdir(mode=0o700)
        if kind == "link":
            path.symlink_to("/dev/zero")
        elif kind == "device":
            if os.geteuid() != 0:
                pytest.skip("only root makes devices")
            os.mknod(path, 0o600 | 0o020000, os.makedev(1, 5))
        elif kind == "pipe":
            os.mkfifo(path, 0o600)
        elif kind == "folder":
            path.mkdir()
        elif kind == "writable folder":
            path.parent.chmod(0o770)
        else:
            path.touch(0o600)
            if kind == "writable":
                path.chmod(0o666)
            elif os.geteuid() == 0:
                os.chown(path, 12345, 12345)
            else:
                pytest.skip("only root gives files away")
        with pytest.raises(ClusterUnavailableError):
            self.make(path).get("states")

    def test_deleted_file_begins_anew(self, tmp_path: Path) -> None:
        path = tmp_path / "cluster.sqlite"
        tmp_path.chmod(0o700)
        cluster = self.make(path)
        cluster.write([Put("states", 0, b"1")])
        for file in tmp_path.glob("cluster.sqlite*"):
            file.unlink()
        assert cluster.get("states") == Document(0, b"")
        assert cluster.write([Put("states", 0, b"2")])

    def test_damaged_file_begins_anew(self, tmp_path: Path) -> None:
        path = tmp_path / "cluster.sqlite"
        tmp_path.chmod(0o700)
        path.write_bytes(b"no database" * 1000)
        path.chmod(0o600)
        cluster = self.make(path)
        with pytest.raises(ClusterUnavailableError):
            cluster.get("states")
        assert cluster.write([Put("states", 0, b"1")])

    def test_clock_set_back_does_not_hold_a_lease_for_ever(self, tmp_path: Path) -> None:
        tmp_path.chmod(0o700)
        clock = ManualClock()
        first, second = (self.make(tmp_path / "cluster.sqlite", clock) for _ in range(2))
        assert first.hold_lease("alerts", "a", 60)
        clock.now -= 86_400
        assert second.hold_lease("alerts", "b", 60)

    def test_writer_that_was_stopped_in_the_middle_is_not_waited_for(self, tmp_path: Path) -> None:
        tmp_path.chmod(0o700)
        other, cluster = self.make(tmp_path / "cluster.sqlite"), self.make(tmp_path / "cluster.sqlite")
        cluster.write([Put("states", 0, b"1")])
        with other.transaction(write=True):
            with pytest.raises(ClusterUnavailableError, match="locked"):
                cluster.write([Put("states", 1, b"2")])
            assert cluster.get("states") == Document(1, b"1")

    @pytest.mark.parametrize("last", ["parent", "child"])
    def test_what_a_forked_child_and_its_parent_write_is_kept_whoever_closes_first(
        self, tmp_path: Path, last: str
    ) -> None:
        """SQLite notes which locks a process has: a child with the parent's notes would write where nobody reads."""
        cluster = self.make(tmp_path / "store" / "cluster.sqlite")
        assert cluster.write([Put("parent", 0, b"1")])
        (read, write), (go_on, told) = os.pipe(), os.pipe()
        child = os.fork()
        if child == 0:
            kept = cluster.write([Put("child", 0, b"1")])
            if last == "parent":
                cluster.close()
            os.write(write, b".")
            os.read(go_on, 1)
            os._exit(0 if kept and cluster.write([Put("child", 1, b"2")]) else 1)
        os.read(read, 1)
        assert cluster.write([Put("parent", 1, b"2")])
        cluster.close()
        os.write(told, b".")
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        assert [cluster.get(name) for name in ("parent", "child")] == [Document(2, b"2")] * 2
        for descriptor in (read, write, go_on, told):
            os.close(descriptor)

    @pytest.mark.parametrize("state", ["waits for another process", "is in the middle"])
    def test_a_fork_while_a_thread_uses_the_file(
        self, tmp_path: Path, state: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """It need not wait for another process; where SQLite itself takes long, the child may not use it."""
        monkeypatch.setattr(fork, "_WAIT_SECONDS", 0.2 if state == "is in the middle" else 60)
        monkeypatch.setattr(sqlite, "_BUSY_SECONDS", 60)
        cluster = self.make(tmp_path / "store" / "cluster.sqlite")
        cluster.write([Put("states", 0, b"1")])
        entered, leave = threading.Event(), threading.Event()

        def be_in_the_middle() -> None:
            with cluster.transaction(write=True):
                entered.set()
                leave.wait(60)

        def wait_for_another() -> None:
            entered.set()
            cluster.write([Put("states", 1, b"2")])

        holder = subprocess.Popen(
            [sys.executable, "-c", HOLDER, cluster.path, "BEGIN" + " IMMEDIATE" * state.startswith("waits")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        with holder:
            assert holder.stdout is not None and holder.stdout.readline()
            thread = threading.Thread(
                target=be_in_the_middle if state == "is in the middle" else wait_for_another, daemon=True
            )
            thread.start()
            assert entered.wait(10)
            child = os.fork()
            if child == 0:
                try:
                    os._exit(cluster.get("states").version)
                except ClusterUnavailableError:
                    os._exit(99)
            status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
            leave.set()
            holder.communicate()
            thread.join(10)
        assert status == (99 if state == "is in the middle" else 1)
