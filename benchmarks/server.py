"""A real uvicorn in a process of its own, and a client that costs little: `python -m benchmarks.server CONFIGURATION`.

The child listens on a free port, prints it, and serves until its standard input ends.
"""

from __future__ import annotations

import importlib.util
import os
import select
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import MappingProxyType
from typing import IO, Any, Literal
from urllib.parse import quote

from fastapi import FastAPI, Response
from prometheus_client import CollectorRegistry, generate_latest

from benchmarks.asgi import MOUNT_PATH, add_ours, add_peers, make_app
from benchmarks.harness import dev_null
from benchmarks.series import as_http_metrics, fill_client, fill_ours, fill_with_statuses
from ordinaut_ext_observability.runtime.process import Runtime
from ordinaut_ext_observability.settings.load import load_settings

SCRAPE_PATHS = {"ours": f"{MOUNT_PATH}/metrics", "peers": "/metrics"}
TOKEN = "benchmark-operator-token"
QUERY_PATH = f"{MOUNT_PATH}/api/v1/query?query={quote('sum by (endpoint) (rate(bench_requests_total[5m]))')}"
_SOCKET_BYTES = 1 << 20


def http_protocol() -> Literal["httptools", "h11"]:
    """What uvicorn parses with. `uvicorn[standard]`, which Ordinaut asks for, brings httptools."""
    return "httptools" if importlib.util.find_spec("httptools") else "h11"


def make_configuration(name: str, series_lines: int) -> FastAPI:
    """An application in one of the configurations compared, with further series to scrape."""
    app = make_app()
    if name == "ours":
        runtime = add_ours(app, dev_null())
        if series_lines:
            fill_ours(runtime.metrics.registry, as_http_metrics(series_lines))
    elif name == "connected":
        add_ours(app, dev_null(), settings=load_settings())
    elif name == "queried":
        runtime = add_ours(app, dev_null(), token=TOKEN)
        fill_with_statuses(runtime.metrics.registry, series_lines)
        _keep_an_hour(runtime)
    elif name == "peers":
        add_peers(app, dev_null())
        registry = CollectorRegistry()
        if series_lines:
            fill_client(registry, as_http_metrics(series_lines))

        @app.get("/metrics")
        async def metrics() -> Response:
            return Response(generate_latest(registry), media_type="text/plain")

    return app


def _keep_an_hour(runtime: Runtime) -> None:
    """Fill the history, as if the process had been up for an hour."""
    history = runtime.history.history
    now_ms = history.begin_tick()
    for age in range(3600, 0, -15):
        for _ in history.read(now_ms - age * 1000, runtime.metrics.registry.families()):
            pass


@contextmanager
def serving(
    name: str, series_lines: int = 0, environment: Mapping[str, str] = MappingProxyType({})
) -> Iterator[tuple[int, int]]:
    """The port and the process id of a server in that configuration, with further variables in its environment."""
    child = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.server", name, str(series_lines)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, **environment},
    )
    stdin, stdout = _pipe(child.stdin), _pipe(child.stdout)
    try:
        yield int(stdout.readline()), child.pid
    finally:
        stdin.close()
        child.wait(10.0)
        stdout.close()


def _pipe(stream: IO[bytes] | None) -> IO[bytes]:
    if stream is None:
        raise RuntimeError("not a pipe")
    return stream


def cpu_seconds(process: int) -> float | None:
    """Processor time that process has used; None where the system does not tell (Linux does)."""
    try:
        threads = os.listdir(f"/proc/{process}/task")
    except OSError:
        return None
    return sum(_cpu_nanoseconds(f"/proc/{process}/task/{thread}/schedstat") for thread in threads) / 1e9


def known_cpu_seconds(process: int) -> float:
    """The same. Raises RuntimeError where the system does not tell."""
    used = cpu_seconds(process)
    if used is None:
        raise RuntimeError("the system does not tell the processor time of another process")
    return used


def _cpu_nanoseconds(path: str) -> int:
    try:
        with open(path) as file:
            return int(file.read().split()[0])
    except (FileNotFoundError, ProcessLookupError):  # the thread ended just now
        return 0


class Connection:
    """A kept-alive connection on which the same request is sent again and again."""

    def __init__(self, port: int, path: str) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), 60.0)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._request = (
            f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nUser-Agent: benchmark/1.0\r\nAccept: */*\r\n"
            f"Authorization: Bearer {TOKEN}\r\n\r\n"
        ).encode()

    def send(self) -> None:
        self.socket.sendall(self._request)

    def receive(self) -> int:
        """Read one answer; the bytes of its body."""
        head, _, body = self._until_head_ends().partition(b"\r\n\r\n")
        if not head.startswith(b"HTTP/1.1 200"):
            raise RuntimeError(head.decode("latin-1"))
        length = int(head.lower().partition(b"content-length:")[2].split(b"\r\n", 1)[0])
        missing = length - len(body)
        while missing > 0:
            received = len(self.socket.recv(min(missing, _SOCKET_BYTES)))
            if not received:
                raise ConnectionError("the server closed the connection")
            missing -= received
        return length

    def _until_head_ends(self) -> bytes:
        data = b""
        while b"\r\n\r\n" not in data:
            received = self.socket.recv(65536)
            if not received:
                raise ConnectionError("the server closed the connection")
            data += received
        return data

    def close(self) -> None:
        self.socket.close()


def load(port: int, path: str, connections: int, seconds: float) -> float:
    """Requests per second when every connection sends its next request as soon as it has its answer."""
    clients = [Connection(port, path) for _ in range(connections)]
    by_descriptor = {client.socket.fileno(): client for client in clients}
    poll = select.poll()
    for descriptor, client in by_descriptor.items():
        poll.register(descriptor, select.POLLIN)
        client.send()
    answered = 0
    started = time.perf_counter()
    deadline = started + seconds
    while time.perf_counter() < deadline:
        for descriptor, _ in poll.poll(1000):
            client = by_descriptor[descriptor]
            client.receive()
            client.send()
            answered += 1
    elapsed = time.perf_counter() - started
    for client in clients:
        client.receive()
        client.close()
    return answered / elapsed


def _serve(name: str, series_lines: int) -> None:
    import uvicorn

    app: Any = make_configuration(name, series_lines)
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.bind(("127.0.0.1", 0))
    listener.listen(128)
    server = uvicorn.Server(uvicorn.Config(app, http=http_protocol(), log_level="warning", access_log=False))

    def end_with_input() -> None:
        sys.stdin.read()
        server.should_exit = True

    threading.Thread(target=end_with_input, daemon=True).start()
    print(listener.getsockname()[1], flush=True)
    server.run(sockets=[listener])


if __name__ == "__main__":
    _serve(sys.argv[1], int(sys.argv[2]))
