"""Rounds in which candidates take turns, budgets, and the table.

A candidate's cost is the processor time of the whole process: what a thread of ours does in the background counts, what
other processes do on the machine does not.
"""

from __future__ import annotations

import gc
import os
import statistics
import sys
import time
import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

_BUDGETS = tomllib.loads((Path(__file__).parent / "budgets.toml").read_text())
_SETTLED = 5
"""One in this many rounds is taken as undisturbed: see `low`."""

process_cpu_seconds = time.process_time
wall_seconds = time.perf_counter


@dataclass(frozen=True)
class Result:
    """One row of the table."""

    budget: str
    """Its name in budgets.toml."""
    ours: str
    peer: str
    figure: float
    """What the budget bounds: ours divided by the peer's, or a figure in the budget's unit."""
    peer_name: str
    notes: Sequence[str] = field(default=())


@dataclass(frozen=True)
class Options:
    """How thorough a run is."""

    quick: bool

    def pick(self, quick: int, full: int) -> int:
        """The number for this run."""
        return quick if self.quick else full


def take_turns(candidates: Mapping[str, Callable[[], float]], rounds: int, warm_up: int = 1) -> dict[str, list[float]]:
    """What each candidate returned in each round. The first rounds are not kept."""
    figures: dict[str, list[float]] = {name: [] for name in candidates}
    for number in range(warm_up + rounds):
        # Each goes first and last equally often: the one before leaves its traces in the processor's caches.
        order = list(candidates.items())
        shift = number % len(order)
        for name, measure in order[shift:] + order[:shift]:
            gc.collect()
            figure = measure()
            if number >= warm_up:
                figures[name].append(figure)
    return figures


def cpu_seconds_of(work: Callable[[], Any]) -> Callable[[], float]:
    """Measures the processor time of one run of the work."""

    def measure() -> float:
        started = process_cpu_seconds()
        work()
        return process_cpu_seconds() - started

    return measure


def low(values: Sequence[float]) -> float:
    """The least disturbed: the mean of the lowest fifth. Steadier than the minimum, and as little disturbed."""
    return statistics.fmean(sorted(values)[: max(1, len(values) // _SETTLED)])


def versions(*names: str) -> str:
    """Distributions with their versions."""
    return ", ".join(f"{name} {version(name)}" for name in names)


def microseconds(seconds: float) -> str:
    return f"{seconds * 1e6:.1f} µs"


def milliseconds(seconds: float) -> str:
    return f"{seconds * 1e3:.1f} ms"


def dev_null() -> int:
    """Where the lines of both sides go."""
    return os.open(os.devnull, os.O_WRONLY)


@dataclass(frozen=True)
class Verdict:
    """A result held against its budget."""

    result: Result
    source: str
    figure: str
    budget: str
    missing: float
    """By which share of the budget it is missed; 0 or less when it is not."""

    @property
    def text(self) -> str:
        return "within" if self.missing <= 0 else f"MISSING by {self.missing:.0%}"


def judge(result: Result) -> Verdict:
    """The verdict on a result."""
    budget = _BUDGETS[result.budget]
    unit = budget.get("unit", "")
    bound = budget.get("at_most") or budget["at_least"]
    above, _, below = bound.partition("/")
    limit = float(above) / float(below or 1)
    sign = "≤" if "at_most" in budget else "≥"
    missing = result.figure / limit - 1 if sign == "≤" else 1 - result.figure / limit
    figure = f"{result.figure:+.2f} {unit}" if unit else _ratio(result.figure)
    return Verdict(result, budget["source"], figure, f"{sign} {bound} {unit}".rstrip(), missing)


def _ratio(figure: float) -> str:
    return f"{figure:.2f}" if figure >= 0.25 else f"1/{1 / figure:.1f}"


def rows_missing() -> Mapping[str, str]:
    """Rows of the design that cannot be measured, with the reason."""
    missing: Mapping[str, str] = _BUDGETS["missing"]
    return missing


_HEADINGS = ("row", "ours", "peer", "ratio", "budget", "verdict")


def print_table(verdicts: Sequence[Verdict]) -> None:
    """The table, then what was measured against what."""
    rows = [_HEADINGS, *((v.source, v.result.ours, v.result.peer, v.figure, v.budget, v.text) for v in verdicts)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(_HEADINGS))]
    print(f"\nPython {sys.version.split()[0]}, {versions('fastapi', 'starlette', 'prometheus-client')}\n")
    for row in rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
    print()
    for verdict in verdicts:
        print(f"{verdict.source}: against {verdict.result.peer_name}")
        for note in verdict.result.notes:
            print(f"    {note}")
