"""Who waits for whose lock, drawn as trees."""

from __future__ import annotations

from collections.abc import Iterator

from rich.text import Text
from rich.tree import Tree

from ordinaut_ext_observability.db.insights.locks import PREPARED_TRANSACTION, LockedSession, Locks
from ordinaut_ext_observability.db.insights.quantities import duration_text


def lock_trees(locks: Locks) -> Iterator[Text | Tree]:
    """A tree per session at the head of a queue, each with what ends it."""
    if not locks.roots:
        yield Text("nobody waits" if not locks.waiting else f"{locks.waiting} wait; whom for is gone by now")
        return
    for root in locks.roots:
        count = sum(1 for _ in root.all_waiters())
        tree = Tree(_session(root, f"blocks {count}", "bold red"), guide_style="dim")
        _grow(tree, root)
        yield tree
        if root.pid == PREPARED_TRANSACTION:
            yield Text("to end it: ROLLBACK PREPARED or COMMIT PREPARED, see pg_prepared_xacts", style="cyan")
        else:
            yield Text(f"to end it: SELECT pg_terminate_backend({root.pid});", style="cyan")
    if locks.not_shown:
        yield Text(f"and {locks.not_shown} more that wait")


def _grow(tree: Tree, session: LockedSession) -> None:
    for waiter in session.waiters:
        age = "" if waiter.wait_seconds is None else f" {duration_text(waiter.wait_seconds)}"
        _grow(tree.add(_session(waiter, f"waits{age} for {_lock(waiter)}", "yellow")), waiter)


def _lock(waiter: LockedSession) -> str:
    """What it waits for, in words where PostgreSQL's are of no help."""
    if waiter.lock_type in ("transactionid", "tuple"):
        return f"a row of {waiter.relation}" if waiter.relation else "the end of a transaction"
    return f"{waiter.lock_mode} on {waiter.relation or waiter.lock_type}"


def _session(session: LockedSession, what: str, style: str) -> Text:
    who = ", ".join(filter(None, (session.role, session.application, session.state)))
    age = session.transaction_seconds
    since = "" if age is None else f", in transaction {duration_text(age)}"
    text = Text.assemble((f"{session.pid} {what}", style), f"  ({who}{since})")
    return text.append(f"\n{session.query}", style="dim") if session.query else text
