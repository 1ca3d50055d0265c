"""The queries, each a file beside this one. What PostgreSQL versions call differently is a `:name` in them."""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    import asyncpg

    Connection: TypeAlias = asyncpg.Connection[asyncpg.Record]


@cache
def _text(name: str) -> str:
    return files(__package__).joinpath(f"{name}.sql").read_text("utf-8")


def query(name: str, **replacements: str) -> str:
    """The text of a query, with its `:name`s replaced."""
    text = _text(name)
    for placeholder, replacement in replacements.items():
        text = text.replace(f":{placeholder}", replacement)
    return text


def server_version(connection: Connection) -> int:
    """The major version of the server, 13 or more."""
    return int(connection.get_server_version().major)
