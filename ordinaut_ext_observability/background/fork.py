"""Forks: what begins anew in a child, such as a pool of random ids; and what no fork may interrupt."""

from __future__ import annotations

import logging  # noqa: F401 - has registered itself before us: its lock, which imports need, is taken after ours
import os
import threading
import weakref
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, Protocol

_WAIT_SECONDS = 5.0
"""Longest time that a fork waits. SQLite takes milliseconds; importing a driver takes 2 s on a busy machine."""


class ProcessBound(Protocol):
    """Something whose state belongs to one process, such as a thread or a connection."""

    def reset_after_fork(self) -> None:
        """Begin anew; called in a forked child before any of its code runs."""


_reset: weakref.WeakSet[ProcessBound] = weakref.WeakSet()
_closed: weakref.WeakSet[Any] = weakref.WeakSet()
_lock = threading.RLock()
_overtaken = False


def reset_in_forked_child(owner: ProcessBound) -> None:
    """Have `reset_after_fork` called in forked children, for as long as the object lives."""
    _reset.add(owner)


def close_before_fork(owner: Any) -> None:
    """Have its `close()` called before each fork that does not go on too early, for as long as the object lives."""
    _closed.add(owner)


@contextmanager
def forks_held_off() -> Iterator[None]:
    """Have forks wait for a block, in a thread of ours, that holds locks: of the import system, or of SQLite.

    A child would inherit them as held by a thread that it has not. One thread at a time is in such a block.
    """
    with _lock:
        yield


def was_forked_too_early() -> bool:
    """True in a child whose parent's fork would not wait for the end of such a block any longer."""
    return _overtaken


def _before() -> None:
    if _lock.acquire(timeout=_WAIT_SECONDS):
        for owner in list(_closed):
            owner.close()


def _in_parent() -> None:
    with suppress(RuntimeError):  # it was not free in time
        _lock.release()


def _in_child() -> None:
    global _lock, _overtaken  # noqa: PLW0603 - there is one process
    try:
        _lock.release()
    except RuntimeError:
        _overtaken = True
    _lock = threading.RLock()
    for owner in list(_reset):
        owner.reset_after_fork()


os.register_at_fork(before=_before, after_in_parent=_in_parent, after_in_child=_in_child)
