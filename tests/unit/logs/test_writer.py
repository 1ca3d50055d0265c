"""The log writer on real pipes: order, back-pressure, drops, closing, forks."""

from __future__ import annotations

import os
import select
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import pytest

from ordinaut_ext_observability.logs.writer import GATHER_SECONDS, LogWriter, WriterReports

TIMEOUT_SECONDS = 10.0


class Pipe:
    """A pipe with a log writer on one end, and what became of the lines."""

    def __init__(
        self, on_cpu_seconds: Callable[[float], object] = lambda _: None, max_queued_lines: int = 20_000
    ) -> None:
        self.reader, self.file_descriptor = os.pipe()
        self.written = 0
        self.dropped = 0
        reports = WriterReports(self._count_written, self._count_dropped, on_cpu_seconds)
        self.writer = LogWriter(self.file_descriptor, reports)
        self.writer._max_queued_lines = max_queued_lines
        self._data = b""

    def _count_written(self, lines: int) -> None:
        self.written += lines

    def _count_dropped(self, lines: int) -> None:
        self.dropped += lines

    def fill(self) -> int:
        """Fill the pipe, so that the next write to it blocks; the number of bytes it took."""
        os.set_blocking(self.file_descriptor, False)
        size = 0
        try:
            while True:
                size += os.write(self.file_descriptor, b"#" * 4096)
        except BlockingIOError:
            os.set_blocking(self.file_descriptor, True)
        return size

    def skip(self, size: int) -> None:
        """Read what `fill` wrote."""
        while size:
            size -= len(self._read(size))

    def read_lines(self, count: int) -> list[str]:
        """The next lines, waiting for them; fewer where they do not come."""
        deadline = time.monotonic() + TIMEOUT_SECONDS
        while self._data.count(b"\n") < count and time.monotonic() < deadline:
            self._data += self._read(65536)
        *lines, self._data = self._data.split(b"\n", count)
        return [line.decode() for line in lines]

    def more_comes_within(self, seconds: float) -> bool:
        return bool(self._data) or bool(select.select([self.reader], [], [], seconds)[0])

    def _read(self, size: int) -> bytes:
        ready, _, _ = select.select([self.reader], [], [], TIMEOUT_SECONDS)
        return os.read(self.reader, size) if ready else b""

    def close(self) -> None:
        """End the writer whatever it waits for: without a reader its write fails."""
        os.close(self.reader)
        self.writer.close(TIMEOUT_SECONDS)
        os.close(self.file_descriptor)


@pytest.fixture
def make_pipe() -> Iterator[Callable[..., Pipe]]:
    pipes: list[Pipe] = []

    def make(**options: Any) -> Pipe:
        pipes.append(Pipe(**options))
        return pipes[-1]

    yield make
    for pipe in pipes:
        pipe.close()


@pytest.fixture
def pipe(make_pipe: Callable[..., Pipe]) -> Pipe:
    return make_pipe()


class Gate:
    """Holds a writer's thread before it takes queued lines, until it is opened. Only in this process."""

    def __init__(self, pipe: Pipe) -> None:
        self.reached = threading.Event()
        self._open = threading.Event()
        self._process_id = os.getpid()
        pipe.writer.before_writing.append(self._wait)

    def _wait(self) -> None:
        if os.getpid() == self._process_id:
            self.reached.set()
            self._open.wait(TIMEOUT_SECONDS)

    def open(self) -> None:
        self._open.set()


def ends_in_time(work: Callable[[], object], timeout_seconds: float = TIMEOUT_SECONDS) -> bool:
    """Whether the work, done in a thread, ends."""
    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    thread.join(timeout_seconds)
    return not thread.is_alive()


def test_a_line_arrives_without_asking_for_it(pipe: Pipe) -> None:
    pipe.writer.write("hello")
    assert pipe.read_lines(1) == ["hello"]


def test_lines_arrive_in_order(pipe: Pipe) -> None:
    """Several batches of them."""
    lines = [f"line {number}" for number in range(4500)]
    for line in lines:
        pipe.writer.write(line)
    assert pipe.writer.flush(TIMEOUT_SECONDS)
    assert pipe.read_lines(4500) == lines
    assert (pipe.written, pipe.dropped) == (4500, 0)


def test_more_than_the_pipe_holds_arrives_in_order(pipe: Pipe) -> None:
    lines = [f"{number:05d} {'x' * 200}" for number in range(3000)]
    for line in lines:
        pipe.writer.write(line)
    assert pipe.read_lines(3000) == lines
    assert pipe.writer.flush(TIMEOUT_SECONDS)
    assert pipe.written == 3000


