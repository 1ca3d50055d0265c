"""The output of commands: JSON, and tables without lines."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from typing import Any

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

_PIPED_WIDTH = 10_000  # columns where nobody looks: a program that reads a line wants all of it


def print_json(value: Any) -> None:
    """Print it as indented JSON."""
    typer.echo(json.dumps(value, indent=2))


def make_console() -> Console:
    """A console as wide as the terminal; where it is none, lines are not cut."""
    return Console(highlight=False, width=None if sys.stdout.isatty() else _PIPED_WIDTH)


def make_table(rows: Iterable[Iterable[str | Text]], *heads: str, right: int = 0, style: str = "") -> Table:
    """A table whose first columns, so many, are aligned to the right; `style` is that of the heads."""
    table = Table(box=None, pad_edge=False, header_style=style)
    for number, head in enumerate(heads):
        table.add_column(head, overflow="fold", justify="right" if number < right else "left")
    for row in rows:
        table.add_row(*(Text(cell) if isinstance(cell, str) else cell for cell in row))  # as text: [] is no markup
    return table
