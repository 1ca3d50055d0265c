"""Waiting sessions as trees, whatever shape their waiting has."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from ordinaut_ext_observability.db.insights.locks import LockedSession, lock_tree


def rows(blockers: dict[int, list[int]], waiting: int | None = None) -> dict[int, dict[str, Any]]:
    waiters = sum(1 for listed in blockers.values() if listed)
    common = {"role": "", "application": "", "state": "", "transaction_seconds": None, "relation": "", "query": None}
    return {
        pid: {
            **common,
            "blockers": listed,
            "lock_type": "relation" if listed else "",
            "lock_mode": "ShareLock" if listed else "",
            "wait_seconds": 1.0,
            "all_waiting": waiters if waiting is None else waiting,
        }
        for pid, listed in blockers.items()
    }


def shape(sessions: tuple[LockedSession, ...]) -> dict[int, Any]:
    return {session.pid: shape(session.waiters) for session in sessions}


def test_nobody_waits() -> None:
    locks = lock_tree({})
    assert (locks.waiting, locks.roots, locks.not_shown) == (0, (), 0)


def test_each_waits_behind_the_last_one_ahead_of_it() -> None:
    locks = lock_tree(rows({1: [], 2: [1], 3: [1, 2], 4: [1]}))
    assert shape(locks.roots) == {1: {2: {3: {}}, 4: {}}}
    assert locks.waiting == 3


def test_roots_with_most_waiters_come_first() -> None:
    assert list(shape(lock_tree(rows({1: [], 2: [1], 5: [], 6: [5], 7: [6]})).roots)) == [5, 1]


def test_holder_waits_for_nothing() -> None:
    (root,) = lock_tree(rows({1: [], 2: [1]})).roots
    assert root.wait_seconds is None
    assert root.waiters[0].wait_seconds == 1.0


def test_deadlock_not_yet_found_is_cut() -> None:
    assert shape(lock_tree(rows({1: [2], 2: [1], 3: [2]})).roots) == {1: {2: {3: {}}}}


def test_prepared_transaction_blocks_as_0() -> None:
    (root,) = lock_tree(rows({0: [], 2: [0, 0]})).roots
    assert (root.pid, root.state) == (0, "prepared transaction")


def test_waiters_left_out_are_counted() -> None:
    assert lock_tree(rows({1: [], 2: [1]}, waiting=500)).not_shown == 499


@given(st.dictionaries(st.integers(0, 12), st.lists(st.integers(0, 15), max_size=4), max_size=12))
def test_everyone_is_in_the_tree_once(blockers: dict[int, list[int]]) -> None:
    locks = lock_tree(rows(blockers))
    seen = [pid for root in locks.roots for pid in (root.pid, *(waiter.pid for waiter in root.all_waiters()))]
    assert sorted(seen) == sorted(blockers)
