"""The cost of a profile while it is made, and the share of it that a planted hot function has.

A loop and threads do work of a fixed size, with and without the sampler, in turns; what counts is the processor time of
the whole process for the same work, the sampler's included.
"""

from __future__ import annotations

import asyncio
import statistics
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from benchmarks.harness import Options, Result, cpu_seconds_of, milliseconds, take_turns
from ordinaut_ext_observability.profiling.sampler import IDLE, SAMPLER, Profile

_PIECES = 40
"""Pieces of work of a run, of some 10 ms: half on the loop, half in its threads."""


def _hot_on_loop() -> None:
    for _ in range(100):
        sum(range(10_000))


def _hot_in_thread() -> None:
    for _ in range(100):
        sum(range(10_000))


async def _work() -> None:
    async def on_loop() -> None:
        for _ in range(_PIECES // 2):
            _hot_on_loop()
            await asyncio.sleep(0)

    async def in_threads() -> None:
        for _ in range(_PIECES // 2):
            await asyncio.to_thread(_hot_in_thread)

    await asyncio.gather(on_loop(), in_threads())


def run(options: Options) -> list[Result]:
    profiles: list[Profile] = []

    def bare() -> None:
        asyncio.run(_work())

    def profiled() -> None:
        over = threading.Event()
        with ThreadPoolExecutor(1) as pool:
            profile = pool.submit(SAMPLER.profile, 60.0, over.is_set)
            bare()
            over.set()
            profiles.append(profile.result() or {})

    candidates: dict[str, Callable[[], float]] = {"bare": cpu_seconds_of(bare), "profiled": cpu_seconds_of(profiled)}
    seconds = take_turns(candidates, options.pick(12, 30))
    shares = [_share(profile, name) for profile in profiles for name in ("_hot_on_loop", "_hot_in_thread")]
    ours, peer = statistics.median(seconds["profiled"]), statistics.median(seconds["bare"])
    # What disturbs a round disturbs both; the least disturbed rounds of each differ by as much as the sampler costs.
    ratio = statistics.median(mine / other for mine, other in zip(seconds["profiled"], seconds["bare"], strict=True))
    return [
        Result(
            "profiling",
            milliseconds(ours),
            milliseconds(peer),
            ratio,
            "the same work on a loop and in its threads without a profile",
            [f"the two hot functions have {2 * statistics.fmean(shares):.0%} of what is not idle"],
        )
    ]


def _share(profile: Profile, function: str) -> float:
    found = sum(
        seconds for stack, seconds in profile.items() if any(each.startswith(f"{function}\0") for each in stack)
    )
    return found / ((sum(profile.values()) - profile.get(IDLE, 0.0)) or 1.0)
