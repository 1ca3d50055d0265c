"""Notes of what the application saw: a server's answer to a wrong message is also the exception it raises."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

_notes: list[str] = []


def note(text: str) -> None:
    _notes.append(text)


def take() -> list[str]:
    """The notes since the last call."""
    taken = list(_notes)
    _notes.clear()
    return taken


@contextlib.contextmanager
def noted() -> Iterator[None]:
    """Notes what is raised inside and lets it go on."""
    try:
        yield
    except BaseException as error:
        note(f"{type(error).__name__}: {error}")
        raise
