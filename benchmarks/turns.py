"""The longest turn of the event loop, by its thread's processor time, while long work is done on it.

Who else has something for the loop waits that long at most for each of its own turns; and unlike latency it is the same
on a busy machine. A real uvicorn runs in this process, with 100 k lines of series to scrape or an hour of 5,000 series
to query, and a thread asks it. Rules are evaluated as on our own thread, which holds the interpreter as long.
"""

from __future__ import annotations

import asyncio
import gc
import socket
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import uvicorn

from benchmarks.harness import Options, Result, low, milliseconds
from benchmarks.rules import RULES, Evaluated
from benchmarks.server import QUERY_PATH, SCRAPE_PATHS, Connection, http_protocol, make_configuration
from ordinaut_ext_observability.background.slicer import Slicer

LINES = 100_000
QUERIED = 5_000


class TimedLoop(asyncio.SelectorEventLoop):
    """An event loop that notes its longest turn."""

    longest_seconds = 0.0

    def _run_once(self) -> None:
        started = time.thread_time()
        super()._run_once()  # type: ignore[misc]  # private, and the only place where a turn begins and ends
        self.longest_seconds = max(self.longest_seconds, time.thread_time() - started)


def run(options: Options) -> list[Result]:
    applications, times = options.pick(2, 5), options.pick(4, 10)
    scrapes = [_turns_of_requests("ours", LINES, SCRAPE_PATHS["ours"], times) for _ in range(applications)]
    later = [longest for each in scrapes for longest in each[1:]]
    return [
        _row("turn_first_scrape", [each[0] for each in scrapes], f"{LINES:,} lines, each time in a new application"),
        _row("turn_scrape", later, f"{LINES:,} lines"),
        _row("turn_query", _turns_of_requests("queried", QUERIED, QUERY_PATH, times)[1:], f"over {QUERIED:,} series"),
        _row("turn_rules", _turns_of_rules(times), f"{RULES} rules"),
    ]


def _row(budget: str, longest: list[float], work: str) -> Result:
    settled = low(longest)
    notes = [f"{work}; of {len(longest)} times, the longest: {milliseconds(max(longest))}"]
    return Result(budget, milliseconds(settled), "-", settled * 1000, "nothing", notes)


def _turns_of_requests(name: str, lines: int, path: str, times: int) -> list[float]:
    """The longest turn in each of some requests to a new server."""

    async def main() -> list[float]:
        async with _serving(name, lines) as port:
            connection = Connection(port, path)

            def ask() -> None:
                connection.send()
                connection.receive()

            longest = [await _longest_turn(lambda: asyncio.to_thread(ask)) for _ in range(times)]
            connection.close()
            return longest

    return _run(main)


def _turns_of_rules(times: int) -> list[float]:
    evaluated = Evaluated()

    async def evaluate() -> None:
        async for _ in Slicer().slices(evaluated.steps()):
            pass

    async def main() -> list[float]:
        longest = []
        for _ in range(times + 1):
            evaluated.sample()
            longest.append(await _longest_turn(evaluate))
        return longest[1:]

    return _run(main)


def _run(main: Callable[[], Coroutine[Any, Any, list[float]]]) -> list[float]:
    with asyncio.Runner(loop_factory=TimedLoop) as runner:
        return runner.run(main())


async def _longest_turn(work: Callable[[], Coroutine[Any, Any, None]]) -> float:
    loop = asyncio.get_running_loop()
    if not isinstance(loop, TimedLoop):
        raise RuntimeError("not a timed loop")
    gc.collect()
    await asyncio.sleep(0)  # the turn that collected ends
    loop.longest_seconds = 0.0
    await work()
    await asyncio.sleep(0)  # the last turn of the work ends
    return loop.longest_seconds


@asynccontextmanager
async def _serving(name: str, lines: int) -> AsyncIterator[int]:
    listener = socket.create_server(("127.0.0.1", 0))
    application = make_configuration(name, lines)
    server = uvicorn.Server(
        uvicorn.Config(application, http=http_protocol(), log_level="warning", access_log=False, loop="none")
    )
    serving = asyncio.create_task(server.serve([listener]))
    while not server.started:
        await asyncio.sleep(0.01)
    try:
        yield listener.getsockname()[1]
    finally:
        server.should_exit = True
        await serving