@pytest.mark.parametrize("reason", ["an urgent line", "a full batch", "a flush", "the end", "an urgent call"])
def test_lines_do_not_wait_to_be_gathered_where_there_is_reason_to_hurry(
    pipe: Pipe, monkeypatch: pytest.MonkeyPatch, reason: str
) -> None:
    monkeypatch.setattr("ordinaut_ext_observability.logs.writer.GATHER_SECONDS", 3600.0)
    lines = [str(number) for number in range(1100 if reason == "a full batch" else 2)]
    for line in lines:
        pipe.writer.write(line)
    if reason == "an urgent line":
        pipe.writer.write("urgent", urgent=True)
        lines.append("urgent")
    elif reason == "an urgent call":
        pipe.writer.wake(urgent=True)
    elif reason == "a flush":
        assert pipe.writer.flush(TIMEOUT_SECONDS)
    elif reason == "the end":
        pipe.writer.close(TIMEOUT_SECONDS)
    assert pipe.read_lines(len(lines))[:1001] == lines[:1001]


@pytest.mark.parametrize("made_late", [False, True])
def test_lines_that_come_all_the_time_wake_the_thread_once(pipe: Pipe, made_late: bool) -> None:
    """It looks again by itself, also where nobody wrote for a while in between."""
    rings: list[int] = []
    waiting: deque[str] = deque()
    writer = pipe.writer

    class Bell(SimpleQueue[int]):
        def put(self, item: int, block: bool = True, timeout: float | None = None) -> None:
            rings.append(item)
            super().put(item)

    def write(line: str) -> None:
        if made_late:  # as access lines are
            waiting.append(line)
            if len(waiting) == 1:
                writer.wake()
        else:
            writer.write(line)

    writer._bell = Bell()
    writer.before_writing.append(lambda: [writer.write(waiting.popleft()) for _ in range(len(waiting))] and None)
    for begun in (1, 2):
        for number in range(40):
            write(f"{begun} {number}")
            time.sleep(GATHER_SECONDS / 10)
        assert pipe.read_lines(40) == [f"{begun} {number}" for number in range(40)]
        time.sleep(3 * GATHER_SECONDS)
    assert len(rings) <= 4  # two, and a busy machine makes pauses; without that one in each interval, eight


@pytest.mark.usefixtures("eager_switching")
def test_lines_of_several_threads_arrive_whole_and_each_threads_in_order(pipe: Pipe) -> None:
    def write(name: str) -> None:
        for number in range(400):
            pipe.writer.write(f"{name} {number}")

    threads = [threading.Thread(target=write, args=(name,), daemon=True) for name in "abcdef"]
    for thread in threads:
        thread.start()
    lines = pipe.read_lines(2400)
    assert len(lines) == 2400
    for name in "abcdef":
        assert [line for line in lines if line.startswith(name)] == [f"{name} {number}" for number in range(400)]


def test_unicode_arrives_as_utf_8_and_lone_surrogates_readable(pipe: Pipe) -> None:
    pipe.writer.write("é日本😀")
    pipe.writer.write("a\udcffb")
    assert pipe.read_lines(2) == ["é日本😀", "a\\udcffb"]


def test_a_full_pipe_that_nobody_reads_never_blocks_the_caller(make_pipe: Callable[..., Pipe]) -> None:
    pipe = make_pipe(max_queued_lines=10)
    size = pipe.fill()

    def write() -> None:
        for number in range(1000):
            pipe.writer.write(f"line {number}")

    assert ends_in_time(write)
    assert pipe.dropped >= 1000 - 2 * 10
    assert pipe.written == 0
    pipe.skip(size)
    assert pipe.writer.flush(TIMEOUT_SECONDS)
    assert pipe.written + pipe.dropped == 1000
    assert pipe.read_lines(pipe.written)[0] == "line 0"


def test_lines_past_the_limit_are_dropped_and_counted(make_pipe: Callable[..., Pipe]) -> None:
    pipe = make_pipe(max_queued_lines=10)
    gate = Gate(pipe)
    for number in range(25):
        pipe.writer.write(str(number))
    assert pipe.dropped == 15
    gate.open()
    assert pipe.read_lines(10) == [str(number) for number in range(10)]
    assert pipe.writer.flush(TIMEOUT_SECONDS)
    assert (pipe.written, pipe.dropped) == (10, 15)


