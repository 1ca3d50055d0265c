"""Objects that must not be carried over into a forked child: pools of random ids, queues, text that names a process."""

from __future__ import annotations

import os
import weakref
from typing import Protocol


class Forgetful(Protocol):
    """Something with state of one process."""

    def forget(self) -> None:
        """Begin anew; called in a forked child before any of its code runs."""


_registered: weakref.WeakSet[Forgetful] = weakref.WeakSet()


def forget_after_fork(owner: Forgetful) -> None:
    """Have `forget` called in forked children, for as long as the object lives."""
    _registered.add(owner)


def _forget_all() -> None:
    for owner in list(_registered):
        owner.forget()


os.register_at_fork(after_in_child=_forget_all)
