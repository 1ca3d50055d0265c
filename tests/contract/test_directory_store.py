"""The directory store where the file system misbehaves, and what it leaves there."""

from __future__ import annotations

import errno
import os
import shutil
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ordinaut_ext_observability.relay.base import NOTHING_RETIRED, Published, Reading, Retired, StoreUnavailableError
from ordinaut_ext_observability.relay.directory import DirectoryStore

A, B = "a" * 32, "b" * 32
ReadAll = Callable[[Any], Reading]


@pytest.fixture
def place(directory_place: Any) -> Any:
    return directory_place


def vector_names(place: Any) -> list[str]:
    return sorted(path.name for path in (place.folder / "vectors").iterdir())


def test_nothing_is_made_before_the_first_call(place: Any, store: Any) -> None:
    assert not place.path.exists()


def test_only_the_user_may_look(place: Any, store: Any) -> None:
    place.publish(store, A)
    store.push_origin("task", b"x", ttl_seconds=60)
    assert place.fold(store, [A])
    place.publish(store, B)
    paths = [place.path, *place.path.rglob("*")]
    modes = {(path.is_dir(), stat.S_IMODE(path.stat().st_mode)) for path in paths}
    assert modes == {(True, 0o700), (False, 0o600)}


def test_a_file_in_the_place_of_the_directory(place: Any, store: Any) -> None:
    place.path.write_text("a file")
    for call in (
        lambda: place.publish(store, A),
        lambda: store.read({}, store="", retired_version=0),
        lambda: store.pop_origin("task"),
    ):
        with pytest.raises(StoreUnavailableError, match=f"^{place.path}.*: "):
            call()