def test_urgent_lines_are_kept_when_others_are_dropped_up_to_twice_the_limit(make_pipe: Callable[..., Pipe]) -> None:
    pipe = make_pipe(max_queued_lines=10)
    gate = Gate(pipe)
    for number in range(15):
        pipe.writer.write(f"line {number}")
        pipe.writer.write(f"urgent {number}", urgent=True)
    pipe.writer.write("line", urgent=False)
    assert pipe.dropped == 31 - 20
    gate.open()
    expected = [f"{kind} {number}" for number in range(5) for kind in ("line", "urgent")]
    expected += [f"urgent {number}" for number in range(5, 15)]
    assert pipe.read_lines(20) == expected
    assert pipe.writer.flush(TIMEOUT_SECONDS)
    assert (pipe.written, pipe.dropped) == (20, 11)


def test_lines_are_taken_again_once_the_pipe_is_read(make_pipe: Callable[..., Pipe]) -> None:
    pipe = make_pipe(max_queued_lines=2)
    gate = Gate(pipe)
    for number in range(5):
        pipe.writer.write(str(number))
    gate.open()
    assert pipe.writer.flush(TIMEOUT_SECONDS)
    pipe.writer.write("later")
    assert pipe.read_lines(3) == ["0", "1", "later"]


def test_flush_says_when_it_took_too_long(pipe: Pipe) -> None:
    size = pipe.fill()
    pipe.writer.write("late")
    assert pipe.writer.flush(0.05) is False
    pipe.skip(size)
    assert pipe.writer.flush(TIMEOUT_SECONDS) is True
    assert pipe.read_lines(1) == ["late"]


def test_flush_waits_until_the_lines_are_in_the_pipe(pipe: Pipe) -> None:
    for number in range(20):
        pipe.writer.write(str(number))
        assert pipe.writer.flush(TIMEOUT_SECONDS)
        assert pipe.more_comes_within(0)
        assert pipe.read_lines(1) == [str(number)]


def test_flush_and_close_have_nothing_to_do_on_a_writer_never_used(pipe: Pipe) -> None:
    assert pipe.writer.flush(0) is True
    pipe.writer.close(0)
    assert not pipe.more_comes_within(0)


def test_close_writes_what_is_queued_and_ends_the_thread(make_pipe: Callable[..., Pipe]) -> None:
    pipe = make_pipe()
    threads: set[threading.Thread] = set()
    pipe.writer.before_writing.append(lambda: threads.add(threading.current_thread()))
    for number in range(1500):
        pipe.writer.write(str(number))
    pipe.writer.close(TIMEOUT_SECONDS)
    assert pipe.written == 1500
    assert pipe.read_lines(1500)[-1] == "1499"
    assert [thread.is_alive() for thread in threads] == [False]


def test_lines_after_close_start_the_thread_again(pipe: Pipe) -> None:
    for number in range(3):
        pipe.writer.write(str(number))
        pipe.writer.close(TIMEOUT_SECONDS)
    pipe.writer.write("last")
    assert pipe.read_lines(4) == ["0", "1", "2", "last"]


def test_close_of_a_blocked_writer_ends_in_time_and_the_lines_come_when_the_pipe_is_read(pipe: Pipe) -> None:
    size = pipe.fill()
    pipe.writer.write("late")
    assert ends_in_time(lambda: pipe.writer.close(0.05))
    pipe.skip(size)
    assert pipe.read_lines(1) == ["late"]


@pytest.mark.parametrize("again", ["close", "flush"])
def test_after_a_close_that_took_too_long_the_caller_still_never_blocks(pipe: Pipe, again: str) -> None:
    """An application closes at shutdown, and once more at exit: the process would never end."""
    pipe.fill()
    for number in range(1500):
        pipe.writer.write(str(number))
    pipe.writer.close(0.05)
    assert ends_in_time(lambda: getattr(pipe.writer, again)(0.05), 1.0)


def test_after_a_close_that_took_too_long_lines_still_arrive_whole_and_in_order(pipe: Pipe) -> None:
    size = pipe.fill()
    lines = [f"{number:05d} {'x' * 100}" for number in range(4000)]
    gate = Gate(pipe)
    for line in lines[:2000]:
        pipe.writer.write(line)
    assert gate.reached.wait(TIMEOUT_SECONDS)
    gate.open()
    pipe.writer.close(0.05)
    for line in lines[2000:]:
        pipe.writer.write(line)
    time.sleep(3 * GATHER_SECONDS)  # until the lines have been gathered, the pipe stays full
    pipe.skip(size)
    assert pipe.read_lines(4000) == lines


