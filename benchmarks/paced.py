"""Processor time that a request adds to the whole server process when requests come at a steady pace.

At few requests a second every wake-up of a thread counts, which other rows do not see: `request_cost` has no server,
and `throughput` no rest. Three servers, each a process: the bare host, with everything on, with the peers. They are
asked in turns, by this process, at 50 and 500 requests a second and at half of what the slowest can serve. The bare
host's processor time per request is subtracted on both sides.
"""

from __future__ import annotations

import time
from contextlib import ExitStack
from functools import partial
from statistics import median

from benchmarks.harness import Options, Result, microseconds, take_turns, versions
from benchmarks.server import Connection, http_protocol, known_cpu_seconds, load, serving

CONNECTIONS = 8
_PATH = "/resources0/42"
_TAIL_SECONDS = 0.15
"""Time after the last request in which its line is written."""


class Server:
    """A server process that is asked at a pace."""

    def __init__(self, port: int, process: int) -> None:
        self._port = port
        self._process = process

    def cpu_seconds(self) -> float:
        """Processor time used so far."""
        return known_cpu_seconds(self._process)

    def limit(self) -> float:
        """Requests that it serves in a second of processor time."""
        load(self._port, _PATH, CONNECTIONS, 0.2)  # caches, laying out
        before = self.cpu_seconds()
        seconds = 0.5
        return load(self._port, _PATH, CONNECTIONS, seconds) * seconds / (self.cpu_seconds() - before)

    def cost(self, per_second: int, seconds: float) -> float:
        """Processor time per request when so many come in each second."""
        connections = [Connection(self._port, _PATH) for _ in range(CONNECTIONS)]
        for connection in connections:
            connection.send()
        requests = int(per_second * seconds)
        before, due = self.cpu_seconds(), time.perf_counter()
        for number in range(requests):
            time.sleep(max(0.0, due - time.perf_counter()))
            connection = connections[number % CONNECTIONS]
            connection.receive()  # of the request before on this connection: answered long since
            connection.send()
            due += 1 / per_second
        time.sleep(_TAIL_SECONDS)
        used = self.cpu_seconds() - before
        for connection in connections:
            connection.close()
        return used / requests


def run(options: Options) -> list[Result]:
    rounds, seconds = options.pick(3, 12), {50: 2.0, 500: 1.0}
    with ExitStack() as stack:
        servers = {name: Server(*stack.enter_context(serving(name))) for name in ("bare", "ours", "peers")}
        half = int(min(server.limit() for server in servers.values()) / 2)
        rows = {"paced_50": 50, "paced_500": 500, "paced_half": half}
        return [
            _compare(row, per_second, _costs(servers, per_second, seconds.get(per_second, 0.5), rounds))
            for row, per_second in rows.items()
        ]


def _costs(servers: dict[str, Server], per_second: int, seconds: float, rounds: int) -> dict[str, float]:
    turns = {name: partial(server.cost, per_second, seconds) for name, server in servers.items()}
    return {name: median(values) for name, values in take_turns(turns, rounds).items()}


def _compare(budget: str, per_second: int, cost: dict[str, float]) -> Result:
    ours, peers = (cost[name] - cost["bare"] for name in ("ours", "peers"))
    peer = versions("prometheus-fastapi-instrumentator", "asgi-correlation-id", "structlog", "uvicorn")
    return Result(
        budget,
        microseconds(ours),
        microseconds(peers),
        ours / peers,
        f"{peer}, {http_protocol()}",
        [f"at {per_second} requests a second; the bare host's {microseconds(cost['bare'])} are subtracted"],
    )
