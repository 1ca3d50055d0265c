"""Time that the extension adds to a server's stop while Redis and PostgreSQL hang.

Both are a socket that takes connections and never answers. The stop is that of a real uvicorn, from being told to end
until the process is gone, once it has served for as long as its first attempts to connect take.
"""

from __future__ import annotations

import socket
import time
from contextlib import ExitStack
from statistics import median

from benchmarks.harness import Options, Result, take_turns
from benchmarks.server import Connection, serving

_SERVED_SECONDS = 3.0


def run(options: Options) -> list[Result]:
    with socket.create_server(("127.0.0.1", 0), backlog=128) as hanging:
        address = f"127.0.0.1:{hanging.getsockname()[1]}"
        environment = {"REDIS_URL": f"redis://{address}/0", "DATABASE_URL": f"postgresql://bench@{address}/bench"}
        seconds = take_turns(
            {
                "ours": lambda: _stop_seconds("connected", environment),
                "bare": lambda: _stop_seconds("bare", {}),
            },
            options.pick(2, 7),
            warm_up=0,
        )
    ours, bare = median(seconds["ours"]), median(seconds["bare"])
    longest = f"the longest of {len(seconds['ours'])} took {max(seconds['ours']):.2f} s"
    return [Result("stop", f"{ours:.2f} s", f"{bare:.2f} s", ours - bare, "the bare host", [longest])]


def _stop_seconds(name: str, environment: dict[str, str]) -> float:
    with ExitStack() as stack:
        port, _ = stack.enter_context(serving(name, environment=environment))
        connection = Connection(port, "/resources0/42")
        connection.send()
        connection.receive()
        connection.close()
        time.sleep(_SERVED_SECONDS)
        started = time.perf_counter()
        stack.close()
        return time.perf_counter() - started
