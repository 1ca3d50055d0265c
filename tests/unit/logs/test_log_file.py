"""The log file on real disks, pipes and processes: rotation, readers, trouble, and one file per process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ordinaut_ext_observability.logs import destination, log_file
from ordinaut_ext_observability.logs.log_file import LogFile
from ordinaut_ext_observability.logs.writer import LogWriter, WriterReports

TIMEOUT_SECONDS = 10.0


class Trouble(list[str]):
    """What a log file told."""

    def open(self, folder: Path, *, max_bytes: int = 1000, kept: int = 3) -> LogFile:
        return LogFile(f"{folder}/api.jsonl", max_bytes, kept, self.append)


@pytest.fixture
def trouble() -> Trouble:
    return Trouble()


class Follower:
    """A reader that keeps to the inode, as shippers do: it opens files that it has not seen, and reads all to the end."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._files: dict[int, Any] = {}
        self._parts: dict[int, bytes] = {}
        self._ends = threading.Event()
        self.lines: list[bytes] = []
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        while not self._ends.wait(0.005):
            self._read()
        self._read()

    def _read(self) -> None:
        for path in self._folder.glob("api.*.jsonl*"):
            try:
                if path.stat().st_ino not in self._files:
                    file = path.open("rb")  # by now maybe another than looked at
                    if self._files.setdefault(os.fstat(file.fileno()).st_ino, file) is not file:
                        file.close()
            except FileNotFoundError:  # renamed or deleted meanwhile: seen in the next round, or before
                continue
        for inode, file in self._files.items():
            *lines, self._parts[inode] = (self._parts.get(inode, b"") + file.read()).split(b"\n")
            self.lines += lines

    def end(self) -> list[bytes]:
        """Read what is left; all lines, whole, and nothing that is none."""
        self._ends.set()
        self._thread.join()
        assert set(self._parts.values()) <= {b""}
        for file in self._files.values():
            file.close()
        return self.lines


def read(path: Path) -> list[str]:
    return path.read_text().splitlines()


@given(batches=st.lists(st.lists(st.integers(0, 150), min_size=1), max_size=20))
@settings(max_examples=50, deadline=None)
def test_lines_stay_whole_and_in_order_and_no_file_is_too_large(
    tmp_path_factory: pytest.TempPathFactory, batches: list[list[int]]
) -> None:
    folder, trouble = tmp_path_factory.mktemp("logs"), Trouble()
    file, sent = trouble.open(folder, max_bytes=200, kept=3), []
    for lengths in batches:
        lines = [f"{len(sent) + place:04d}{'x' * length}" for place, length in enumerate(lengths)]
        sent += lines
        assert file.write_lines("".join(f"{line}\n" for line in lines).encode()) == 0
    paths = [folder / f"api.0.jsonl{suffix}" for suffix in (".3", ".2", ".1", "")]
    kept = [line for path in paths if path.exists() for line in read(path)]
    assert sent[len(sent) - len(kept) :] == kept
    assert all(path.stat().st_size <= 200 and path.read_bytes().endswith(b"\n") for path in paths if path.exists())
    assert len(list(folder.iterdir())) <= 5  # with the lock
    assert trouble == []


def test_a_reader_that_keeps_to_the_inode_gets_every_line_once(tmp_path: Path, trouble: Trouble) -> None:
    writer = LogWriter(trouble.open(tmp_path, max_bytes=20_000, kept=100))  # none is deleted before it is read
    follower = Follower(tmp_path)
    for number in range(15_000):
        writer.write(f"{number:0100d}")
    assert writer.flush(TIMEOUT_SECONDS)
    writer.close()
    assert sorted(map(int, follower.end())) == list(range(15_000))
    assert (tmp_path / "api.0.jsonl.50").exists()


def test_files_deleted_and_directories_too_are_made_anew(tmp_path: Path, trouble: Trouble) -> None:
    file, folder = trouble.open(tmp_path / "a" / "b"), tmp_path / "a" / "b"
    for remove in (lambda: None, (folder / "api.0.jsonl").unlink, lambda: subprocess.run(["rm", "-r", tmp_path / "a"])):
        assert file.write_lines(b"before\n") == 0
        remove()
        assert file.write_lines(b"after\n") == 0
        assert read(folder / "api.0.jsonl")[-1] == "after"
    assert trouble == []


def test_a_line_that_a_killed_process_left_unfinished_ends_where_it_is(tmp_path: Path, trouble: Trouble) -> None:
    (tmp_path / "api.0.jsonl").write_text('{"whole":1}\n{"unfin')
    assert trouble.open(tmp_path).write_lines(b'{"next":1}\n') == 0
    assert read(tmp_path / "api.0.jsonl") == ['{"whole":1}', '{"unfin', '{"next":1}']


