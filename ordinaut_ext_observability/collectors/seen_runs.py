"""The runs seen, packed for a checkpoint: twenty bytes each, and each task's id once."""

from __future__ import annotations

import base64
from array import array
from typing import Annotated, Any

from pydantic import PlainSerializer, PlainValidator


def _pack(seen: dict[int, tuple[float, str]]) -> dict[str, Any]:
    tasks = {task: number for number, task in enumerate(dict.fromkeys(task for _, task in seen.values()))}
    return {
        "tasks": list(tasks),
        "ids": _text(array("Q", seen)),
        "started": _text(array("d", (started_at for started_at, _ in seen.values()))),
        "of": _text(array("I", (tasks[task] for _, task in seen.values()))),
    }


def _unpack(packed: dict[str, Any]) -> dict[int, tuple[float, str]]:
    columns = _array("Q", packed["ids"]), _array("d", packed["started"]), _array("I", packed["of"])
    return {number: (started_at, packed["tasks"][of]) for number, started_at, of in zip(*columns, strict=True)}


SeenRuns = Annotated[dict[int, tuple[float, str]], PlainSerializer(_pack), PlainValidator(_unpack)]
"""Runs by id: when they began, and their tasks."""


def _text(numbers: array[Any]) -> str:
    return base64.b64encode(numbers.tobytes()).decode("ascii")


def _array(kind: str, text: str) -> array[Any]:
    numbers = array(kind)
    numbers.frombytes(base64.b64decode(text))
    return numbers
