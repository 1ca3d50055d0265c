"""Processes that serve at the same address: without a store between them, a scrape sees now one and now another.

Each binds an abstract Unix socket whose name holds the address it listens on, and finds the others' in the kernel's
list. Such a name needs no file and no right, and goes with its process. It is seen in one network namespace, as ports
are: two listeners at one address there share its clients, be it one socket (uvicorn, gunicorn, hypercorn) or several
with SO_REUSEPORT (granian). A child that only inherited the socket binds no name. Only Linux has such names; elsewhere
nobody is found.
"""

from __future__ import annotations

import hashlib
import os
import re
import socket
import threading
from collections import Counter
from pathlib import Path

from ordinaut_ext_observability.background.fork import forks_held_off, reset_in_forked_child

_PREFIX = "ordinaut-observability/serves/"
_NAME = re.compile(rf"@{_PREFIX}(\S+)/[0-9a-f]+$", re.MULTILINE)


class Siblings:
    """Says where this process serves, and counts who serves there too."""

    def __init__(self) -> None:
        self._names: dict[str, socket.socket] = {}
        self._started = False
        self._lock = threading.Lock()  # a check that is under way may outlast the end
        reset_in_forked_child(self)

    def start(self) -> None:
        """Say where this process serves from the next `count` on."""
        self._started = True

    def count(self) -> int:
        """Other processes that serve at an address of this one's; 0 where the system does not tell.

        Takes longer the more connections there are: call it in a thread of ours.
        """
        with forks_held_off():
            import psutil  # not while the host starts
        with self._lock:
            try:
                self._bind_names(_own_addresses() if self._started else set())
                serving = servers_by_address()
            except (OSError, psutil.Error):
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
    """The number of processes of ours that serve at each address of this network namespace.

    Raises OSError where the system does not tell.
    """
    names = Path("/proc/net/unix").read_text(encoding="utf-8", errors="replace")
    return Counter(_NAME.findall(names))


def _own_addresses() -> set[str]:
    """Where this process listens: `127.0.0.1:8000`, or the digest of a Unix socket's path."""
    import psutil

    process = psutil.Process()
    connections = process.net_connections if hasattr(process, "net_connections") else process.connections
    own = set()
    for connection in connections("all"):
        address = connection.laddr  # of a Unix socket, its path
        if connection.status == psutil.CONN_LISTEN:
            own.add(f"{address.ip}:{address.port}")
        elif connection.family == socket.AF_UNIX and address and not str(address).startswith("@"):
            own.add(hashlib.sha256(str(address).encode(errors="surrogateescape")).hexdigest()[:16])
    return own