def test_a_directory_that_may_not_be_used(place: Any, store: Any) -> None:
    place.publish(store, A)
    place.path.chmod(0)
    child = f"""
import os
from ordinaut_ext_observability.clock import SystemClock
from ordinaut_ext_observability.relay.base import StoreUnavailableError
from ordinaut_ext_observability.relay.directory import DirectoryStore
store = DirectoryStore({str(place.path)!r}, interval_seconds=15.0, expiry_seconds=60.0, clock=SystemClock())
if os.geteuid() == 0:  # who may do anything
    os.setuid(65534)
try:
    store.read({{}}, store="", retired_version=0)
except StoreUnavailableError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", child], capture_output=True, text=True, timeout=30)
    place.path.chmod(0o700)
    path, _, problem = done.stdout.partition(": ")
    assert Path(path) == place.path or place.path in Path(path).parents, done.stderr
    assert problem == f"{os.strerror(errno.EACCES)}\n"


def test_a_full_disk(place: Any, store: Any, read_all: ReadAll) -> None:
    """As far as it can be had without a disk of one's own: a limit on the size of files."""
    place.publish(store, A)
    child = f"""
import resource, signal
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
from ordinaut_ext_observability.clock import SystemClock
from ordinaut_ext_observability.relay.base import StoreUnavailableError
from ordinaut_ext_observability.relay.directory import DirectoryStore
store = DirectoryStore({str(place.path)!r}, interval_seconds=15.0, expiry_seconds=60.0, clock=SystemClock())
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
try:
    store.publish("b" * 32, 1, b"x" * 5000, last_store="")
except StoreUnavailableError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", child], capture_output=True, text=True, timeout=30)
    assert done.stdout == f"{place.folder}: {os.strerror(errno.EFBIG)}\n", done.stderr
    assert list((place.folder / "temporary").iterdir()) == []
    assert list(read_all(store).seen_seconds) == [A]


@pytest.mark.parametrize("deleted", ["", "15000", "15000/retired"])
def test_what_is_deleted_makes_it_another_store(place: Any, store: Any, read_all: ReadAll, deleted: str) -> None:
    before = place.publish(store, A)
    target = place.path / deleted
    if target.is_dir():
        shutil.rmtree(target)
    else:
        target.unlink()
    after = place.publish(store, A, last_store=before.store)
    assert after.store != before.store
    assert read_all(store).store == after.store


def test_processes_that_make_it_at_once_make_one(place: Any) -> None:
    import threading
    from concurrent.futures import ThreadPoolExecutor

    barrier = threading.Barrier(8, timeout=10)

    def publish(number: int) -> str:
        store = place.open()
        barrier.wait()
        return place.publish(store, f"{number:032x}").store

    with ThreadPoolExecutor(8) as pool:
        assert len(set(pool.map(publish, range(8)))) == 1


@pytest.mark.parametrize("content", [b"", b"\x00" * 40, b"[]\n", b'{"store": "x"}\n'])
def test_a_damaged_total_makes_it_another_store(place: Any, store: Any, read_all: ReadAll, content: bytes) -> None:
    before = place.publish(store, A)
    (place.folder / "retired").write_bytes(content)
    reading = read_all(place.open())
    assert reading.store not in {before.store, "x"}
    assert reading.retired == NOTHING_RETIRED
    assert list(reading.seen_seconds) == [A]


def test_a_stopped_folder_hinders_no_publisher(place: Any, store: Any, read_all: ReadAll) -> None:
    place.publish(store, A)
    assert place.fold(store, [A])
    child = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import fcntl, sys, time; f = open(sys.argv[1]); fcntl.flock(f, fcntl.LOCK_EX); print(1, flush=True); "
            "time.sleep(60)",
            str(place.folder / "lock"),
        ],
        stdout=subprocess.PIPE,
    )
    assert child.stdout is not None
    with child.stdout:
        child.stdout.readline()
        child.send_signal(signal.SIGSTOP)
        place.publish(store, B)
        identity = read_all(store).store
        begin = time.monotonic()
        assert place.fold(store, [B]) is False
        with pytest.raises(StoreUnavailableError, match="another process holds the lock"):
            store.seed(store=identity, retired=Retired(5, b"", {}), vectors=[], seen={})
        assert time.monotonic() - begin < 5
        child.kill()
        child.wait(10)
    assert place.fold(store, [B]) is True


def test_the_lock_is_given_back_by_a_process_whose_child_lives_on(place: Any, store: Any) -> None:
    place.publish(store, A)
    with store._files.locked() as held:
        assert held
        inherited = os.dup(next(
            int(path.name) for path in Path("/proc/self/fd").iterdir()
            if path.exists() and path.resolve() == place.folder / "lock"
        ))  # fmt: skip
    assert place.fold(place.open(), [A])
    os.close(inherited)


def test_what_killed_writers_left_is_removed(place: Any, store: Any) -> None:
    place.publish(store, A)
    old, new = (place.folder / "temporary" / name for name in ("old", "new"))
    for path, age in ((old, 61.0), (new, 59.0)):
        path.write_bytes(b"half a vec")
        os.utime(path, (place.clock.now - age,) * 2)
    assert place.fold(store, [A])
    assert (old.exists(), new.exists()) == (False, True)


def test_what_a_killed_folder_left_is_not_read_and_is_removed(place: Any, store: Any, read_all: ReadAll) -> None:
    place.publish(store, A)
    place.publish(store, B)
    (name,) = [name for name in vector_names(place) if name.startswith(A)]
    assert place.fold(store, [A])
    (place.folder / "vectors" / name).write_bytes(b"x")
    assert list(read_all(store).seen_seconds) == [B]
    assert place.fold(store, [B])
    assert vector_names(place) == []


def test_a_vector_published_during_its_fold_is_taken_back(
    place: Any, store: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    place.publish(store, A)
    write = store._files.write_temporary

    def write_while_folded(content: bytes, **options: Any) -> Path:
        temporary = write(content, **options)
        assert place.fold(place.open(), [A])
        return temporary

    monkeypatch.setattr(store._files, "write_temporary", write_while_folded)
    answer = store.publish(A, 2, b"x", last_store="")
    assert answer.sequence == 1
    assert vector_names(place) == []


def test_a_reader_looks_again_when_a_file_vanishes(
    place: Any, store: Any, read_all: ReadAll, monkeypatch: pytest.MonkeyPatch
) -> None:
    place.publish(store, A)
    reader = place.open()
    content = reader._files.content

    def content_after_publications(file: Any) -> bytes:
        monkeypatch.undo()
        for _ in range(5):
            place.wait_epochs(4)
            place.publish(store, A, b"new")
        return content(file)

    monkeypatch.setattr(reader._files, "content", content_after_publications)
    assert [vector.sequence for vector in read_all(reader).vectors] == [5, 6]


def test_a_directory_that_changes_all_the_time(
    place: Any, store: Any, read_all: ReadAll, monkeypatch: pytest.MonkeyPatch
) -> None:
    place.publish(store, A)

    def vanish(file: Any) -> bytes:
        raise FileNotFoundError

    monkeypatch.setattr(store._files, "content", vanish)
    with pytest.raises(StoreUnavailableError, match="changes faster than it can be read"):
        read_all(store)


def test_files_are_bounded(place: Any, store: Any) -> None:
    for _ in range(60):
        place.publish(store, A)
        place.wait_epochs(1 / 3)
    assert len(vector_names(place)) <= 6
    assert list((place.folder / "temporary").iterdir()) == []


def test_foreign_files_are_left_alone(place: Any, store: Any, read_all: ReadAll) -> None:
    place.publish(store, A)
    foreign = place.folder / "vectors" / "README"
    foreign.write_text("not ours")
    assert list(read_all(store).seen_seconds) == [A]
    assert place.fold(store, [A])
    assert foreign.exists()


def test_origins_that_nobody_takes_go(place: Any, store: Any) -> None:
    for number in range(150):
        store.push_origin(str(number), b"x", ttl_seconds=10)
    store.push_origin("long", b"x", ttl_seconds=10_000)
    place.wait(20)
    for _ in range(16 * 40):
        place.publish(store, A)
    assert len(list((place.folder / "origins").iterdir())) == 1
    assert store.pop_origin("long") == b"x"


def test_stores_of_other_intervals_do_not_mix(place: Any, store: Any, read_all: ReadAll) -> None:
    place.publish(store, A)
    other = DirectoryStore(place.path, interval_seconds=0.5, expiry_seconds=60.0, clock=place.clock)
    assert read_all(other).vectors == ()
    assert isinstance(other.publish(A, 1, b"x", last_store=""), Published)
    assert sorted(path.name for path in place.path.iterdir()) == ["15000", "500"]


def test_a_clock_that_goes_back_raises_nothing(place: Any, store: Any, read_all: ReadAll) -> None:
    place.publish(store, A, b"1")
    known = {A: place.epoch(place.clock.now)}
    place.wait(-100_000)
    identity = place.publish(store, A, b"2").store
    assert [vector.content for vector in store.read(known, store=identity, retired_version=0).vectors] == [b"2"]
    for _ in range(8):
        place.wait_epochs()
        place.publish(store, A)
    assert [vector.sequence for vector in read_all(store).vectors] == [7, 8, 9, 10]
    assert place.fold(store, [A])
