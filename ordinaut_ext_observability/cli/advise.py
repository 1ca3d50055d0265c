"""`advise`: indexes worth having, as a script for psql in which everything but new indexes is a comment."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

from rich.console import Console
from rich.text import Text

from ordinaut_ext_observability.db.insights.advice import Advice, quoted
from ordinaut_ext_observability.db.insights.indexes import Index
from ordinaut_ext_observability.db.insights.quantities import bytes_text, duration_text


def advice_as_json(advice: Advice) -> dict[str, Any]:
    found = asdict(advice)
    server = {name: found["server"][name] for name in ("database", "statistics_age_seconds")}
    named = {name: found[name] for name in ("redundant", "unused", "invalid", "not_judged")}
    return {**server, "create": found["proposals"], **named}


def print_script(console: Console, advice: Advice) -> None:
    """Print the script; comments are wrapped, statements are not."""
    width = max(20, console.width - 3)
    for kind, text in _lines(advice):
        if kind == "comment":
            for line in textwrap.wrap(" ".join(text.split()), width, break_long_words=False, break_on_hyphens=False):
                console.print(Text(f"-- {line}", style="dim"), soft_wrap=True)
        else:
            console.print(Text(text, style=kind), soft_wrap=True)


def _lines(advice: Advice) -> Iterator[tuple[str, str]]:
    """Lines with their style, or as a comment."""
    server, period = advice.server, duration_text(advice.server.statistics_age_seconds)
    yield "comment", f"{server.database}, PostgreSQL {server.version}; use counted for {period}. Nothing here was run."
    yield "comment", "CREATE INDEX CONCURRENTLY runs outside a transaction and does not stop writers."
    if server.in_recovery:
        yield "comment", "This is a replica: run it on the primary. What is unused there is not known here."
    for proposal in advice.proposals:
        yield "", ""
        for comment in (f"{proposal.table}: {proposal.reason}", proposal.evidence, proposal.statement):
            yield "comment", comment
        yield "bold cyan", proposal.sql
    if not advice.proposals:
        yield from (("", ""), ("comment", "No index is missing."))
    for index, reason in _drops(advice, period):
        size = "" if index.size_bytes is None else f" ({bytes_text(index.size_bytes)})"
        yield "", ""
        yield "comment", f"{index.name}{size} is {reason}."
        yield "yellow", f"-- DROP INDEX CONCURRENTLY IF EXISTS {quoted(index.schema)}.{quoted(index.name)};"
    for note in advice.not_judged:
        yield from (("", ""), ("comment", f"not judged: {note}"))


def _drops(advice: Advice, period: str) -> Iterator[tuple[Index, str]]:
    """Indexes that may go, and why."""
    for pair in advice.redundant:
        columns = ", ".join(pair.index.keys)
        yield pair.index, f"redundant: {pair.covered_by.name} is ordered by {columns} first, too"
    covered = {pair.index.name for pair in advice.redundant}
    for index in advice.unused:
        if index.name not in covered:
            reason = f"no scan in {period} on this server; replicas count their own; it may be younger than that"
            yield index, f"unused: {reason}"
    for index in advice.invalid:
        yield index, "invalid: it is being built, or failed to build; then drop it before you make it again"