def test_lines_written_while_the_writer_closes_and_later_arrive(make_pipe: Callable[..., Pipe]) -> None:
    """The thread has written all, and has not yet seen that it should end, when another thread writes a line."""
    at_the_end = threading.Event()
    go_on = threading.Event()

    def pause(_seconds: float) -> None:
        at_the_end.set()
        go_on.wait(TIMEOUT_SECONDS)

    pipe = make_pipe(on_cpu_seconds=pause)
    pipe.writer.write("before")
    assert at_the_end.wait(TIMEOUT_SECONDS)
    closer = threading.Thread(target=pipe.writer.close, args=(TIMEOUT_SECONDS,), daemon=True)
    closer.start()
    deadline = time.monotonic() + TIMEOUT_SECONDS
    while pipe.writer._pace == 0 and time.monotonic() < deadline:  # noqa: SLF001 - nothing public says so
        time.sleep(0.001)
    pipe.writer.write("meanwhile")
    go_on.set()
    closer.join(TIMEOUT_SECONDS)
    pipe.writer.write("after")
    assert pipe.read_lines(1) == ["before"]
    assert pipe.more_comes_within(10 * GATHER_SECONDS)
    assert pipe.read_lines(2) == ["meanwhile", "after"]


def test_lines_to_a_closed_descriptor_are_counted_as_dropped() -> None:
    reader, file_descriptor = os.pipe()
    os.close(reader)
    os.close(file_descriptor)
    dropped: list[int] = []
    written: list[int] = []
    writer = LogWriter(file_descriptor, WriterReports(written.append, dropped.append))
    for _ in range(3):
        writer.write("lost")
    assert writer.flush(TIMEOUT_SECONDS)
    writer.close(TIMEOUT_SECONDS)
    assert (sum(dropped), written) == (3, [])


def test_lines_to_a_pipe_without_a_reader_are_counted_as_dropped_and_the_thread_lives_on() -> None:
    reader, file_descriptor = os.pipe()
    os.close(reader)
    dropped: list[int] = []
    writer = LogWriter(file_descriptor, WriterReports(dropped=dropped.append))
    for times in (1, 2, 3):
        writer.write("lost")
        assert writer.flush(TIMEOUT_SECONDS)
        assert sum(dropped) == times
    writer.close(TIMEOUT_SECONDS)
    os.close(file_descriptor)


def test_lines_wait_for_a_full_pipe_that_does_not_block(pipe: Pipe) -> None:
    """A terminal or pipe shared with another program may have been set so."""
    size = pipe.fill()
    os.set_blocking(pipe.file_descriptor, False)
    pipe.writer.write("waits")
    assert not pipe.writer.flush(3 * GATHER_SECONDS)
    pipe.skip(size)
    assert pipe.read_lines(1) == ["waits"]


def test_a_batch_larger_than_a_pipe_that_does_not_block_arrives_whole(pipe: Pipe) -> None:
    os.set_blocking(pipe.file_descriptor, False)
    lines = [f"{number:05d} {'x' * 200}" for number in range(900)]
    for line in lines:
        pipe.writer.write(line)
    assert not pipe.writer.flush(3 * GATHER_SECONDS)
    pipe.writer.write("next")
    assert pipe.read_lines(901) == [*lines, "next"]


def test_a_line_that_broke_off_does_not_run_into_the_next(tmp_path: Path) -> None:
    """A full disk takes part of a batch; later there is room again."""
    limit = 1000
    script = f"""
import os, resource, signal
from ordinaut_ext_observability.logs.writer import LogWriter, WriterReports
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, resource.RLIM_INFINITY))
counts = []
writer = LogWriter(os.open({str(tmp_path / "log")!r}, os.O_WRONLY | os.O_CREAT | os.O_APPEND),
    WriterReports(lambda lines: counts.append(("written", lines)), lambda lines: counts.append(("dropped", lines))))
for _ in range(100):
    writer.write("x" * 29)
assert writer.flush(10)
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
writer.write("next")
assert writer.flush(10)
print(counts)
"""
    answer = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "[('written', 33), ('dropped', 67), ('written', 1)]"
    assert (tmp_path / "log").read_text().splitlines() == ["x" * 29] * 33 + ["x" * 10, "next"]


