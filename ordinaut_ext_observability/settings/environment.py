"""Values the environment gives for settings. Commands that must be quick import this: standard library alone."""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from typing import NamedTuple

MAX_VALUE_LENGTH = 16 * 1024
"""Longest value of a variable, in characters: 500 networks take as much. Linux allows 128 kB."""


class Given(NamedTuple):
    """The value given for a setting."""

    variable: str
    """The name under which it is reported."""
    text: str
    problem: str = ""
    """The reason why the text cannot be used; it goes on from the variable's name."""


def read_given(variable: str, environment: Mapping[str, str], *, is_secret: bool) -> Given:
    """Give the variable's value; for a secret, the content of the file that `…_FILE` names, if it names one."""
    text = environment.get(variable, "").strip()
    file_variable = f"{variable}_FILE"
    path = environment.get(file_variable, "").strip() if is_secret else ""
    if not path:
        return Given(variable, text, _unreadable(text))
    try:
        content = read_regular_file(path, MAX_VALUE_LENGTH).decode(errors="surrogateescape").strip()
    except ValueError as error:
        return Given(file_variable, "", str(error))
    if text and text != content:
        return Given(file_variable, "", f"and {variable} are both set and differ: neither is used")
    return Given(file_variable, content, _unreadable(content) if content else "is an empty file")


def read_regular_file(path: str, max_bytes: int) -> bytes:
    """Read a file, not a pipe or a device. Raises ValueError, whose words go on from the file's name."""
    without_waiting = os.O_NONBLOCK | os.O_NOCTTY  # for a pipe's writer, or for a terminal, as the process's own
    try:
        with open(path, "rb", opener=lambda path, flags: os.open(path, flags | without_waiting)) as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise ValueError("is not a regular file")
            content = file.read(max_bytes + 1) or b""  # None where a file of the kernel has nothing yet
    except OSError as error:
        raise ValueError(f"cannot be read: {error.strerror}") from None
    if len(content) > max_bytes:
        raise ValueError(f"is larger than {max_bytes} bytes")
    return content


def _unreadable(text: str) -> str:
    if len(text) > MAX_VALUE_LENGTH:
        return f"is longer than {MAX_VALUE_LENGTH} characters"
    # The environment holds bytes: Python shows those that are no text as lone surrogates.
    return "is not UTF-8 text" if text.encode(errors="ignore").decode() != text else ""
