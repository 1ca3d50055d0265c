"""`db`: what PostgreSQL says of itself, the worst first; `advise`: indexes worth having, as a script for psql."""

from __future__ import annotations

import textwrap
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import asdict
from typing import Any, TypeVar

import asyncpg
from rich.console import Console, RenderableType
from rich.padding import Padding
from rich.text import Text
from rich.tree import Tree

from ordinaut_ext_observability.background.daemon_threads import run_on_own_loop
from ordinaut_ext_observability.cli.output import make_table
from ordinaut_ext_observability.db.insights.advice import Advice, quoted
from ordinaut_ext_observability.db.insights.indexes import Index, redundant, unused
from ordinaut_ext_observability.db.insights.locks import PREPARED_TRANSACTION, LockedSession, Locks
from ordinaut_ext_observability.db.insights.queries import read_only_session
from ordinaut_ext_observability.db.insights.report import Report, bytes_text, duration_text
from ordinaut_ext_observability.db.insights.views import Connections, Statements, Tables, Transaction, XidAge
from ordinaut_ext_observability.errors import ObservabilityError

_LARGE_BYTES = 2**20  # below this it does not matter whether an index is used

Lines = Iterator[RenderableType]
ReadT = TypeVar("ReadT")


def ask_database(url: str, timeout_seconds: float, read: Callable[[Any], Awaitable[ReadT]]) -> ReadT:
    """Return what `read` finds through a connection; raises ObservabilityError where that is nothing."""
    if not url.strip():
        raise ObservabilityError(
            "No database: set DATABASE_URL, or give --url.\nBoth take postgresql://user:password@host:port/database."
        )

    async def run() -> ReadT:
        async with read_only_session(url, timeout_seconds) as connection:
            return await read(connection)

    try:
        return run_on_own_loop(run())
    except asyncpg.PostgresError as error:
        raise ObservabilityError(f"the system views cannot be read: {error}") from error


def print_report(console: Console, report: Report) -> None:
    """Print what needs attention, then each part under its heading."""
    if (server := report.server) is not None:
        kind = "replica or in recovery" if server.in_recovery else "primary"
        seen = "" if server.sees_all else "; may not see what other roles do: GRANT pg_monitor TO it"
        console.print(Text(f"{server.database}, PostgreSQL {server.version}, {kind}, as {server.role}{seen}"))
    attention = list(report.attention())
    for line in attention:
        console.print(Text(f"! {line}", style="red"))
    if not attention and server is not None and server.sees_all and not report.problems:
        console.print(Text("nothing needs attention", style="green"))
    elif not attention:
        console.print(Text("nothing seen that needs attention; not all can be seen", style="yellow"))
    problems = {problem.part: problem for problem in report.problems}
    for title, part, lines in _PARTS:
        console.print(Text(f"\n{title}", style="bold"))
        if part in problems:
            console.print(Text(f"  not read ({problems[part].reason}): {problems[part].message}", style="yellow"))
        elif (found := getattr(report, part)) is not None:
            for shown in lines(found, report):
                console.print(Padding(shown, (0, 0, 0, 2), expand=False))


def _locks(locks: Locks, _: Report) -> Lines:
    """A tree per session at the head of a queue, each with what ends it."""
    if not locks.roots:
        yield Text("nobody waits" if not locks.waiting else f"{locks.waiting} wait; whom for is gone by now")
    for root in locks.roots:
        count = sum(1 for _ in root.all_waiters())
        yield _grow(Tree(_session(root, f"blocks {count}", "bold red"), guide_style="dim"), root)
        end = f"SELECT pg_terminate_backend({root.pid});"
        if root.pid == PREPARED_TRANSACTION:
            end = "ROLLBACK PREPARED or COMMIT PREPARED, see pg_prepared_xacts"
        yield Text(f"to end it: {end}", style="cyan")
    if locks.roots and locks.not_shown:
        yield Text(f"and {locks.not_shown} more that wait")


