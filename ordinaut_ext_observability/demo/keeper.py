"""Ends and deletes what the demo started, when the demo ends or is killed outright.

A process of its own, told on its standard input what there is: `pid <number>`, `server <number>`, `folder <path>`.
That input ends with the demo, however it ends.
"""

from __future__ import annotations

import contextlib
import shutil
import signal
import sys
import time
from collections.abc import Iterable

import psutil

_PATIENCE_SECONDS = 5.0
"""Longer than the API takes to end its streams."""
_ATTEMPTS = 10


def keep(lines: Iterable[str]) -> None:
    """Note what is told until there is nothing more, then clean up."""
    processes: list[psutil.Process] = []
    servers: list[psutil.Process] = []
    folders: list[str] = []
    for line in lines:
        kind, _, value = line.rstrip("\n").partition(" ")
        if kind == "folder":
            folders.append(value)
        else:
            with contextlib.suppress(psutil.NoSuchProcess):
                # It knows the process from a later one of the same number.
                (servers if kind == "server" else processes).append(psutil.Process(int(value)))
    _end(processes)  # first, since they are clients of the servers
    _end(servers)
    for folder in folders:
        _delete(folder)


def _end(processes: list[psutil.Process]) -> None:
    for process in processes:
        with contextlib.suppress(psutil.Error):
            # PostgreSQL waits for its clients at SIGTERM.
            process.send_signal(signal.SIGINT if process.name() == "postgres" else signal.SIGTERM)
            process.send_signal(signal.SIGCONT)
    for process in psutil.wait_procs(processes, timeout=_PATIENCE_SECONDS)[1]:
        with contextlib.suppress(psutil.Error):
            process.kill()


def _delete(folder: str) -> None:
    """More than once, if it must be: something may still be writing there."""
    for _ in range(_ATTEMPTS):
        try:
            shutil.rmtree(folder)
        except FileNotFoundError:
            return
        except OSError:
            time.sleep(0.1)


if __name__ == "__main__":
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    keep(sys.stdin)
