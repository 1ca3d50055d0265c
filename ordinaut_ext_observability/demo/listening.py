"""The socket that `serve` and `demo` listen on, and its URL."""

from __future__ import annotations

import os
import socket
from typing import NamedTuple

from ordinaut_ext_observability.errors import AddressInUseError

_LOOPBACK = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - compared, not bound
"""Addresses that mean all of them: a client on this machine asks loopback."""


class Listener(NamedTuple):
    """A listening socket and the URL at which a client on this machine reaches it."""

    socket: socket.socket
    url: str


def listen(host: str, port: int) -> Listener:
    """Listen; port 0 takes a free one.

    Raises:
        AddressInUseError: with what to do about it.
    """
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        listener = socket.create_server((host, port), family=family, backlog=128)
        # Accepted connections inherit it; asyncio sets it only for sockets that name their protocol.
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    except OSError as error:
        # The error's own text may hold the address again.
        reason = os.strerror(error.errno) if error.errno is not None and error.errno > 0 else error.strerror
        raise AddressInUseError(
            f"Cannot listen on {host}:{port}: {reason}.\nChoose another port with --port; 0 takes a free one."
        ) from error
    client = _LOOPBACK.get(host, host)
    return Listener(listener, f"http://{f'[{client}]' if ':' in client else client}:{listener.getsockname()[1]}")
