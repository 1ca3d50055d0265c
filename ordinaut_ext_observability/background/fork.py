"""Objects that must not be carried over into a forked child: pools of random ids, queues, text that names a process."""

from __future__ import annotations

import os
import weakref
from typing import Protocol


class ProcessBound(Protocol):
    """Something whose state belongs to one process, such as a thread or a connection."""

    def reset_after_fork(self) -> None:
        """Begin anew; called in a forked child before any of its code runs."""


_registered: weakref.WeakSet[ProcessBound] = weakref.WeakSet()


def reset_in_forked_child(owner: ProcessBound) -> None:
    """Have `reset_after_fork` called in forked children, for as long as the object lives."""
    _registered.add(owner)


def _reset_all() -> None:
    for owner in list(_registered):
        owner.reset_after_fork()


os.register_at_fork(after_in_child=_reset_all)