def _grow(tree: Tree, session: LockedSession) -> Tree:
    for waiter in session.waiters:
        age = "" if waiter.wait_seconds is None else f" {duration_text(waiter.wait_seconds)}"
        lock = f"{waiter.lock_mode} on {waiter.relation or waiter.lock_type}"
        if waiter.lock_type in ("transactionid", "tuple"):  # PostgreSQL's words are of no help
            lock = f"a row of {waiter.relation}" if waiter.relation else "the end of a transaction"
        _grow(tree.add(_session(waiter, f"waits{age} for {lock}", "yellow")), waiter)
    return tree


def _session(session: LockedSession, what: str, style: str) -> Text:
    who = ", ".join(filter(None, (session.role, session.application, session.state)))
    age = session.transaction_seconds
    since = "" if age is None else f", in transaction {duration_text(age)}"
    text = Text.assemble((f"{session.pid} {what}", style), f"  ({who}{since})")
    return text.append(f"\n{session.query}", style="dim") if session.query else text


def _transactions(transactions: tuple[Transaction, ...], report: Report) -> Lines:
    rows = []
    for one in transactions:
        state = f"{one.state} ({one.waits_for})" if one.waits_for and one.state == "active" else one.state
        since = "" if one.state_seconds is None else duration_text(one.state_seconds)
        age, who = duration_text(one.transaction_seconds), one.application or one.role
        rows.append((str(one.pid), age, state, since, who, one.query))
    yield (
        make_table(rows, "pid", "open", "state", "for", "who", "statement", style="dim") if rows else Text("none open")
    )
    if report.longest is not None and report.longest.hidden:
        yield Text(f"{report.longest.hidden} sessions of other roles are hidden", style="yellow")


def _connections(connections: Connections, report: Report) -> Lines:
    limit = "" if report.server is None else f" of {report.server.usable_connections}"
    yield Text(f"{connections.total}{limit} in use, {connections.of_this_database} of them by this database")
    for title, counts in (("by state", connections.by_state), ("by application", connections.by_application)):
        if counts:
            yield Text(f"{title}: " + ", ".join(f"{name or '(no name)'} {number}" for name, number in counts.items()))


def _statements(statements: Statements, _: Report) -> Lines:
    if statements.absent:
        yield Text(f"not counted: {statements.absent}")
        return
    rows = []
    for one in statements.top:
        times = duration_text(one.seconds), f"{one.calls:,}", duration_text(one.seconds / max(1, one.calls))
        rows.append((*times, f"{one.rows:,}", one.query))
    yield make_table(rows, "total", "calls", "mean", "rows", "statement", style="dim", right=4)
    if statements.hidden_seconds:
        yield Text(f"{duration_text(statements.hidden_seconds)} by other roles' statements are hidden", style="yellow")


def _tables(tables: Tables, _: Report) -> Lines:
    rows = []
    for table in tables.found:
        counts = f"{table.rows:,}", f"{table.dead_rows:,}", _size(table.size_bytes)
        ratio = "" if table.index_scan_ratio is None else f"{table.index_scan_ratio:.0%}"
        rows.append((table.name, *counts, ratio, _ago(table.vacuum_age_seconds), _ago(table.analyze_age_seconds)))
    if rows:
        yield make_table(rows, "table", "rows", "dead", "size", "by index", "vacuumed", "analysed", style="dim")
    if tables.missing:
        yield Text(f"not there: {', '.join(tables.missing)}")


def _indexes(indexes: tuple[Index, ...], report: Report) -> Lines:
    covered = {pair.index.name: f"covered by {pair.covered_by.name}" for pair in redundant(indexes)}
    idle = {index.name for index in unused(indexes) if (index.size_bytes or 0) >= _LARGE_BYTES}
    rows = []
    for index in sorted(indexes, key=lambda index: (index.table, -index.scans)):
        note = covered.get(index.name, "unused" if index.name in idle else "") if index.is_valid else "invalid"
        on = f" on {index.table} ({', '.join(index.keys)})" + (f" WHERE {index.predicate}" if index.predicate else "")
        said = Text.assemble(index.name, (on, "dim"), (note and f"  {note}", "yellow"))
        rows.append((f"{index.scans:,}", _size(index.size_bytes), said))
    if rows:
        yield make_table(rows, "scans", "size", "index", style="dim", right=2)
    if report.server is not None:
        yield Text(f"scans counted for {duration_text(report.server.statistics_age_seconds)}", style="dim")


