"""`db`: what PostgreSQL says of itself, the worst first."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from typing import Any

from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from ordinaut_ext_observability.background.daemon_threads import run_on_own_loop
from ordinaut_ext_observability.cli.lock_trees import lock_trees
from ordinaut_ext_observability.db.insights.indexes import Index, redundant, unused
from ordinaut_ext_observability.db.insights.quantities import bytes_text, duration_text
from ordinaut_ext_observability.db.insights.report import Report, read_report
from ordinaut_ext_observability.db.insights.session import NoConnectionError, read_only_session
from ordinaut_ext_observability.db.insights.statements import Statements
from ordinaut_ext_observability.db.insights.views import Connections, Server, Tables, Transaction, XidAge

READ = 0
NOT_CONNECTED = 2
_LARGE_BYTES = 2**20
"""Below this it does not matter whether an index is used."""


def run_db(
    url: str,
    *,
    timeout_seconds: float = 5.0,
    top: int = 10,
    as_json: bool = False,
    console: Console | None = None,
) -> int:
    """Print the report; the exit status."""
    console = console or Console(highlight=False)
    try:
        report = run_on_own_loop(_read(url, timeout_seconds, top))
    except NoConnectionError as error:
        console.print(Text(str(error)), soft_wrap=True)
        return NOT_CONNECTED
    if as_json:
        console.print(
            Text(json.dumps(asdict(report) | {"attention": list(report.attention())}, indent=2)), soft_wrap=True
        )
    else:
        print_report(console, report)
    return READ


async def _read(url: str, timeout_seconds: float, top: int) -> Report:
    async with read_only_session(url, timeout_seconds) as connection:
        return await read_report(connection, top)


def print_report(console: Console, report: Report) -> None:
    """What needs attention, then each part under its heading."""
    if report.server is not None:
        console.print(_headline(report.server))
    attention = list(report.attention())
    for line in attention:
        console.print(Text(f"! {line}", style="red"))
    if not attention:
        all_seen = report.server is not None and report.server.sees_all and not report.problems
        said = "nothing needs attention" if all_seen else "nothing seen that needs attention; not all can be seen"
        console.print(Text(said, style="green" if all_seen else "yellow"))
    parts = {problem.part: problem for problem in report.problems}
    for title, name, shown in _parts(report):
        console.print(Text(f"\n{title}", style="bold"))
        if name in parts:
            console.print(Text(f"  not read ({parts[name].reason}): {parts[name].message}", style="yellow"))
        for renderable in shown:
            console.print(Padding(renderable, (0, 0, 0, 2), expand=False))


def _parts(report: Report) -> Iterator[tuple[str, str, Iterable[Any]]]:
    """Title, name and lines of each part."""
    yield "Locks", "locks", () if report.locks is None else lock_trees(report.locks)
    yield "Oldest transactions", "transactions", _transactions(report)
    yield "Connections", "connections", () if report.connections is None else _connections(report)
    yield "Statements by time", "statements", () if report.statements is None else _statements(report.statements)
    yield "Tables", "tables", () if report.tables is None else _tables(report.tables)
    yield "Indexes", "indexes", () if report.indexes is None else _indexes(report.indexes, report.server)
    yield "Transaction ids", "xid_age", () if report.xid_age is None else _xid(report.xid_age)


def _headline(server: Server) -> Text:
    kind = "replica or in recovery" if server.in_recovery else "primary"
    seen = "" if server.sees_all else "; may not see what other roles do: GRANT pg_monitor TO it"
    return Text(f"{server.database}, PostgreSQL {server.version}, {kind}, as {server.role}{seen}")


def _transactions(report: Report) -> Iterator[Any]:
    if report.transactions:
        table = _table("pid", "open", "state", "for", "who", "statement")
        for transaction in report.transactions:
            table.add_row(*_transaction_row(transaction))
        yield table
    elif report.transactions is not None:
        yield Text("none open")
    if report.longest is not None and report.longest.hidden:
        yield Text(f"{report.longest.hidden} sessions of other roles are hidden", style="yellow")


def _transaction_row(transaction: Transaction) -> tuple[str | Text, ...]:
    state = transaction.state + (
        f" ({transaction.waits_for})" if transaction.state == "active" and transaction.waits_for else ""
    )
    return (
        str(transaction.pid),
        duration_text(transaction.transaction_seconds),
        Text(state),
        "" if transaction.state_seconds is None else duration_text(transaction.state_seconds),
        Text(transaction.application or transaction.role),
        Text(transaction.query),
    )


def _connections(report: Report) -> Iterator[Any]:
    connections: Connections | None = report.connections
    if connections is None:
        return
    limit = ""
    if report.server is not None:
        limit = f" of {report.server.max_connections - report.server.reserved_connections}"
    yield Text(f"{connections.total}{limit} in use, {connections.of_this_database} of them by this database")
    for title, counts in (("by state", connections.by_state), ("by application", connections.by_application)):
        if counts:
            yield Text(f"{title}: " + ", ".join(f"{name or '(no name)'} {number}" for name, number in counts.items()))


def _statements(statements: Statements) -> Iterator[Any]:
    if statements.absent:
        yield Text(f"not counted: {statements.absent}")
        return
    table = _table("total", "calls", "mean", "rows", "statement", right=4)
    for statement in statements.top:
        table.add_row(
            duration_text(statement.seconds),
            f"{statement.calls:,}",
            duration_text(statement.mean_seconds),
            f"{statement.rows:,}",
            Text(statement.query),
        )
    yield table
    if statements.hidden_seconds:
        yield Text(f"{duration_text(statements.hidden_seconds)} by other roles' statements are hidden", style="yellow")


def _tables(tables: Tables) -> Iterator[Any]:
    table = _table("table", "rows", "dead", "size", "by index", "vacuumed", "analysed")
    for usage in tables.found:
        table.add_row(
            usage.name,
            f"{usage.rows:,}",
            f"{usage.dead_rows:,}",
            "locked" if usage.size_bytes is None else bytes_text(usage.size_bytes),
            "" if usage.index_scan_ratio is None else f"{usage.index_scan_ratio:.0%}",
            _ago(usage.vacuum_age_seconds),
            _ago(usage.analyze_age_seconds),
        )
    if tables.found:
        yield table
    if tables.missing:
        yield Text(f"not there: {', '.join(tables.missing)}")


def _indexes(indexes: tuple[Index, ...], server: Server | None) -> Iterator[Any]:
    table = _table("scans", "size", "index", right=2)
    covered = {pair.index.name: pair.covered_by.name for pair in redundant(indexes)}
    idle = {index.name for index in unused(indexes) if (index.size_bytes or 0) >= _LARGE_BYTES}
    for index in sorted(indexes, key=lambda index: (index.table, -index.scans)):
        note = "" if index.is_valid else "invalid"
        note = note or (f"covered by {covered[index.name]}" if index.name in covered else "")
        note = note or ("unused" if index.name in idle else "")
        on = f" on {index.table} ({', '.join(index.keys)})" + (f" WHERE {index.predicate}" if index.predicate else "")
        size = "locked" if index.size_bytes is None else bytes_text(index.size_bytes)
        said = Text.assemble(index.name, (on, "dim"), (note and f"  {note}", "yellow"))
        table.add_row(f"{index.scans:,}", size, said)
    if indexes:
        yield table
    if server is not None:
        yield Text(f"scans counted for {duration_text(server.statistics_age_seconds)}", style="dim")


def _xid(age: XidAge) -> Iterator[Any]:
    yield Text(f"{age.used_ratio:.1%} used up: {age.server_age:,} in {age.oldest_database}")
    yield Text(
        f"oldest table here: {age.oldest_table}, {age.oldest_table_age:,}; autovacuum comes at {age.freeze_max_age:,}"
    )


def _ago(seconds: float | None) -> str:
    return "never" if seconds is None else f"{duration_text(seconds)} ago"


def _table(*columns: str, right: int = 0) -> Table:
    """A table without lines; the last columns but the words are aligned to the right."""
    table = Table(box=None, pad_edge=False, header_style="dim")
    for number, column in enumerate(columns):
        table.add_column(column, overflow="fold", justify="right" if number < right else "left")
    return table
