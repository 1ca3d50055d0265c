"""How every relay store moves what ended into the total."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from ordinaut_ext_observability.relay.base import Reading, Refused, Retired

ReadAll = Callable[[Any], Reading]
NewId = Callable[[], str]

A, B, C = "a" * 32, "b" * 32, "c" * 32


def test_a_folded_incarnation_is_refused(place: Any, store: Any) -> None:
    place.publish(store, A)
    published = place.publish(store, A)
    assert place.fold(place.open(), [A])
    for last_store in (published.store, "another", ""):
        answer = store.publish(A, 3, b"x", last_store=last_store)
        assert isinstance(answer, Refused)
        assert (answer.store, answer.sequence) == (published.store, 2)
        assert answer.now_seconds >= published.now_seconds


def test_a_fold_removes_and_totals(place: Any, store: Any, read_all: ReadAll) -> None:
    place.publish_in_each_epoch(store, A, 3)
    place.publish_in_each_epoch(store, B, 2)
    place.publish(store, C)
    assert place.fold(store, [A, B], b"of a and b")
    reading = read_all(place.open())
    assert {vector.incarnation for vector in reading.vectors} == set(reading.seen_seconds) == {C}
    assert reading.retired == Retired(1, b"of a and b", {A: 3, B: 2})
    assert list(reading.retired.folded) == [A, B]


def test_the_order_of_the_folded_is_kept(place: Any, store: Any, read_all: ReadAll, new_id: NewId) -> None:
    folded = [new_id() for _ in range(50)]
    random.Random(5).shuffle(folded)
    for incarnation in folded:
        place.publish(store, incarnation)
    for start in range(0, 50, 10):
        assert place.fold(store, folded[start : start + 10])
    assert list(read_all(store).retired.folded) == folded
    assert read_all(store).retired.version == 5


@pytest.mark.parametrize(
    "changed",
    [
        {"store": "another"},
        {"expected_version": 1},
        {"folding": {A: 1}},
        {"folding": {A: 3}},
        {"folding": {A: 2, B: 1}},
    ],
    ids=["store", "version", "published since", "not published yet", "one is gone"],
)
def test_a_fold_of_something_else_does_nothing(
    place: Any, store: Any, read_all: ReadAll, changed: dict[str, Any]
) -> None:
    place.publish(store, A)
    place.publish(store, A)
    before = read_all(store)
    arguments = {
        "store": before.store,
        "expected_version": 0,
        "retired": Retired(1, b"total", {A: 2}),
        "folding": {A: 2},
    }
    assert store.fold(**{**arguments, **changed}) is False
    after = read_all(store)
    assert (after.vectors, after.seen_seconds, after.retired) == (before.vectors, before.seen_seconds, before.retired)
    assert store.fold(**arguments) is True
    assert store.fold(**arguments) is False


def test_of_several_that_fold_one_does(place: Any, store: Any, read_all: ReadAll) -> None:
    place.publish(store, A)
    place.publish(store, B)
    reading = read_all(store)
    stores = [place.open() for _ in range(8)]
    barrier = threading.Barrier(8, timeout=10)

    def fold(number: int) -> bool:
        folding = {A: 1} if number % 2 else {B: 1}
        retired = Retired(1, str(number).encode(), folding)
        barrier.wait()
        return stores[number].fold(store=reading.store, expected_version=0, retired=retired, folding=folding)

    with ThreadPoolExecutor(8) as pool:
        done = list(pool.map(fold, range(8)))
    assert done.count(True) == 1
    after = read_all(store)
    assert after.retired.content == str(done.index(True)).encode()
    assert set(after.retired.folded) | set(after.seen_seconds) == {A, B}


def test_no_reader_sees_half_a_fold(place: Any, store: Any, read_all: ReadAll, new_id: NewId) -> None:
    """Of the incarnations published, each is in the vectors or in the total, and never in both."""
    incarnations = [new_id() for _ in range(150)]
    for incarnation in incarnations:
        place.publish(store, incarnation)
    left = list(incarnations)
    ended = threading.Event()

    def fold() -> None:
        folder = place.open()
        try:
            while left:
                count = len(incarnations) - len(left)
                folding = [left.pop() for _ in range(min(3, len(left)))]
                assert place.fold(folder, folding, str(count + len(folding)).encode())
        finally:
            ended.set()

    def republish() -> None:
        """Others come and go in the directory meanwhile."""
        other, name = place.open(), new_id()
        while not ended.is_set():
            place.publish(other, name, b"busy")

    def read(_: int) -> set[int]:
        reader = place.open()
        counts = set()
        while not ended.is_set():
            reading = read_all(reader)
            live = {vector.incarnation for vector in reading.vectors if vector.content != b"busy"}
            assert not live & set(reading.retired.folded)
            counts.add(len(live) + int(reading.retired.content or b"0"))
        return counts

    with ThreadPoolExecutor(8) as pool:
        readings = [pool.submit(read, number) for number in range(4)]
        others = [pool.submit(fold), pool.submit(republish)]
        assert [reading.result(60) for reading in readings] == [{150}] * 4
        for other in others:
            other.result(60)
    assert len(read_all(store).retired.folded) == 150


def test_publishers_that_are_folded_meanwhile_lose_nothing(place: Any, store: Any, new_id: NewId) -> None:
    """Whatever a fold took, the publisher learns up to which sequence."""
    for _ in range(30):
        incarnation = new_id()
        identity = place.publish(store, incarnation).store
        results: list[Any] = []
        other = place.open()
        thread = threading.Thread(target=lambda: results.append(place.fold(other, [incarnation])))
        thread.start()
        answers = [store.publish(incarnation, sequence, b"x", last_store=identity) for sequence in range(2, 12)]
        thread.join(20)
        last = store.publish(incarnation, 12, b"x", last_store=identity)
        assert isinstance(last, Refused) is results[0]
        refusals = [answer for answer in answers if isinstance(answer, Refused)]
        assert len({refusal.sequence for refusal in refusals}) <= 1
        if results[0]:
            assert last.sequence is not None
            assert all(refusal.sequence == last.sequence for refusal in refusals)
