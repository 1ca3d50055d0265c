"""Connections to our own ports: whatever others hold open, in whatever state, probes are answered and times end."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import socket
import threading
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from fastapi import APIRouter, FastAPI
from starlette.responses import Response

from ordinaut_ext_observability.web import connections
from ordinaut_ext_observability.web.management import ManagementServer

PROBE = b"GET /health/live HTTP/1.1\r\nHost: x\r\n\r\n"
SCRAPE = b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n"
UPGRADE = b"GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"

STATES: dict[str, list[bytes]] = {
    "silent": [],
    "in the middle of the request line": [b"GET /health"],
    "in the middle of the headers": [b"GET /health/live HTTP/1.1\r\nHost: x\r\nX: "],
    "in the middle of a body": [b"POST /health/live HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\nabc"],
    "in the middle of a chunk": [b"POST /metrics HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nff\r\nab"],
    "waiting to be told to go on": [
        b"POST /metrics HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 9\r\n\r\n"
    ],
    "kept alive": [PROBE],
    "kept alive with half a further request": [PROBE, b"GET / HTTP/1.1\r\nX: "],
    "kept alive with one further byte": [PROBE, b"G"],
    "many requests at once": [PROBE * 300],
    "many requests at once, not read": [SCRAPE * 300],
    "an answer that is not read": [SCRAPE],
    "upgraded to a websocket": [UPGRADE],
    "a tunnel": [b"CONNECT example.com:443 HTTP/1.1\r\nHost: example.com:443\r\n\r\n"],
    "garbage": [b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"],
}

Open = Callable[[str], socket.socket]


def make_router() -> APIRouter:
    router = APIRouter()
    router.add_api_route("/health/live", lambda: {"status": "ok"})
    # More than the system takes for a client that does not read.
    router.add_api_route("/metrics", lambda: Response(b"x" * 9_000_000))
    return router


@pytest.fixture
def start_server() -> Iterator[Callable[..., ManagementServer]]:
    """A server of our own ports, on a port that is free."""
    with contextlib.ExitStack() as stack:

        def run(host: str = "127.0.0.1") -> ManagementServer:
            server = ManagementServer(make_router, host=host, port=0, mount_path="/mount")
            server.start()
            stack.callback(server.stop)
            return server

        yield run


@pytest.fixture
def server(start_server: Callable[..., ManagementServer]) -> ManagementServer:
    return start_server()


@pytest.fixture(scope="module")
def lasting_server() -> Iterator[ManagementServer]:
    """One for all tests that only ask."""
    server = ManagementServer(make_router, host="127.0.0.1", port=0, mount_path="/mount")
    server.start()
    yield server
    server.stop()


@pytest.fixture
def port(request: pytest.FixtureRequest) -> int:
    """The port of the test's own server where it has one."""
    return port_of(request.getfixturevalue("server" if "server" in request.fixturenames else "lasting_server"))


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every state has a short time."""
    for name, seconds in (("REQUEST", 0.1), ("IDLE", 0.1), ("ANSWER", 0.3), ("SWEEP", 0.05)):
        monkeypatch.setattr(connections, f"{name}_SECONDS", seconds)


def port_of(server: ManagementServer) -> int:
    assert server.address is not None
    return server.address[1]


def connections_of(server: ManagementServer) -> Any:
    assert server._server is not None
    return server._server.server_state.connections


@pytest.fixture
def open_in(port: int) -> Iterator[Open]:
    """Opens a connection and brings it into a state."""
    with contextlib.ExitStack() as stack:

        def run(state: str) -> socket.socket:
            connection = stack.enter_context(socket.socket())
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
            connection.settimeout(10)
            connection.connect(("127.0.0.1", port))
            with contextlib.suppress(ConnectionError):  # others may have taken its place meanwhile
                for part in STATES[state]:
                    connection.sendall(part)
                    if part == PROBE:
                        connection.recv(4096)
            return connection

        yield run


def probe(port: int) -> int:
    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", port, timeout=5)) as client:
        client.request("GET", "/health/live")
        return client.getresponse().status


def is_answered(connection: socket.socket) -> bool:
    connection.sendall(PROBE)
    answer = b""
    while received := connection.recv(4096):
        answer += received
        if answer.endswith(b"}"):
            break
    return answer.startswith(b"HTTP/1.1 200 ")


def ended(connection: socket.socket) -> bool:
    """Reads until the server has closed the connection; False if it does not within the timeout."""
    try:
        while connection.recv(1 << 20):
            pass
    except TimeoutError:
        return False
    except ConnectionError:
        pass
    return True


@pytest.mark.parametrize("state", STATES)
def test_probes_are_answered_while_more_connections_than_places_are_in_a_state(
    port: int, open_in: Open, state: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "MAX_CONNECTIONS_PER_NETWORK", 40)
    held = [open_in(state) for _ in range(60)]
    assert [probe(port) for _ in range(10)] == [200] * 10
    assert len(held) == 60


def test_time_of_every_state_ends(quick: None, server: ManagementServer, open_in: Open, eventually: Any) -> None:
    held = {state: open_in(state) for state in STATES}
    assert eventually(lambda: not connections_of(server))
    assert [state for state, connection in held.items() if not ended(connection)] == []


@pytest.mark.parametrize(
    "part", [b"G", b"GET /health/live HTTP/1.1\r\n", b"POST / HTTP/1.1\r\nContent-Length: 99\r\n\r\n"]
)
def test_bytes_that_trickle_do_not_prolong_the_time(
    quick: None, server: ManagementServer, port: int, part: bytes
) -> None:
    with socket.create_connection(("127.0.0.1", port), 5) as connection:
        connection.sendall(part)
        connection.settimeout(0.02)
        for _ in range(1000):
            try:
                connection.sendall(b"x")
                if connection.recv(4096) == b"":
                    return
            except TimeoutError:
                continue
            except ConnectionError:
                return
    pytest.fail("the connection stays open for as long as bytes trickle in")


def test_half_closed_connection_ends(server: ManagementServer, open_in: Open, eventually: Any) -> None:
    held = open_in("in the middle of the headers")
    held.shutdown(socket.SHUT_WR)
    assert ended(held)
    assert eventually(lambda: not connections_of(server))


def test_connections_of_one_address_are_bounded_and_the_oldest_goes(
    server: ManagementServer, port: int, open_in: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "MAX_CONNECTIONS_PER_NETWORK", 20)
    held = [open_in("silent") for _ in range(50)]
    assert probe(port) == 200
    assert len(connections_of(server)) <= 20
    assert all(ended(connection) for connection in held[:30])
    assert is_answered(held[-1])


def test_one_address_does_not_take_the_places_of_others(
    start_server: Any, eventually: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "MAX_CONNECTIONS_PER_NETWORK", 20)
    monkeypatch.setattr(connections, "MAX_CONNECTIONS", 40)
    server = start_server("0.0.0.0")
    with contextlib.ExitStack() as stack:
        other = stack.enter_context(socket.create_connection(("127.0.0.1", port_of(server)), 5))
        assert is_answered(other)
        for _ in range(60):
            stack.enter_context(socket.create_connection(("127.0.0.1", port_of(server)), 5, ("127.0.0.2", 0)))
        assert eventually(lambda: len(connections_of(server)) == 21)
        assert is_answered(other)


def test_connections_of_all_addresses_are_bounded(start_server: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "MAX_CONNECTIONS", 40)
    server = start_server("0.0.0.0")
    with contextlib.ExitStack() as stack:
        for number in range(200):
            source = (f"127.0.{number}.1", 0)
            stack.enter_context(socket.create_connection(("127.0.0.1", port_of(server)), 5, source))
        assert probe(port_of(server)) == 200
        assert len(connections_of(server)) <= 40


def test_silent_connections_without_end_do_not_keep_a_probe_from_its_answer(port: int) -> None:
    stop = threading.Event()

    def rush() -> None:
        with contextlib.ExitStack() as stack:
            for _ in range(1500):
                if not stop.is_set():
                    stack.enter_context(contextlib.closing(socket.create_connection(("127.0.0.1", port), 10)))

    rushing = threading.Thread(target=rush)
    rushing.start()
    statuses = {probe(port)}
    while rushing.is_alive():
        statuses.add(probe(port))
    rushing.join()
    assert statuses == {200}
    stop.set()


def test_probe_is_answered_between_the_requests_of_those_who_ask_without_end(port: int) -> None:
    asked = threading.Event()
    stop = threading.Event()

    def ask_without_end() -> None:
        with socket.create_connection(("127.0.0.1", port), 10) as connection:
            while not stop.is_set():
                connection.sendall(PROBE * 50)
                while connection.recv(65536).count(b"HTTP/1.1 200 ") == 0:
                    pass
                asked.set()

    asking = [threading.Thread(target=ask_without_end) for _ in range(10)]
    for thread in asking:
        thread.start()
    try:
        assert asked.wait(10)
        assert [probe(port) for _ in range(20)] == [200] * 20
    finally:
        stop.set()
        for thread in asking:
            thread.join(20)


def test_requests_are_begun_a_few_at_once_and_newcomers_first() -> None:
    """As many at once would keep new connections from being accepted, and read, in time."""
    order: list[str] = []

    class Connection:
        def __init__(self, name: str, last_turn: float, opened: float, gone: bool = False) -> None:
            self.name, self.last_turn, self.opened = name, last_turn, opened
            self.cycle = SimpleNamespace(disconnected=gone)

    async def app(scope: Any, receive: Any, send: Any) -> None:
        order.append(scope["state"]["connection"].name)

    async def run() -> list[int]:
        turns: Any = connections.TurnTaking(app)
        old = [Connection(f"old {number}", 50.0 + number, 1.0) for number in range(30)]
        all_of_them = [*old, Connection("gone", 0.0, 1.5, gone=True), Connection("new", 0.0, 2.0)]
        tasks = [asyncio.create_task(turns({"state": {"connection": one}}, None, None)) for one in all_of_them]
        begun = []
        while not all(task.done() for task in tasks):
            await asyncio.sleep(0)
            begun.append(len(order))
        return begun

    begun = asyncio.run(run())
    assert order == ["new", *(f"old {number}" for number in range(30))]
    assert max(after - before for before, after in zip(begun, begun[1:], strict=False)) <= connections.ACCEPTED_AT_ONCE


def test_unread_answers_are_bounded_together(
    start_server: Any, eventually: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "SWEEP_SECONDS", 0.05)
    monkeypatch.setattr(connections, "MAX_UNREAD_BYTES", 10_000_000)
    server = start_server()
    with contextlib.ExitStack() as stack:
        for _ in range(6):
            stack.enter_context(socket.create_connection(("127.0.0.1", port_of(server)), 5)).sendall(SCRAPE)
        assert eventually(
            lambda: (
                connections_of(server) and all(c.transport.get_write_buffer_size() > 0 for c in connections_of(server))
            )
        )
        assert eventually(lambda: len(connections_of(server)) < 4)
        assert len(connections_of(server)) > 0
        assert probe(port_of(server)) == 200


def test_stop_does_not_wait_for_a_client_that_does_not_read(
    server: ManagementServer, open_in: Open, eventually: Any
) -> None:
    held = open_in("an answer that is not read")
    assert eventually(
        lambda: any(connection.transport.get_write_buffer_size() for connection in connections_of(server))
    )
    (connection,) = connections_of(server)
    server.stop()
    assert connection.transport.is_closing()
    assert connection.transport.get_write_buffer_size() == 0
    assert ended(held)


def test_scrapers_that_ask_as_they_always_did_are_answered(port: int) -> None:
    with socket.create_connection(("127.0.0.1", port), 5) as connection:
        connection.sendall(b"GET /health/live HTTP/1.0\r\n\r\n")
        answer = b"".join(iter(lambda: connection.recv(4096), b""))
    assert answer.startswith(b"HTTP/1.1 200 ") and answer.endswith(b'{"status":"ok"}')
    with socket.create_connection(("127.0.0.1", port), 5) as connection:
        connection.sendall(PROBE * 49 + PROBE.replace(b"Host", b"Connection: close\r\nHost"))
        answer = b"".join(iter(lambda: connection.recv(65536), b""))
    assert answer.count(b"HTTP/1.1 200 ") == 50
    with httpx.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False, verify=False) as client:
        assert [client.get(path).status_code for path in ("/metrics", "/mount/health/live") * 5] == [200] * 10


def test_what_strangers_send_writes_no_lines(port: int, open_in: Open, caplog: pytest.LogCaptureFixture) -> None:
    for state in ("garbage", "upgraded to a websocket"):
        held = open_in(state)
        held.shutdown(socket.SHUT_WR)
        assert ended(held)
    assert [
        record for record in caplog.records if record.name.startswith("uvicorn") and record.levelname != "INFO"
    ] == []


@pytest.mark.parametrize("header", ["X-Forwarded-For", "Forwarded", "X-Real-IP"])
def test_headers_do_not_change_who_connects(serve: Any, header: str) -> None:
    served = serve(FastAPI(), MANAGEMENT_PORT="0", SCRAPE_ALLOW="10.0.0.0/8")
    url = f"{served.runtime.ports.notes()['management_port']}/metrics"
    answer = httpx.get(url, headers={header: "10.0.0.1"}, trust_env=False, verify=False)
    assert answer.status_code == 403
    assert served.log.line(event_type="access_refused")["client_address"] == "127.0.0.1"


@pytest.mark.parametrize("method", ["POST", "DELETE", "OPTIONS"])
def test_other_methods_are_refused_in_our_shape(port: int, method: str) -> None:
    answer = httpx.request(method, f"http://127.0.0.1:{port}/metrics", trust_env=False, verify=False)
    assert answer.status_code == 405
    assert set(answer.json()) == {"error", "message", "request_id"}
    assert "GET" in answer.headers["allow"]
