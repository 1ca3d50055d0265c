"""Importing `observability.logging` and `observability.metrics`, against `import prometheus_client`.

Each in an interpreter of its own, less what an interpreter takes that imports nothing. Cost is the processor time of
the child.
"""

from __future__ import annotations

import resource
import subprocess
import sys

from benchmarks.harness import Options, Result, low, milliseconds, take_turns, versions


def run(options: Options) -> list[Result]:
    candidates = {
        "nothing": lambda: _cpu_seconds("pass"),
        "ours": lambda: _cpu_seconds("import observability.logging, observability.metrics"),
        "peer": lambda: _cpu_seconds("import prometheus_client"),
    }
    figures = {name: low(values) for name, values in take_turns(candidates, options.pick(8, 25)).items()}
    ours, peer = figures["ours"] - figures["nothing"], figures["peer"] - figures["nothing"]
    return [
        Result(
            "imports",
            milliseconds(ours),
            milliseconds(peer),
            ours / peer,
            versions("prometheus-client"),
            [f"an interpreter alone takes {milliseconds(figures['nothing'])}"],
        )
    ]


def _cpu_seconds(code: str) -> float:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, "-c", code], check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
