"""Processes that serve at one address, seen by each other: real sockets, and processes of their own."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ordinaut_ext_observability.background.fork import reset_in_forked_child
from ordinaut_ext_observability.relay.siblings import Siblings, servers_by_address

# Serves at the socket whose descriptor it is given, as a worker of a supervisor does; "shares" listens on its port.
SERVER = """
import socket, sys
from ordinaut_ext_observability.relay.siblings import Siblings
kind, value = sys.argv[1:]
if kind == "inherits":
    listener = socket.socket(fileno=int(value))
else:
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    listener.bind(("127.0.0.1", int(value)))
    listener.listen()
siblings = Siblings()
siblings.start()
print(siblings.count(), flush=True)
sys.stdin.read()
"""


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        yield listener


@pytest.fixture
def siblings() -> Iterator[Siblings]:
    siblings = Siblings()
    reset_in_forked_child(siblings)
    siblings.start()
    yield siblings
    siblings.close()


@pytest.fixture
def start_server() -> Iterator[Any]:
    import subprocess
    import sys

    started = []

    def run(kind: str, listener: socket.socket) -> Any:
        value = listener.fileno() if kind == "inherits" else listener.getsockname()[1]
        server = subprocess.Popen(
            [sys.executable, "-c", SERVER, kind, str(value)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            pass_fds=[listener.fileno()] if kind == "inherits" else [],
            text=True,
        )
        started.append(server)
        assert server.stdout is not None
        return server, int(server.stdout.readline())

    yield run
    for server in started:
        server.communicate(timeout=10)


def test_a_process_alone_has_no_siblings(siblings: Siblings, listener: socket.socket) -> None:
    assert [siblings.count(), siblings.count()] == [0, 0]


@pytest.mark.parametrize("kind", ["inherits", "shares"])
def test_servers_at_one_address_see_each_other(
    siblings: Siblings, listener: socket.socket, start_server: Any, kind: str
) -> None:
    """By a socket that both have, and by sockets of their own with SO_REUSEPORT."""
    assert siblings.count() == 0
    _, first = start_server(kind, listener)
    server, second = start_server(kind, listener)
    assert (first, second, siblings.count()) == (1, 2, 2)
    server.communicate(timeout=10)
    assert siblings.count() == 1


def test_servers_at_other_addresses_are_no_siblings(siblings: Siblings, start_server: Any) -> None:
    with socket.create_server(("127.0.0.1", 0)) as one, socket.create_server(("127.0.0.1", 0)) as other:
        _, seen = start_server("inherits", one)
        one.close()
        assert other.fileno() >= 0
        assert (seen, siblings.count()) == (0, 0)


def test_servers_at_one_unix_socket_see_each_other(siblings: Siblings, start_server: Any, tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "socket"))
        listener.listen()
        assert siblings.count() == 0
        _, seen = start_server("inherits", listener)
        assert (seen, siblings.count()) == (1, 1)


def test_a_child_that_inherited_the_socket_and_does_not_serve_is_no_sibling(
    siblings: Siblings, listener: socket.socket
) -> None:
    """As those of a pool of the host's. Nor does it keep its parent's name alive."""
    assert siblings.count() == 0
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(writing, b"forked")
        signal.pause()
        os._exit(0)
    try:
        assert os.read(reading, 6) == b"forked"
        assert siblings.count() == 0
        address = next(iter(siblings._names))
        siblings.close()
        assert servers_by_address()[address] == 0
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        os.close(reading)
        os.close(writing)


def test_where_a_process_listens_no_more_it_serves_no_more(siblings: Siblings) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        assert siblings.count() == 0
        before = set(siblings._names)
        assert listener.fileno() >= 0
    siblings.count()
    assert len(before - set(siblings._names)) == 1


def test_closed_it_binds_no_name_until_it_is_started_again(siblings: Siblings, listener: socket.socket) -> None:
    """A check may be under way when the process ends."""
    siblings.close()
    assert (siblings.count(), siblings._names) == (0, {})
    siblings.start()
    siblings.count()
    assert siblings._names
