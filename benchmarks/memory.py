"""Resident memory after a million requests to random paths, with random methods and ids.

A process per configuration: with the extension, and the bare host, whose own growth is the peer's figure. Both are
asked for the same after 20,000 requests that fill what is bounded.
"""

from __future__ import annotations

import asyncio
import gc
import random
import subprocess
import sys

from benchmarks.asgi import HEADERS, Settle, add_ours, lifespan, make_app, request, settle
from benchmarks.harness import Options, Result, dev_null, versions

REQUESTS = 1_000_000
QUICK_REQUESTS = 100_000
WARM_UP_REQUESTS = 20_000
_SETTLE_EVERY = 1000
_METHODS = ("GET", "GET", "GET", "POST", "PUT", "DELETE", "PATCH", "PROPFIND", "BREW")


def run(options: Options) -> list[Result]:
    requests = options.pick(QUICK_REQUESTS, REQUESTS)
    children = {
        name: subprocess.Popen(
            [sys.executable, "-m", "benchmarks.memory", name, str(requests)], stdout=subprocess.PIPE, text=True
        )
        for name in ("ours", "bare")
    }
    grown = {}
    for name, child in children.items():
        output = child.communicate()[0]
        if child.returncode:
            raise RuntimeError(f"{name}: the child ended with {child.returncode}")
        grown[name] = float(output)
    return [
        Result(
            "memory",
            f"{grown['ours']:+.1f} MB",
            f"{grown['bare']:+.1f} MB",
            grown["ours"],
            f"the bare host; {versions('starlette')}",
            [f"{requests:,} requests, after {WARM_UP_REQUESTS:,} to warm up"],
        )
    ]


def _resident_megabytes() -> float:
    with open("/proc/self/status") as status:
        line = next(line for line in status if line.startswith("VmRSS:"))
    return int(line.split()[1]) / 1024


async def _measure(app: object, finish_work: Settle | None, requests: int) -> float:
    """By how many megabytes the process has grown."""
    chance = random.Random(1)
    before = 0.0
    async with lifespan(app):
        for number in range(WARM_UP_REQUESTS + requests):
            if number == WARM_UP_REQUESTS:
                gc.collect()
                before = _resident_megabytes()
            digits = f"{chance.getrandbits(128):032x}"
            path = f"/resources0/{digits}" if number % 3 else f"/{digits[:12]}/{digits[12:]}"
            identifier = digits.encode() if number % 5 else b"not an id " + digits.encode()
            headers = [*HEADERS, (b"x-request-id", identifier)]
            await request(app, path, chance.choice(_METHODS), headers)
            if number % _SETTLE_EVERY == 0:
                if finish_work is not None:
                    finish_work()
                await asyncio.sleep(0)
        if finish_work is not None:
            finish_work()
        gc.collect()
        return _resident_megabytes() - before


if __name__ == "__main__":
    host = make_app()
    with_ours = sys.argv[1] == "ours"
    if with_ours:
        add_ours(host, dev_null())
    print(asyncio.run(_measure(host, settle(host) if with_ours else None, int(sys.argv[2]))))
