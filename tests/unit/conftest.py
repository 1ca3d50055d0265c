"""What several unit tests need: pipes with the writers on them, log lines read strictly, and forked children."""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from ordinaut_ext_observability.correlation.context import work_ids
from ordinaut_ext_observability.logs.writer import LogWriter

TIMEOUT_SECONDS = 10.0
"""Longest wait for something that is bound to happen; only a failing test waits this long."""

MAX_LINE_BYTES = 16 * 1024

FIRST_FIELDS = (
    *("timestamp", "level", "logger", "message", "event_type", "module", "function", "line", "process"),
    *("correlation_id", "request_id", "trace_id", "span_id"),
)
WORK_FIELDS = ("task_id", "run_id", "step_id", "agent_id", "worker_id", "task_context")
LAST_FIELDS = ("exception_type", "exception")


def read_line(text: str) -> dict[str, Any]:
    """The fields of one line, which must be one whole JSON object, no longer than allowed and no name twice."""
    assert not {"\n", "\r"} & set(text)
    assert len(text.encode()) <= MAX_LINE_BYTES
    fields = json.loads(text, object_pairs_hook=_without_doubles, parse_constant=_no_constant)
    assert isinstance(fields, dict)
    return fields


def _without_doubles(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    assert len({name for name, _ in pairs}) == len(pairs), f"a name twice: {[name for name, _ in pairs]}"
    return dict(pairs)


def _no_constant(name: str) -> None:
    raise AssertionError(f"{name} is not JSON")


class LogLines:
    """A log writer on a file, and what it wrote."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file_descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        self.writer = LogWriter(self._file_descriptor)

    def texts(self) -> list[str]:
        """The lines so far."""
        assert self.writer.flush(TIMEOUT_SECONDS)
        *lines, rest = self._path.read_text(encoding="utf-8").split("\n")
        assert rest == ""
        return lines

    def all(self) -> list[dict[str, Any]]:
        """The fields of every line so far."""
        return [read_line(text) for text in self.texts()]

    def only(self) -> dict[str, Any]:
        """The fields of the only line."""
        (fields,) = self.all()
        return fields

    def messages(self) -> list[Any]:
        return [fields["message"] for fields in self.all()]

    def close(self) -> None:
        self.writer.close(TIMEOUT_SECONDS)
        os.close(self._file_descriptor)


@pytest.fixture
def make_log_lines(tmp_path: Path) -> Iterator[Callable[[], LogLines]]:
    made: list[LogLines] = []

    def make() -> LogLines:
        made.append(LogLines(tmp_path / f"lines-{len(made)}"))
        return made[-1]

    yield make
    for lines in made:
        lines.close()


@pytest.fixture
def log_lines(make_log_lines: Callable[[], LogLines]) -> LogLines:
    return make_log_lines()


@pytest.fixture(scope="session", name="read_line")
def _read_line() -> Callable[[str], dict[str, Any]]:
    return read_line


@pytest.fixture(scope="session")
def documented_order() -> Callable[..., list[str]]:
    """The names of a line's fields in the documented order, without those left out and with these in their place."""

    def order(*own: str, without: tuple[str, ...] = ()) -> list[str]:
        return [name for name in (*FIRST_FIELDS, *WORK_FIELDS, *own, *LAST_FIELDS) if name not in without]

    return order


@contextlib.contextmanager
def _bound(**ids: str) -> Iterator[None]:
    token = work_ids.set({**work_ids.get(), **ids})
    yield
    work_ids.reset(token)


@pytest.fixture(scope="session")
def bound() -> Callable[..., contextlib.AbstractContextManager[None]]:
    """Binds ids of the work, and nothing else, until a block ends."""
    return _bound


@pytest.fixture
def run_code(start_child: Callable[..., Any]) -> Callable[..., Any]:
    """Runs code in an interpreter of its own until that ends."""

    def run(code: str) -> Any:
        child = start_child("-c", code)
        child.process.wait(3 * TIMEOUT_SECONDS)
        return child

    return run


@pytest.fixture
def in_forked_child() -> Callable[[Callable[[], bytes]], bytes]:
    """Runs a function in a forked child and returns the bytes it returned there."""

    def run(function: Callable[[], bytes]) -> bytes:
        reader, writer = os.pipe()
        child = os.fork()
        if child == 0:
            status = 1
            try:
                os.close(reader)
                data = function()
                while data:
                    data = data[os.write(writer, data) :]
                status = 0
            finally:
                os._exit(status)
        os.close(writer)
        try:
            data = _read_to_end(reader)
        except TimeoutError:
            os.kill(child, signal.SIGKILL)
            raise
        finally:
            os.close(reader)
            _, wait_status = os.waitpid(child, 0)
        assert os.waitstatus_to_exitcode(wait_status) == 0
        return data

    return run


@pytest.fixture
def eager_switching() -> Iterator[None]:
    """Threads take turns as often as the interpreter can, so that races show."""
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(interval)


def _read_to_end(reader: int) -> bytes:
    deadline = time.monotonic() + TIMEOUT_SECONDS
    data = b""
    while True:
        ready, _, _ = select.select([reader], [], [], max(0.0, deadline - time.monotonic()))
        if not ready:
            raise TimeoutError("the forked child did not finish")
        read = os.read(reader, 65536)
        if not read:
            return data
        data += read
