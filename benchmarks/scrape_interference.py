"""The cost of a scrape of 100 k lines of series, or of a query over 5,000 series, to another request, under uvicorn.

A request is due every 4 ms; its latency is counted from when it was due. Rounds without and with one scrape, or query,
after the other (from another process) take turns. The figure is the difference of the medians over the rounds, for the
99th percentile and for the longest. The peer is `generate_latest` in an `async` route. The response is not compressed:
then it is the largest.
"""

from __future__ import annotations

import subprocess
import sys
import time
from contextlib import ExitStack
from statistics import median

from benchmarks.harness import Options, Result, versions
from benchmarks.server import QUERY_PATH, SCRAPE_PATHS, Connection, http_protocol, serving

LINES = 100_000
QUERIED = 5_000
INTERVAL_SECONDS = 0.004
_PATH = "/resources0/42"


def run(options: Options) -> list[Result]:
    rounds, seconds = options.pick(3, 7), 1.0 if options.quick else 3.0
    with ExitStack() as servers:
        asked = {**SCRAPE_PATHS, "queried": QUERY_PATH}
        lines = dict.fromkeys(SCRAPE_PATHS, LINES) | {"queried": QUERIED}
        ports = {name: servers.enter_context(serving(name, lines[name]))[0] for name in asked}
        added = {name: _Added() for name in asked}
        scrapes = dict.fromkeys(asked, 0)
        for name, path in asked.items():
            scraper = Connection(ports[name], path)
            scraper.send()
            scraper.receive()
            scraper.close()
        for _ in range(rounds):
            for name, path in asked.items():
                added[name].without.append(_stream(ports[name], seconds))
                child = subprocess.Popen(
                    [sys.executable, "-m", "benchmarks.scrape_interference", str(ports[name]), path, str(seconds + 1)],
                    stdout=subprocess.PIPE,
                    text=True,
                )
                if child.stdout is None:
                    raise RuntimeError("not a pipe")
                child.stdout.readline()  # the first scrape is under way
                added[name].during.append(_stream(ports[name], seconds))
                scrapes[name] += int(child.communicate()[0])
    peer = f"an async route with generate_latest; {versions('prometheus-client', 'uvicorn')}, {http_protocol()}"
    return [
        Result(
            f"{row}_{name}",
            f"{added[ours].milliseconds(share):+.1f} ms",
            f"{added['peers'].milliseconds(share):+.1f} ms",
            added[ours].milliseconds(share),
            peer,
            [
                f"meanwhile: ours {scrapes[ours]}, peer {scrapes['peers']}",
                f"without: {median(_at(latencies, share) for latencies in added[ours].without):.1f} ms",
            ],
        )
        for row, ours in (("scrape_interference", "ours"), ("query_interference", "queried"))
        for name, share in (("p99", 0.99), ("max", 1.0))
    ]


class _Added:
    """Latencies in milliseconds, sorted, of every round."""

    def __init__(self) -> None:
        self.without: list[list[float]] = []
        self.during: list[list[float]] = []

    def milliseconds(self, share: float) -> float:
        """What scrapes add at this share of the latencies."""
        return median(_at(latencies, share) for latencies in self.during) - median(
            _at(latencies, share) for latencies in self.without
        )


def _at(latencies: list[float], share: float) -> float:
    return latencies[min(len(latencies) - 1, int(len(latencies) * share))]


def _stream(port: int, seconds: float) -> list[float]:
    """Sorted latencies in milliseconds of requests that are due at a fixed interval."""
    connection = Connection(port, _PATH)
    latencies = []
    due = started = time.perf_counter()
    while due - started < seconds:
        time.sleep(max(0.0, due - time.perf_counter()))
        connection.send()
        connection.receive()
        latencies.append((time.perf_counter() - due) * 1000)
        due += INTERVAL_SECONDS
    connection.close()
    return sorted(latencies)


def _scrape(port: int, path: str, seconds: float) -> None:
    connection = Connection(port, path)
    deadline = time.perf_counter() + seconds
    print("begun", flush=True)
    number = 0
    while time.perf_counter() < deadline:
        connection.send()
        connection.receive()
        number += 1
    print(number)


if __name__ == "__main__":
    _scrape(int(sys.argv[1]), sys.argv[2], float(sys.argv[3]))