def test_descriptors_that_the_host_closed_are_not_written_to_and_not_closed_again(
    tmp_path: Path, trouble: Trouble
) -> None:
    file = trouble.open(tmp_path)
    assert file.write_lines(b"1\n") == 0
    links = {int(link.name): link for link in Path("/proc/self/fd").iterdir()}
    ours = [number for number, link in links.items() if link.exists() and str(tmp_path) in os.readlink(link)]
    assert len(ours) == 2
    others = [os.open(tmp_path / "other", os.O_RDWR | os.O_CREAT)]
    for number in ours:
        os.dup2(others[0], number)
    assert file.write_lines(b"2\n") == 0
    assert (tmp_path / "other").read_bytes() == b""
    for number in (*ours, *others):
        os.close(number)
    assert read(tmp_path / "api.0.jsonl") == ["1", "2"]


def test_a_path_that_cannot_be_written_is_told_of_once_until_it_can(tmp_path: Path, trouble: Trouble) -> None:
    folder = tmp_path / "folder"
    folder.write_text("no directory")
    file = trouble.open(folder)
    assert [file.write_lines(b"1\n2\n") for _ in range(3)] == [2, 2, 2]
    assert (file.problem, trouble) == ("File exists", ["File exists"])
    folder.unlink()
    assert file.write_lines(b"3\n") == 0
    assert (file.problem, read(folder / "api.0.jsonl")) == ("", ["3"])


