"""Files named in settings: read without waiting for a pipe or a device, and not without end."""

from __future__ import annotations

import os
import stat


def read_regular_file(path: str, max_bytes: int) -> bytes:
    """The content of the file.

    Raises:
        ValueError: it cannot be read; the message goes on from the file's name, and does not repeat it.
    """
    try:
        # Opening a pipe would wait for its writer, and opening a terminal may make it the process's own.
        with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY), "rb") as file:  # noqa: PTH123
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise ValueError("is not a regular file")
            content = file.read(max_bytes + 1)
    except OSError as error:
        raise ValueError(f"cannot be read: {error.strerror}") from None
    if len(content) > max_bytes:
        raise ValueError(f"is larger than {max_bytes} bytes")
    return content
