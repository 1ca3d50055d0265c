"""`python -m benchmarks [NAME...] [--quick] [--strict]`."""

from __future__ import annotations

import argparse
import importlib
import os
import sys
import time

from benchmarks.harness import Options, Verdict, judge, print_table, rows_missing

NAMES = (
    "request_cost",
    "paced",
    "throughput",
    "exposition",
    "turns",
    "scrape_interference",
    "processes",
    "collection",
    "history",
    "queries",
    "rules",
    "idle",
    "stop",
    "page",
    "log_event",
    "log_record",
    "scrub",
    "profiling",
    "tracing",
    "imports",
    "memory",
)
"""The modules with a row each; what a module measures is in its docstring."""


def main() -> int:
    """Run the named benchmarks, or all; 1 when `--strict` and a budget is missed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"which to run: {', '.join(NAMES)}; all by default")
    parser.add_argument("--quick", action="store_true", help="fewer rounds: rough figures in about a minute")
    parser.add_argument("--strict", action="store_true", help="exit with 1 when a budget is missed")
    arguments = parser.parse_args()
    unknown = set(arguments.names) - set(NAMES)
    if unknown:
        parser.error(f"no benchmark {', '.join(sorted(unknown))}; there are {', '.join(NAMES)}")
    _forget_settings()
    verdicts: list[Verdict] = []
    try:
        for name in arguments.names or NAMES:
            started = time.perf_counter()
            print(f"{name} …", end=" ", flush=True)
            results = importlib.import_module(f"benchmarks.{name}").run(Options(quick=arguments.quick))
            verdicts += map(judge, results)
            print(f"{time.perf_counter() - started:.0f} s", flush=True)
    finally:  # also where one fails: the others took minutes
        print_table(verdicts)
    if not arguments.names:
        for row, reason in rows_missing().items():
            print(f"not measured: {row} ({reason})")
    missed = [verdict for verdict in verdicts if verdict.missing > 0]
    print(f"\n{len(verdicts) - len(missed)} of {len(verdicts)} within budget")
    return 1 if missed and arguments.strict else 0


def _forget_settings() -> None:
    """What is measured is the default configuration, whatever the environment says."""
    for variable in list(os.environ):
        if variable.startswith("ORDINAUT_"):
            del os.environ[variable]


if __name__ == "__main__":
    sys.exit(main())
