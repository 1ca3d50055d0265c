"""Trees of sessions that wait for locks: roots hold, everything below waits."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from ordinaut_ext_observability.db.insights.queries import Connection, fetch

MAX_WAITERS = 100
"""Waiting sessions looked at, the longest waits first: each question who blocks holds up the lock manager."""

_AS_READ = ("role", "application", "transaction_seconds", "lock_type", "lock_mode", "relation", "query")
"""Fields that are columns of the query."""

PREPARED_TRANSACTION = 0
"""The process id under which PostgreSQL names transactions prepared for a two-phase commit."""


@dataclass(frozen=True, slots=True)
class LockedSession:
    """A session that waits for a lock or holds one that others wait for."""

    pid: int
    blocked_by: tuple[int, ...]
    """Sessions it waits for: holders, and those ahead of it in the queue. Empty: it holds."""
    role: str
    application: str
    state: str
    """Empty where our role may not see it."""
    transaction_seconds: float | None
    wait_seconds: float | None
    """Time it waits for the lock; on PostgreSQL 13 since its statement began. None: it does not, or is hidden."""
    lock_type: str
    lock_mode: str
    """The lock it waits for, empty when it does not."""
    relation: str
    """Table of the lock, as far as known."""
    query: str
    """Without literals."""
    waiters: tuple[LockedSession, ...]
    """Sessions right behind it; each is in the tree once, behind the last one ahead of it."""

    def all_waiters(self) -> Iterator[LockedSession]:
        """Every session below, the nearest first within each branch."""
        for waiter in self.waiters:
            yield waiter
            yield from waiter.all_waiters()


@dataclass(frozen=True, slots=True)
class Locks:
    """The sessions of this database that wait for locks."""

    waiting: int
    roots: tuple[LockedSession, ...]
    """Sessions to look at, with most waiters first."""
    not_shown: int
    """Waiting sessions beyond `MAX_WAITERS`."""


async def read_locks(connection: Connection) -> Locks:
    """Read who waits for whom."""
    # PostgreSQL 13 does not say since when.
    waitstart = "waitstart" if connection.get_server_version().major >= 14 else "NULL::timestamptz"
    rows = await fetch(connection, "locks", MAX_WAITERS, waitstart=waitstart)
    return lock_tree({row["pid"]: row for row in rows})


def lock_tree(rows: Mapping[int, Mapping[str, Any]]) -> Locks:
    """The rows of the query, by process id, as a tree."""
    blockers = {
        pid: tuple(sorted(other for other in set(row["blockers"]) if other in rows and other != pid))
        for pid, row in rows.items()
    }
    behind, roots = _queues(blockers)

    def session(pid: int) -> LockedSession:
        row = rows[pid]
        return LockedSession(
            pid=pid,
            blocked_by=blockers[pid],
            state="prepared transaction" if pid == PREPARED_TRANSACTION else row["state"],
            wait_seconds=row["wait_seconds"] if row["lock_type"] else None,
            waiters=tuple(map(session, behind[pid])),
            **{name: row[name] for name in _AS_READ},
        )

    trees = sorted(map(session, roots), key=lambda root: -sum(1 for _ in root.all_waiters()))
    waiting = max((row["all_waiting"] for row in rows.values()), default=0)
    asked = sum(1 for row in rows.values() if row["blockers"])
    return Locks(waiting, tuple(trees), max(0, waiting - asked))


def _queues(blockers: Mapping[int, tuple[int, ...]]) -> tuple[defaultdict[int, list[int]], list[int]]:
    """Tell who stands right behind whom, and who first: one of a circle, which is a deadlock not yet found."""
    behind: defaultdict[int, list[int]] = defaultdict(list)
    roots: list[int] = []
    rounds: dict[int, int] = {}
    left = dict(blockers)
    while left:
        number = len(rounds)
        ready = [pid for pid, ahead in left.items() if all(other in rounds for other in ahead)]
        for pid in ready or list(left)[:1]:
            ahead = left.pop(pid)
            if ready and ahead:
                behind[max(ahead, key=lambda other: (rounds[other], -other))].append(pid)
            else:
                roots.append(pid)
            rounds[pid] = number
    return behind, roots
