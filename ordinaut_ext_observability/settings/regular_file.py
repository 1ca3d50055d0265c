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
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY)
        try:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise ValueError("is not a regular file")
            with open(descriptor, "rb", closefd=False) as file:
                content = file.read(max_bytes + 1) or b""  # None where a file of the kernel has nothing yet
        finally:
            os.close(descriptor)
    except OSError as error:
        raise ValueError(f"cannot be read: {error.strerror}") from None
    if len(content) > max_bytes:
        raise ValueError(f"is larger than {max_bytes} bytes")
    return content
