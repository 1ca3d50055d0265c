"""Evaluates without pauses."""

from __future__ import annotations

from collections.abc import Generator
from typing import TypeVar

ResultT = TypeVar("ResultT")


def run_to_end(work: Generator[None, None, ResultT]) -> ResultT:
    while True:
        try:
            next(work)
        except StopIteration as done:
            return done.value