def test_lines_of_several_processes_in_one_pipe_stay_whole() -> None:
    """As of uvicorn's workers in a container; bursts, and a reader that comes late."""
    reader, file_descriptor = os.pipe()
    script = """
import sys
from ordinaut_ext_observability.logs.writer import LogWriter
writer = LogWriter(1)
for number in range(2000):
    writer.write(f"{sys.argv[1]} {number} " + sys.argv[1] * 200)
assert writer.flush(30)
"""
    children = [
        subprocess.Popen([sys.executable, "-c", script, name], stdout=file_descriptor) for name in ("a", "b", "c", "d")
    ]
    os.close(file_descriptor)
    received = b""
    while data := os.read(reader, 65536):
        received += data
    assert [child.wait(30) for child in children] == [0, 0, 0, 0]
    os.close(reader)
    lines = received.decode().splitlines()
    assert sorted(lines) == sorted(f"{name} {number} {name * 200}" for name in "abcd" for number in range(2000))
    assert [line for line in lines if line[0] == "a"] == [f"a {number} {'a' * 200}" for number in range(2000)]


def test_a_line_longer_than_a_pipe_takes_at_once_is_written_too(pipe: Pipe) -> None:
    lines = ["short", "x" * 10_000, "y" * 4095, "z" * 4096, "w" * 300_000, "short", *["v" * 16_000] * 300]
    for line in lines:
        pipe.writer.write(line)
    assert pipe.read_lines(306) == lines


@pytest.mark.parametrize("name", ["written", "cpu_seconds", "before_writing"])
def test_lines_go_on_after_a_callback_raised(make_pipe: Callable[..., Pipe], name: str) -> None:
    errors: list[Exception] = []

    def fail(*_: object) -> None:
        raise LookupError(name)

    reader, file_descriptor = os.pipe()
    options = {} if name == "before_writing" else {name: fail}
    writer = LogWriter(file_descriptor, WriterReports(error=errors.append, **options))
    if name == "before_writing":
        writer.before_writing.append(fail)
    for number in range(3):
        writer.write(str(number))
        assert writer.flush(TIMEOUT_SECONDS)
    writer.close(TIMEOUT_SECONDS)
    assert os.read(reader, 100) == b"0\n1\n2\n"
    assert {type(error) for error in errors} == {LookupError}
    os.close(reader)
    os.close(file_descriptor)


def test_lines_made_just_before_writing_are_written_too(pipe: Pipe) -> None:
    made = iter(["made first", "made second"])

    def make() -> None:
        line = next(made, None)
        if line is not None:
            pipe.writer.write(line)

    pipe.writer.before_writing.append(make)
    pipe.writer.write("queued")
    assert pipe.read_lines(3) == ["queued", "made first", "made second"]


def test_waking_calls_back_though_nothing_is_queued(pipe: Pipe) -> None:
    gate = Gate(pipe)
    gate.open()
    pipe.writer.wake()
    assert gate.reached.wait(TIMEOUT_SECONDS)


def test_the_threads_cpu_time_is_reported(make_pipe: Callable[..., Pipe]) -> None:
    reported: list[float] = []
    told = threading.Event()
    pipe = make_pipe(on_cpu_seconds=lambda seconds: (reported.append(seconds), told.set()))
    pipe.writer.write("line")
    assert told.wait(TIMEOUT_SECONDS)
    assert reported[0] >= 0.0


def test_no_thread_runs_before_the_first_line(make_pipe: Callable[..., Pipe]) -> None:
    before = threading.active_count()
    pipe = make_pipe()
    assert threading.active_count() == before
    pipe.writer.write("line")
    assert threading.active_count() == before + 1


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork.*:DeprecationWarning")
def test_a_forked_child_writes_its_own_lines_only_and_the_parent_its_own(
    pipe: Pipe, in_forked_child: Callable[[Callable[[], bytes]], bytes]
) -> None:
    gate = Gate(pipe)
    pipe.writer.write("parent 1")
    pipe.writer.write("parent 2")
    assert gate.reached.wait(TIMEOUT_SECONDS)  # its lines are queued, its thread is there, when it forks

    def write_in_child() -> bytes:
        pipe.writer.write("child 1")
        pipe.writer.write("child 2")
        return b"flushed" if pipe.writer.flush(5) else b"not flushed"

    assert in_forked_child(write_in_child) == b"flushed"
    assert pipe.read_lines(2) == ["child 1", "child 2"]
    assert not pipe.more_comes_within(0)
    gate.open()
    pipe.writer.write("parent 3")
    assert pipe.read_lines(3) == ["parent 1", "parent 2", "parent 3"]
    assert pipe.writer.flush(TIMEOUT_SECONDS)
    assert not pipe.more_comes_within(0)
    assert pipe.written == 3
