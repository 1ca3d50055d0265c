"""`db`: what PostgreSQL says of itself, the worst first."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Iterator
from typing import Any, TypeVar

import asyncpg
from rich.console import Console, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text
from rich.tree import Tree

from ordinaut_ext_observability.background.daemon_threads import run_on_own_loop
from ordinaut_ext_observability.db.insights.indexes import Index, redundant, unused
from ordinaut_ext_observability.db.insights.locks import PREPARED_TRANSACTION, LockedSession, Locks
from ordinaut_ext_observability.db.insights.quantities import bytes_text, duration_text
from ordinaut_ext_observability.db.insights.queries import read_only_session
from ordinaut_ext_observability.db.insights.report import Report, read_report
from ordinaut_ext_observability.db.insights.views import Connections, Server, Statements, Tables, Transaction, XidAge
from ordinaut_ext_observability.errors import ObservabilityError

_LARGE_BYTES = 2**20
"""Below this it does not matter whether an index is used."""

Lines = Iterator[RenderableType]
ReadT = TypeVar("ReadT")


def ask_database(url: str, timeout_seconds: float, read: Callable[[Any], Awaitable[ReadT]]) -> ReadT:
    """What `read` finds through a connection to this database.

    Raises:
        ObservabilityError: it cannot be connected to, or its system views cannot be read.
    """

    async def run() -> ReadT:
        async with read_only_session(url, timeout_seconds) as connection:
            return await read(connection)

    try:
        return run_on_own_loop(run())
    except asyncpg.PostgresError as error:
        raise ObservabilityError(f"the system views cannot be read: {error}") from error


def ask_report(url: str, timeout_seconds: float, top: int) -> Report:
    return ask_database(url, timeout_seconds, lambda connection: read_report(connection, top))


def print_report(console: Console, report: Report) -> None:
    """Print what needs attention, then each part under its heading."""
    if report.server is not None:
        server = report.server
        kind = "replica or in recovery" if server.in_recovery else "primary"
        seen = "" if server.sees_all else "; may not see what other roles do: GRANT pg_monitor TO it"
        console.print(Text(f"{server.database}, PostgreSQL {server.version}, {kind}, as {server.role}{seen}"))
    attention = list(report.attention())
    for line in attention:
        console.print(Text(f"! {line}", style="red"))
    if not attention:
        all_seen = report.server is not None and report.server.sees_all and not report.problems
        said = "nothing needs attention" if all_seen else "nothing seen that needs attention; not all can be seen"
        console.print(Text(said, style="green" if all_seen else "yellow"))
    problems = {problem.part: problem for problem in report.problems}
    for title, part, lines in _parts(report):
        console.print(Text(f"\n{title}", style="bold"))
        if part in problems:
            console.print(Text(f"  not read ({problems[part].reason}): {problems[part].message}", style="yellow"))
        for renderable in lines:
            console.print(Padding(renderable, (0, 0, 0, 2), expand=False))


def _parts(report: Report) -> Iterator[tuple[str, str, Iterable[RenderableType]]]:
    """Title, name and lines of each part; without lines where it could not be read."""
    server = report.server
    yield "Locks", "locks", _locks(report.locks) if report.locks else ()
    hidden = 0 if report.longest is None else report.longest.hidden
    yield "Oldest transactions", "transactions", _transactions(report.transactions, hidden)
    yield "Connections", "connections", _connections(report.connections, server) if report.connections else ()
    yield "Statements by time", "statements", _statements(report.statements) if report.statements else ()
    yield "Tables", "tables", _tables(report.tables) if report.tables else ()
    yield "Indexes", "indexes", () if report.indexes is None else _indexes(report.indexes, server)
    yield "Transaction ids", "xid_age", _xid(report.xid_age) if report.xid_age else ()


def _locks(locks: Locks) -> Lines:
    """A tree per session at the head of a queue, each with what ends it."""
    if not locks.roots:
        yield Text("nobody waits" if not locks.waiting else f"{locks.waiting} wait; whom for is gone by now")
    for root in locks.roots:
        count = sum(1 for _ in root.all_waiters())
        tree = Tree(_session(root, f"blocks {count}", "bold red"), guide_style="dim")
        _grow(tree, root)
        yield tree
        end = f"SELECT pg_terminate_backend({root.pid});"
        if root.pid == PREPARED_TRANSACTION:
            end = "ROLLBACK PREPARED or COMMIT PREPARED, see pg_prepared_xacts"
        yield Text(f"to end it: {end}", style="cyan")
    if locks.roots and locks.not_shown:
        yield Text(f"and {locks.not_shown} more that wait")


def _grow(tree: Tree, session: LockedSession) -> None:
    for waiter in session.waiters:
        age = "" if waiter.wait_seconds is None else f" {duration_text(waiter.wait_seconds)}"
        lock = f"{waiter.lock_mode} on {waiter.relation or waiter.lock_type}"
        if waiter.lock_type in ("transactionid", "tuple"):  # PostgreSQL's words are of no help
            lock = f"a row of {waiter.relation}" if waiter.relation else "the end of a transaction"
        _grow(tree.add(_session(waiter, f"waits{age} for {lock}", "yellow")), waiter)


def _session(session: LockedSession, what: str, style: str) -> Text:
    who = ", ".join(filter(None, (session.role, session.application, session.state)))
    age = session.transaction_seconds
    since = "" if age is None else f", in transaction {duration_text(age)}"
    text = Text.assemble((f"{session.pid} {what}", style), f"  ({who}{since})")
    return text.append(f"\n{session.query}", style="dim") if session.query else text


def _transactions(transactions: tuple[Transaction, ...] | None, hidden: int) -> Lines:
    if transactions:
        table = _table("pid", "open", "state", "for", "who", "statement")
        for transaction in transactions:
            waits = transaction.waits_for if transaction.state == "active" else ""
            table.add_row(
                str(transaction.pid),
                duration_text(transaction.transaction_seconds),
                Text(transaction.state + (f" ({waits})" if waits else "")),
                "" if transaction.state_seconds is None else duration_text(transaction.state_seconds),
                Text(transaction.application or transaction.role),
                Text(transaction.query),
            )
        yield table
    elif transactions is not None:
        yield Text("none open")
    if hidden:
        yield Text(f"{hidden} sessions of other roles are hidden", style="yellow")


def _connections(connections: Connections, server: Server | None) -> Lines:
    limit = "" if server is None else f" of {server.max_connections - server.reserved_connections}"
    yield Text(f"{connections.total}{limit} in use, {connections.of_this_database} of them by this database")
    for title, counts in (("by state", connections.by_state), ("by application", connections.by_application)):
        if counts:
            yield Text(f"{title}: " + ", ".join(f"{name or '(no name)'} {number}" for name, number in counts.items()))


def _statements(statements: Statements) -> Lines:
    if statements.absent:
        yield Text(f"not counted: {statements.absent}")
        return
    table = _table("total", "calls", "mean", "rows", "statement", right=4)
    for statement in statements.top:
        seconds, mean = duration_text(statement.seconds), duration_text(statement.mean_seconds)
        table.add_row(seconds, f"{statement.calls:,}", mean, f"{statement.rows:,}", Text(statement.query))
    yield table
    if statements.hidden_seconds:
        yield Text(f"{duration_text(statements.hidden_seconds)} by other roles' statements are hidden", style="yellow")


def _tables(tables: Tables) -> Lines:
    table = _table("table", "rows", "dead", "size", "by index", "vacuumed", "analysed")
    for usage in tables.found:
        table.add_row(
            usage.name,
            f"{usage.rows:,}",
            f"{usage.dead_rows:,}",
            _size(usage.size_bytes),
            "" if usage.index_scan_ratio is None else f"{usage.index_scan_ratio:.0%}",
            _ago(usage.vacuum_age_seconds),
            _ago(usage.analyze_age_seconds),
        )
    if tables.found:
        yield table
    if tables.missing:
        yield Text(f"not there: {', '.join(tables.missing)}")


def _indexes(indexes: tuple[Index, ...], server: Server | None) -> Lines:
    table = _table("scans", "size", "index", right=2)
    covered = {pair.index.name: f"covered by {pair.covered_by.name}" for pair in redundant(indexes)}
    idle = {index.name for index in unused(indexes) if (index.size_bytes or 0) >= _LARGE_BYTES}
    for index in sorted(indexes, key=lambda index: (index.table, -index.scans)):
        note = covered.get(index.name, "unused" if index.name in idle else "") if index.is_valid else "invalid"
        on = f" on {index.table} ({', '.join(index.keys)})" + (f" WHERE {index.predicate}" if index.predicate else "")
        said = Text.assemble(index.name, (on, "dim"), (note and f"  {note}", "yellow"))
        table.add_row(f"{index.scans:,}", _size(index.size_bytes), said)
    if indexes:
        yield table
    if server is not None:
        yield Text(f"scans counted for {duration_text(server.statistics_age_seconds)}", style="dim")


def _xid(age: XidAge) -> Lines:
    yield Text(f"{age.used_ratio:.1%} used up: {age.server_age:,} in {age.oldest_database}")
    yield Text(
        f"oldest table here: {age.oldest_table}, {age.oldest_table_age:,}; autovacuum comes at {age.freeze_max_age:,}"
    )


def _ago(seconds: float | None) -> str:
    return "never" if seconds is None else f"{duration_text(seconds)} ago"


def _size(number: int | None) -> str:
    return "locked" if number is None else bytes_text(number)


def _table(*columns: str, right: int = 0) -> Table:
    """A table without lines; so many first columns are aligned to the right."""
    table = Table(box=None, pad_edge=False, header_style="dim")
    for number, column in enumerate(columns):
        table.add_column(column, overflow="fold", justify="right" if number < right else "left")
    return table
