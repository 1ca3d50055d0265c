"""What a request costs more than in the bare host, in process.

A FastAPI application is driven without sockets, with 1 and with 100 routes (each asked in turn), in the bare form, with
the extension and with the peers. Cost is processor time of the whole process per request, recording and writing
included; the bare host's is subtracted on both sides. Log lines go to /dev/null on both sides.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AsyncExitStack
from functools import partial
from http import HTTPStatus
from typing import Any

from starlette_exporter import PrometheusMiddleware

from benchmarks.asgi import AccessLine, Message, Settle, add_ours, add_peers, lifespan, make_app, paths, request, settle
from benchmarks.harness import (
    Options,
    Result,
    dev_null,
    low,
    microseconds,
    process_cpu_seconds,
    take_turns,
    versions,
)

REQUESTS_PER_ROUND = 300


class SmallestWrapper:
    """The least that a middleware does which adds headers: two constant ones."""

    def __init__(self, app: Any) -> None:
        self.app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] += ((b"x-request-id", b"constant"), (b"server-timing", b"constant"))
            await send(message)

        await self.app(scope, receive, send_with_headers)


class Candidate:
    """One application in one configuration."""

    def __init__(self, configure: Callable[[Any], Settle | None], routes: int) -> None:
        self.app = make_app(routes)
        self._finish_work = configure(self.app)
        self._paths = paths(routes)

    async def measure(self) -> float:
        """Processor time per request."""
        app = self.app
        all_paths = self._paths
        started = process_cpu_seconds()
        for number in range(REQUESTS_PER_ROUND):
            await request(app, all_paths[number % len(all_paths)])
        if self._finish_work is not None:
            self._finish_work()
        return (process_cpu_seconds() - started) / REQUESTS_PER_ROUND


def run(options: Options) -> list[Result]:
    descriptor = dev_null()

    def ours(access_log: bool) -> Callable[[Any], Settle]:
        def configure(app: Any) -> Settle:
            add_ours(app, descriptor, access_log=access_log)
            return settle(app)

        return configure

    def peers(access_line: AccessLine) -> Callable[[Any], None]:
        return lambda app: add_peers(app, descriptor, access_line)

    def wrapper(app: Any) -> None:
        app.add_middleware(SmallestWrapper)

    candidates = {
        "bare": Candidate(lambda _: None, 1),
        "ours": Candidate(ours(access_log=True), 1),
        "peers": Candidate(peers(AccessLine.LEAN), 1),
        "peers, usual line": Candidate(peers(AccessLine.USUAL), 1),
        "ours, no line": Candidate(ours(access_log=False), 1),
        "peers, no line": Candidate(peers(AccessLine.NONE), 1),
        "exporter": Candidate(lambda app: app.add_middleware(PrometheusMiddleware), 1),
        "wrapper": Candidate(wrapper, 1),
        "wrapper, 100": Candidate(wrapper, 100),
        "bare, 100": Candidate(lambda _: None, 100),
        "ours, 100": Candidate(ours(access_log=True), 100),
        "peers, 100": Candidate(peers(AccessLine.LEAN), 100),
    }
    cost = _measure(candidates, options.pick(25, 150))
    ids = versions("prometheus-fastapi-instrumentator", "asgi-correlation-id")
    everything = f"{ids}, {versions('structlog', 'orjson')}"
    exporter = versions("starlette-exporter")
    added = {name: cost[name] - cost["bare, 100" if name.endswith("100") else "bare"] for name in cost}
    return [
        _compare(
            "request_everything",
            added["ours"],
            added["peers"],
            everything,
            cost["bare"],
            f"with structlog's line in a function under app.middleware: {microseconds(added['peers, usual line'])}, "
            f"1/{added['peers, usual line'] / added['ours']:.1f}",
        ),
        _compare(
            "request_everything_100_routes", added["ours, 100"], added["peers, 100"], everything, cost["bare, 100"]
        ),
        _compare_growth(cost),
        _compare("request_ids_and_metrics", added["ours, no line"], added["peers, no line"], ids, cost["bare"]),
        _compare("request_metrics", added["ours, no line"], added["exporter"], exporter, cost["bare"], "ours with ids"),
    ]


def _compare_growth(cost: dict[str, float]) -> Result:
    """Growth of what we cost beyond the smallest wrapper, whose own cost is too small to divide by."""
    one, hundred = (cost[f"ours{routes}"] - cost[f"wrapper{routes}"] for routes in ("", ", 100"))
    wrapper = [microseconds(cost[f"wrapper{routes}"] - cost[f"bare{routes}"]) for routes in ("", ", 100")]
    return Result(
        "request_growth_with_routes",
        microseconds(hundred),
        microseconds(one),
        hundred / one,
        "ourselves with one route; subtracted on both sides is a middleware that adds two constant headers",
        [f"that middleware adds {' and '.join(wrapper)}"],
    )


def _compare(budget: str, ours: float, peers: float, peer_name: str, bare: float, *notes: str) -> Result:
    return Result(
        budget,
        microseconds(ours),
        microseconds(peers),
        ours / peers,
        peer_name,
        [f"the bare host's {microseconds(bare)} per request are subtracted on both sides", *notes],
    )


def _measure(candidates: dict[str, Candidate], rounds: int) -> dict[str, float]:
    with asyncio.Runner() as runner:
        started = AsyncExitStack()
        for candidate in candidates.values():
            runner.run(started.enter_async_context(lifespan(candidate.app)))
            if runner.run(request(candidate.app, "/resources0/42")) != HTTPStatus.OK:
                raise RuntimeError("the host does not answer")
        turns = {name: partial(_run, runner, candidate) for name, candidate in candidates.items()}
        figures = take_turns(turns, rounds, warm_up=2)
        runner.run(started.aclose())
    return {name: low(values) for name, values in figures.items()}


def _run(runner: asyncio.Runner, candidate: Candidate) -> float:
    return runner.run(candidate.measure())
