"""Data beside the code: definitions that files are generated from, and files that are written as they are."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from importlib.resources import files
from importlib.resources.abc import Traversable
from typing import Any

import yaml


@cache
def read_definitions(name: str) -> Any:
    """The content of a file in `definitions`; nobody changes it."""
    return yaml.safe_load(files(__package__).joinpath("definitions", name).read_text("utf-8"))


def read_files() -> dict[str, str]:
    """The texts of what is written as it is, by path below the folder that is exported to."""
    return dict(_walk(files(__package__).joinpath("files"), ""))


def _walk(folder: Traversable, path: str) -> Iterator[tuple[str, str]]:
    for each in sorted(folder.iterdir(), key=lambda entry: entry.name):
        if each.is_dir():
            yield from _walk(each, f"{path}{each.name}/")
        else:
            yield f"{path}{each.name}", each.read_text("utf-8")
