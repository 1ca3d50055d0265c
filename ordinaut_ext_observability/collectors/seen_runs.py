"""The runs seen, packed for a checkpoint: twenty bytes each, and each task's id once."""

from __future__ import annotations

import base64
from array import array
from typing import Any


def dump_seen(seen: dict[int, tuple[float, str]]) -> dict[str, Any]:
    """What `load_seen` takes."""
    tasks = {task: number for number, task in enumerate(dict.fromkeys(task for _, task in seen.values()))}
    return {
        "tasks": list(tasks),
        "ids": _text(array("Q", seen)),
        "started": _text(array("d", (started_at for started_at, _ in seen.values()))),
        "of": _text(array("I", (tasks[task] for _, task in seen.values()))),
    }


def load_seen(state: dict[str, Any]) -> dict[int, tuple[float, str]]:
    """Runs by id: when they began, and their tasks."""
    tasks = state["tasks"]
    columns = _array("Q", state["ids"]), _array("d", state["started"]), _array("I", state["of"])
    return {number: (started_at, tasks[of]) for number, started_at, of in zip(*columns, strict=True)}


def _text(numbers: array[Any]) -> str:
    return base64.b64encode(numbers.tobytes()).decode("ascii")


def _array(kind: str, text: str) -> array[Any]:
    numbers = array(kind)
    numbers.frombytes(base64.b64decode(text))
    return numbers
