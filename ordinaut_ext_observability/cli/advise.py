"""`advise`: indexes worth having, as statements to run by hand. Nothing of it is run here."""

from __future__ import annotations

import json
import textwrap
from dataclasses import asdict
from typing import Any

import asyncpg
from rich.console import Console
from rich.text import Text

from ordinaut_ext_observability.background.daemon_threads import run_on_own_loop
from ordinaut_ext_observability.cli.db import NOT_CONNECTED, READ
from ordinaut_ext_observability.db.insights.advice import MIN_ROWS, MIN_UNUSED_SECONDS, Advice, quoted, read_advice
from ordinaut_ext_observability.db.insights.quantities import bytes_text, duration_text
from ordinaut_ext_observability.db.insights.session import NoConnectionError, read_only_session


def run_advise(
    url: str,
    *,
    timeout_seconds: float = 5.0,
    min_rows: int = MIN_ROWS,
    min_unused_seconds: float = MIN_UNUSED_SECONDS,
    as_json: bool = False,
    console: Console | None = None,
) -> int:
    """Print the advice; the exit status."""
    console = console or Console(highlight=False)

    async def read() -> Advice:
        async with read_only_session(url, timeout_seconds) as connection:
            return await read_advice(connection, min_rows, min_unused_seconds)

    try:
        advice = run_on_own_loop(read())
    except NoConnectionError as error:
        console.print(Text(str(error)), soft_wrap=True)
        return NOT_CONNECTED
    except asyncpg.PostgresError as error:
        console.print(Text(f"the system views cannot be read: {error}"), soft_wrap=True)
        return NOT_CONNECTED
    if as_json:
        console.print(Text(json.dumps(_as_json(advice), indent=2)), soft_wrap=True)
    else:
        _Script(console).print(advice)
    return READ


def _as_json(advice: Advice) -> dict[str, Any]:
    return {
        "database": advice.server.database,
        "statistics_age_seconds": advice.server.statistics_age_seconds,
        "create": [asdict(proposal) for proposal in advice.proposals],
        "redundant": [
            {"index": asdict(pair.index), "covered_by": asdict(pair.covered_by)} for pair in advice.redundant
        ],
        "unused": [asdict(index) for index in advice.unused],
        "invalid": [asdict(index) for index in advice.invalid],
        "not_judged": list(advice.not_judged),
    }


class _Script:
    """Prints advice as a script for psql in which everything but new indexes is a comment."""

    def __init__(self, console: Console) -> None:
        self._console = console

    def print(self, advice: Advice) -> None:
        server = advice.server
        self._comment(
            f"{server.database}, PostgreSQL {server.version}; use counted for"
            f" {duration_text(server.statistics_age_seconds)}. Nothing here was run."
        )
        self._comment("CREATE INDEX CONCURRENTLY runs outside a transaction and does not stop writers.")
        if server.in_recovery:
            self._comment("This is a replica: run it on the primary. What is unused there is not known here.")
        for proposal in advice.proposals:
            self._line()
            self._comment(f"{proposal.table}: {proposal.reason}")
            self._comment(proposal.evidence)
            self._comment(proposal.statement)
            self._line(proposal.sql, "bold cyan")
        if not advice.proposals:
            self._line()
            self._comment("No index is missing.")
        self._drops(advice)
        for note in advice.not_judged:
            self._line()
            self._comment(f"not judged: {note}")

    def _drops(self, advice: Advice) -> None:
        for pair in advice.redundant:
            by, columns = pair.covered_by, ", ".join(pair.index.keys)
            self._drop(
                pair.index.schema,
                pair.index.name,
                f"redundant: {by.name} is ordered by {columns} first, too",
                pair.index.size_bytes,
            )
        covered = {pair.index.name for pair in advice.redundant}
        period = duration_text(advice.server.statistics_age_seconds)
        for index in advice.unused:
            if index.name not in covered:
                reason = f"no scan in {period} on this server; replicas count their own; it may be younger than that"
                self._drop(index.schema, index.name, f"unused: {reason}", index.size_bytes)
        for index in advice.invalid:
            reason = "invalid: it is being built, or failed to build; then drop it before you make it again"
            self._drop(index.schema, index.name, reason, index.size_bytes)

    def _drop(self, schema: str, name: str, reason: str, size_bytes: int | None) -> None:
        size = "" if size_bytes is None else f" ({bytes_text(size_bytes)})"
        self._line()
        self._comment(f"{name}{size} is {reason}.")
        self._line(f"-- DROP INDEX CONCURRENTLY IF EXISTS {quoted(schema)}.{quoted(name)};", "yellow")

    def _comment(self, text: str) -> None:
        width = max(20, self._console.width - 3)
        for line in textwrap.wrap(" ".join(text.split()), width, break_long_words=False, break_on_hyphens=False):
            self._line(f"-- {line}", "dim")

    def _line(self, text: str = "", style: str = "") -> None:
        self._console.print(Text(text, style=style), soft_wrap=True)
