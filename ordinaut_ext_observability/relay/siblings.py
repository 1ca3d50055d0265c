"""Processes that serve at the same address: without a store between them, a scrape sees now one and now another.

Each binds an abstract Unix socket whose name holds the address it listens on, and finds the others' in the kernel's
list. Such a name needs no file and no right, and goes with its process. It is seen in one network namespace, as ports
are: two listeners at one address there share its clients, be it one socket (uvicorn, gunicorn, hypercorn) or several
with SO_REUSEPORT (granian). A child that only inherited the socket binds no name. Only Linux has such names; elsewhere
nobody is found.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import socket
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

_PREFIX = "ordinaut-observability/serves/"
_NAME = re.compile(rf"@{_PREFIX}(\S+)/[0-9a-f]+$", re.MULTILINE)
_UNIX_SOCKETS = Path("/proc/net/unix")
_LISTENS = "0A"
"""The state in `/proc/net/tcp`; sockets that listen come first there."""

_ACCEPTS = 0x10000
"""The flag in `/proc/net/unix`."""


class Siblings:
    """Says where this process serves, and counts who serves there too."""

    def __init__(self) -> None:
        self._names: dict[str, socket.socket] = {}
        self._started = False
        self._lock = threading.Lock()  # a check that is under way may outlast the end

    def start(self) -> None:
        """Say where this process serves from the next `count` on."""
        self._started = True

    def count(self) -> int:
        """Other processes that serve at an address of this one's; 0 where the system does not tell.

        Takes longer the more connections there are: call it in a thread of ours.
        """
        with self._lock:
            try:
                self._bind_names(_own_addresses() if self._started else set())
                serving = servers_by_address()
            except (OSError, ValueError, IndexError):  # there is no such list, or it is written otherwise
                return 0
            return max((serving[address] - 1 for address in self._names), default=0)

    def close(self) -> None:
        """Serve nowhere any more. Safe without `start`, and more than once."""
        with self._lock:
            self._started = False
            self._bind_names(set())

    def reset_after_fork(self) -> None:
        """In a forked child, which has the parent's names: they must not outlive the parent."""
        self._lock = threading.Lock()
        self.close()

    def _bind_names(self, addresses: set[str]) -> None:
        for address in self._names.keys() - addresses:
            self._names.pop(address).close()
        for address in addresses - self._names.keys():
            name = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
            name.bind(f"\0{_PREFIX}{address}/{os.urandom(8).hex()}".encode())
            self._names[address] = name


def servers_by_address() -> Counter[str]:
    """How many processes of ours serve at each address of this network namespace.

    Raises:
        OSError: the system does not tell.
    """
    return Counter(_NAME.findall(_UNIX_SOCKETS.read_text(encoding="utf-8", errors="replace")))


def _own_addresses() -> set[str]:
    """Where this process listens, as the kernel writes it: `0100007F:1F40`; a Unix socket's path as a digest."""
    own = set()
    for descriptor in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(OSError):  # closed meanwhile
            own.add(str(descriptor.readlink()))
    return {address for inode, address in _listeners() if f"socket:[{inode}]" in own}


def _listeners() -> Iterator[tuple[str, str]]:
    """The inode and address of every socket of this network namespace that listens."""
    for path in (Path("/proc/net/tcp"), Path("/proc/net/tcp6")):
        with contextlib.suppress(FileNotFoundError), path.open(encoding="ascii") as sockets:
            next(sockets)
            for line in sockets:
                columns = line.split()
                if columns[3] != _LISTENS:
                    break
                yield columns[9], columns[1]
    with _UNIX_SOCKETS.open(encoding="utf-8", errors="replace") as sockets:
        next(sockets)
        for line in sockets:
            columns = line.split(maxsplit=7)
            if len(columns) == 8 and int(columns[3], 16) & _ACCEPTS:
                yield columns[6], hashlib.sha256(columns[7].encode()).hexdigest()[:16]
