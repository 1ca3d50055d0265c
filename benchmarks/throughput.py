"""Requests per second under uvicorn, as a share of the bare host's.

Three servers, each a process: the bare host, with the extension, with the peers. They are loaded in turns by 16
connections, each sending its next request when it has its answer. The share is that of requests per second of the
server's processor time: what a single worker can serve; requests per second of wall time are in the notes, and depend
on what else the machine does.
"""

from __future__ import annotations

from contextlib import ExitStack
from statistics import median

from benchmarks.harness import Options, Result, versions
from benchmarks.server import cpu_seconds, http_protocol, load, serving

CONNECTIONS = 16
_PATH = "/resources0/42"


def run(options: Options) -> list[Result]:
    rounds, seconds = options.pick(3, 12), 0.5 if options.quick else 1.0
    names = ("bare", "ours", "peers")
    with ExitStack() as servers:
        running = {name: servers.enter_context(serving(name)) for name in names}
        wall: dict[str, list[float]] = {name: [] for name in names}
        cpu: dict[str, list[float]] = {name: [] for name in names}
        for number in range(rounds + 1):
            for name in names[number % 3 :] + names[: number % 3]:
                port, process = running[name]
                before = cpu_seconds(process)
                per_second = load(port, _PATH, CONNECTIONS, seconds)
                after = cpu_seconds(process)
                if number == 0:  # connections, caches, laying out
                    continue
                wall[name].append(per_second)
                # Without the processor's figures (outside Linux), wall time has to do.
                cpu[name].append(per_second * seconds / (after - before) if after and before else per_second)
    shares = {name: _share(cpu[name], cpu["bare"]) for name in names}
    wall_shares = {name: _share(wall[name], wall["bare"]) for name in names}
    peers = versions("prometheus-fastapi-instrumentator", "asgi-correlation-id", "structlog")
    return [
        Result(
            "throughput",
            f"{median(cpu['ours']):.0f}/s",
            f"{median(cpu['bare']):.0f}/s",
            shares["ours"],
            f"the bare host; {versions('uvicorn')}, {http_protocol()}",
            [
                f"with the peers {shares['peers']:.2f}: {peers}",
                f"in wall time: ours {wall_shares['ours']:.2f}, peers {wall_shares['peers']:.2f}",
            ],
        )
    ]


def _share(values: list[float], bare: list[float]) -> float:
    """The median of the rounds' quotients: what disturbs a round disturbs both."""
    return median(value / other for value, other in zip(values, bare, strict=True))
