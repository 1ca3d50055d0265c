"""What several unit tests need: pipes with the writers on them, and forked children."""

from __future__ import annotations

import os
import select
import signal
import sys
import time
from collections.abc import Callable, Iterator

import pytest

TIMEOUT_SECONDS = 10.0
"""Longest wait for something that is bound to happen; only a failing test waits this long."""


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
