"""A service to scrape: counters with resets, gauges, histograms, series that come and go; other values each time."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from itertools import product
from random import Random

ZONES = ("north", "south", "west")
KINDS = ("cold", "warm")
BOUNDS = ("0.1", "0.5", "2", "+Inf")
_TO_BEGIN_WITH = 20_000
"""Counters begin high: versions differ in how they extrapolate those that begin near zero."""


class Service:
    """Its metrics, which move on with each scrape; those of one seed are the same."""

    def __init__(self, seed: int) -> None:
        self._random = Random(seed)
        self._counters: dict[str, float] = {}
        self.scrapes = 0

    def metrics(self) -> str:
        self.scrapes += 1
        return "".join(f"{series} {value}\n" for series, value in self._samples())

    def _samples(self) -> Iterator[tuple[str, float]]:
        for number, (zone, kind) in enumerate(product(ZONES, KINDS)):
            labels = f'zone="{zone}",kind="{kind}"'
            yield f"requests_total{{{labels}}}", self._grown(f"requests{labels}", 9, resets=True)
            yield f"depth{{{labels}}}", self._gauge()
            if number != 3:
                yield f"errors_total{{{labels}}}", self._grown(f"errors{labels}", 2, resets=False)
            if (self.scrapes // (5 + number)) % 3 != 1:
                yield f"visits_total{{{labels}}}", self._grown(f"visits{labels}", 5, resets=False)
                yield f"visitors{{{labels}}}", self._gauge()
        for zone in ZONES:
            yield f'temperature{{zone="{zone}"}}', self._gauge()
            yield f'about{{zone="{zone}",version="v{len(zone)}",note="a-{zone}.b"}}', 1.0
            count = 0.0
            for bound in BOUNDS:
                count += self._grown(f"latency{zone}{bound}", 6, resets=False)
                yield f'latency_seconds_bucket{{zone="{zone}",le="{bound}"}}', count
            yield f'latency_seconds_count{{zone="{zone}"}}', count
        yield 'odd{zone="north"}', float("nan") if self.scrapes % 7 == 3 else self._gauge()
        yield 'odd{zone="west"}', float("inf") if self.scrapes % 9 == 5 else self._gauge()

    def _gauge(self) -> float:
        """A number whose sums are exact: of versions, one rounds in another order than the other."""
        return self._random.randrange(-(2**20), 2**20) / 2**10

    def _grown(self, name: str, most: int, *, resets: bool) -> float:
        value = self._counters.get(name, _TO_BEGIN_WITH) + self._random.randint(1, most)
        if resets and self._random.random() < 0.05:
            value = self._random.randint(0, 50)
        self._counters[name] = value
        return float(value)


@contextmanager
def serving(service: Service) -> Iterator[int]:
    """The port at which it is scraped."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = service.metrics().encode()
            self.send_response(200)
            self.send_header("Content-Type", "text/plain; version=0.0.4")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_arguments: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
