"""The statements, a file each, with why they are as they are."""

from __future__ import annotations

from functools import cache
from importlib.resources import files


@cache
def query(name: str) -> str:
    """The statement in the file of this name."""
    return files(__name__).joinpath(f"{name}.sql").read_text(encoding="utf-8")