def test_a_problem_that_comes_and_goes_is_told_of_again_after_a_minute(
    tmp_path: Path, trouble: Trouble, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 1000.0
    monkeypatch.setattr(log_file, "monotonic_seconds", lambda: now)
    file = trouble.open(tmp_path / "folder")
    for _ in range(3):
        (tmp_path / "folder").write_text("no directory")
        assert file.write_lines(b"1\n") == 1
        (tmp_path / "folder").unlink()
        assert file.write_lines(b"1\n") == 0
        subprocess.run(["rm", "-r", tmp_path / "folder"], check=True)
        now += 59.0
    assert len(trouble) == 1
    now += 2.0
    (tmp_path / "folder").write_text("no directory")
    assert file.write_lines(b"1\n") == 1
    assert len(trouble) == 2


# The limit of a process on the size of files stands for the end of the disk: a write goes as far as there is room.
FULL_DISK = """
import json, resource, sys
from ordinaut_ext_observability.logs.log_file import LogFile
told = []
file = LogFile(sys.argv[1], 1000, 3, told.append)
resource.setrlimit(resource.RLIMIT_FSIZE, (555, resource.RLIM_INFINITY))
lost = [file.write_lines(b"x" * 99 + b"\\n") for _ in range(8)]
problem = file.problem
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
lost += [file.write_lines(b"y" * 99 + b"\\n") for _ in range(8)]
print(json.dumps([lost, problem, file.problem, told]))
"""


def test_lines_that_a_full_disk_has_no_room_for_are_counted_and_later_ones_are_written(tmp_path: Path) -> None:
    ended = subprocess.run(
        [sys.executable, "-c", FULL_DISK, tmp_path / "api.jsonl"], capture_output=True, text=True, check=True
    )
    assert json.loads(ended.stdout) == [[0] * 5 + [1] * 3 + [0] * 8, "File too large", "", ["File too large"]]
    first, second = read(tmp_path / "api.0.jsonl.1"), read(tmp_path / "api.0.jsonl")
    assert first == ["x" * 99] * 5 + ["x" * 55] + ["y" * 99] * 4  # the one that broke off is no line, and none after it
    assert second == ["y" * 99] * 4


@pytest.fixture
def fifo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """The reading end of a FIFO in the log file's place, which holds 64 kB."""
    monkeypatch.setattr(destination, "_RETRY_MILLISECONDS", 20)
    os.mkfifo(tmp_path / "api.0.jsonl")
    reader = os.open(tmp_path / "api.0.jsonl", os.O_RDONLY | os.O_NONBLOCK)
    yield reader
    os.close(reader)


def test_a_fifo_that_nobody_reads_drops_lines_and_goes_on_with_its_reader(
    tmp_path: Path, trouble: Trouble, fifo: int
) -> None:
    counts = {"written": 0, "dropped": 0}
    reports = WriterReports(
        lambda lines: counts.update(written=counts["written"] + lines),
        lambda lines: counts.update(dropped=counts["dropped"] + lines),
    )
    file = trouble.open(tmp_path)
    writer = LogWriter(file, reports)
    for _ in range(2000):
        writer.write("x" * 99)
    assert writer.flush(TIMEOUT_SECONDS)
    assert counts["written"] + counts["dropped"] == 2000
    assert counts["dropped"] > 1000
    assert file.problem == "it is full, and nobody reads it"
    assert trouble == [file.problem]
    received = b""
    while len(received) < counts["written"] * 100:
        received += os.read(fifo, 65536)
    writer.write("later")
    assert writer.flush(TIMEOUT_SECONDS)
    writer.close()
    assert (received + os.read(fifo, 65536)).split()[-1] == b"later"
    assert file.problem == ""


def test_a_stream_that_takes_nothing_stops_no_file(tmp_path: Path, trouble: Trouble, eventually: Any) -> None:
    reader, stuck = os.pipe()
    both = LogWriter(None)
    both.writers = [LogWriter(trouble.open(tmp_path, max_bytes=10**9)), LogWriter(stuck)]
    for writer in both.writers:
        writer._max_queued_lines = 500
    error = '{"timestamp":"2026-11-23T22:19:04.123Z","level":"ERROR"}'

    def written() -> list[str]:
        path = tmp_path / "api.0.jsonl"
        return read(path) if path.exists() else []

    for number in range(1, 11):
        for _ in range(200):  # in all three times what the pipe holds
            both.write("x" * 100)
        both.write(error)
        assert eventually(lambda: both.flush(0.01) or len(written()) == 201 * number)  # noqa: B023
    assert len(read(tmp_path / "api.0.jsonl")) == 10 * 201
    assert 500 <= len(both.writers[1]._queue) <= 1000
    assert both.writers[1]._queue[-1] == f"{error}\n"  # kept while others are dropped
    os.close(reader)
    both.close(TIMEOUT_SECONDS)
    os.close(stuck)
    assert all(writer.thread is None for writer in (both, *both.writers))


CHILD = """
import sys
from ordinaut_ext_observability.logs.log_file import LogFile
file = LogFile(sys.argv[1], 1000, 3, print)
for line in sys.stdin.buffer:
    assert file.write_lines(line) == 0
    print("written", flush=True)
"""


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[[str], subprocess.Popen[str]]]:
    """Starts a process that has written this line."""
    children = []

    def run(line: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-c", CHILD, f"{tmp_path}/api.jsonl"]
        child = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        children.append(child)
        say(child, line)
        return child

    yield run
    for child in children:
        child.kill()
        child.communicate()


def say(child: subprocess.Popen[str], line: str) -> None:
    assert child.stdin
    assert child.stdout
    child.stdin.write(f"{line}\n")
    child.stdin.flush()
    assert child.stdout.readline() == "written\n"


def test_each_process_has_a_file_of_its_own_and_goes_on_with_one_that_an_ended_process_left(
    tmp_path: Path, start: Callable[[str], subprocess.Popen[str]]
) -> None:
    first, second = start("first"), start("second")
    for number in range(300):
        say(first, f"first {number}")  # 3 files
    assert read(tmp_path / "api.1.jsonl") == ["second"]
    first.kill()
    first.wait()
    start("third")
    say(second, "second again")
    assert read(tmp_path / "api.0.jsonl")[-1] == "third"
    assert read(tmp_path / "api.1.jsonl") == ["second", "second again"]
    assert not (tmp_path / "api.2.jsonl").exists()


def test_a_forked_child_has_a_file_of_its_own(
    tmp_path: Path, trouble: Trouble, in_forked_child: Callable[[Callable[[], bytes]], bytes]
) -> None:
    writer = LogWriter(trouble.open(tmp_path))

    def write(line: str) -> bytes:
        writer.write(line)
        return str(writer.flush(TIMEOUT_SECONDS)).encode()

    write("parent")
    assert in_forked_child(lambda: write("child")) == b"True"
    write("parent again")
    assert read(tmp_path / "api.0.jsonl") == ["parent", "parent again"]
    assert read(tmp_path / "api.1.jsonl") == ["child"]
    writer.close()


def test_more_processes_than_there_are_numbers_are_told(
    tmp_path: Path, trouble: Trouble, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log_file, "MAX_PROCESSES", 1)
    first, second = trouble.open(tmp_path), trouble.open(tmp_path)
    assert [first.write_lines(b"1\n"), second.write_lines(b"2\n")] == [0, 1]
    assert trouble == ["not allowed there, or 1 processes write there already"]