def _xid(age: XidAge, _: Report) -> Lines:
    yield Text(f"{age.used_ratio:.1%} used up: {age.server_age:,} in {age.oldest_database}")
    oldest = f"{age.oldest_table}, {age.oldest_table_age:,}"
    yield Text(f"oldest table here: {oldest}; autovacuum comes at {age.freeze_max_age:,}")


_PARTS: tuple[tuple[str, str, Callable[[Any, Report], Lines]], ...] = (
    ("Locks", "locks", _locks),
    ("Oldest transactions", "transactions", _transactions),
    ("Connections", "connections", _connections),
    ("Statements by time", "statements", _statements),
    ("Tables", "tables", _tables),
    ("Indexes", "indexes", _indexes),
    ("Transaction ids", "xid_age", _xid),
)
"""Title and name of each part of a report, and what prints it."""


def _ago(seconds: float | None) -> str:
    return "never" if seconds is None else f"{duration_text(seconds)} ago"


def _size(number: int | None) -> str:
    return "locked" if number is None else bytes_text(number)


def advice_as_json(advice: Advice) -> dict[str, Any]:
    found = asdict(advice)
    server = found.pop("server")
    counted = {name: server[name] for name in ("database", "statistics_age_seconds")}
    return {**counted, "create": found.pop("proposals"), **found}


def print_script(console: Console, advice: Advice) -> None:
    """Print a script in which all but new indexes is a comment; comments are wrapped, statements are not."""
    width = max(20, console.width - 3)
    for number, (statement, *comments) in enumerate(_paragraphs(advice)):
        if number:
            console.print()
        for comment in comments:
            for line in textwrap.wrap(" ".join(comment.split()), width, break_long_words=False, break_on_hyphens=False):
                console.print(Text(f"-- {line}", style="dim"), soft_wrap=True)
        if statement:
            style = "yellow" if statement.startswith("--") else "bold cyan"
            console.print(Text(statement, style=style), soft_wrap=True)


def _paragraphs(advice: Advice) -> Iterator[tuple[str, ...]]:
    """Statements, each before its comments; empty where there are only comments."""
    server, period = advice.server, duration_text(advice.server.statistics_age_seconds)
    replica = server.in_recovery
    yield (
        "",
        f"{server.database}, PostgreSQL {server.version}; use counted for {period}. Nothing here was run.",
        "CREATE INDEX CONCURRENTLY runs outside a transaction and does not stop writers.",
        "This is a replica: run it on the primary. What is unused there is not known here." if replica else "",
    )
    for proposal in advice.proposals:
        yield proposal.sql, f"{proposal.table}: {proposal.reason}", proposal.evidence, proposal.statement
    if not advice.proposals:
        yield "", "No index is missing."
    reasons = {
        pair.index: f"redundant: {pair.covered_by.name} is ordered by {', '.join(pair.index.keys)} first, too"
        for pair in advice.redundant
    }
    no_scan = f"unused: no scan in {period} on this server; replicas count their own; it may be younger than that"
    for index in advice.unused:
        reasons.setdefault(index, no_scan)
    invalid = "invalid: it is being built, or failed to build; then drop it before you make it again"
    reasons |= dict.fromkeys(advice.invalid, invalid)
    for index, reason in reasons.items():
        size = "" if index.size_bytes is None else f" ({bytes_text(index.size_bytes)})"
        drop = f"-- DROP INDEX CONCURRENTLY IF EXISTS {quoted(index.schema)}.{quoted(index.name)};"
        yield drop, f"{index.name}{size} is {reason}."
    for note in advice.not_judged:
        yield "", f"not judged: {note}"
