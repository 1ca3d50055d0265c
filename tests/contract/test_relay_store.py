"""What every relay store does."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import pytest

from ordinaut_ext_observability.relay.base import (
    EPOCHS_BEHIND,
    EPOCHS_KEPT,
    NOTHING_RETIRED,
    Published,
    Reading,
    Refused,
    Retired,
    StoredVector,
)

ReadAll = Callable[[Any], Reading]
NewId = Callable[[], str]

A, B, C = "a" * 32, "b" * 32, "c" * 32


def sequences(reading: Reading, incarnation: str) -> list[int]:
    return [vector.sequence for vector in reading.vectors if vector.incarnation == incarnation]


def test_an_empty_store_has_an_identity_that_stays(place: Any, store: Any, read_all: ReadAll) -> None:
    reading = read_all(store)
    assert (reading.vectors, reading.seen_seconds, reading.retired) == ((), {}, NOTHING_RETIRED)
    assert reading.store
    assert read_all(place.open()).store == reading.store


def test_what_is_published_is_read_by_others(place: Any, store: Any, read_all: ReadAll) -> None:
    published = place.publish(store, A, b"content")
    reading = read_all(place.open())
    assert reading.store == published.store
    assert reading.vectors == (StoredVector(A, 1, place.epoch(published.now_seconds), b"content"),)
    assert reading.seen_seconds == {A: pytest.approx(published.now_seconds, abs=0.002)}
    assert reading.now_seconds >= published.now_seconds


@pytest.mark.parametrize("content", [b"", bytes(range(256)) * 3, b"\r\n\n0:1:", os.urandom(1_000_000)], ids=len)
def test_content_is_any_bytes(place: Any, store: Any, read_all: ReadAll, content: bytes) -> None:
    place.publish(store, A, content)
    assert read_all(store).vectors[0].content == content
    assert place.fold(store, [A], content)
    assert read_all(store).retired.content == content


def test_of_a_known_incarnation_later_epochs_are_read(place: Any, store: Any) -> None:
    held = place.publish_in_each_epoch(store, A, 3)
    place.publish(store, B)
    first = store.read({}, store="", retired_version=0)
    reading = store.read({A: held[0][0]}, store=first.store, retired_version=0)
    assert sequences(reading, A) == [sequence for _, sequence in held[1:]]
    assert sequences(reading, B) == [1]
    assert set(reading.seen_seconds) == {A, B}
    reading = store.read({A: held[-1][0]}, store=first.store, retired_version=0)
    assert sequences(reading, A) == []
    assert A in reading.seen_seconds


def test_what_is_known_from_another_store_counts_for_nothing(place: Any, store: Any, read_all: ReadAll) -> None:
    held = place.publish_in_each_epoch(store, A, 2)
    reading = store.read({A: held[-1][0]}, store="another", retired_version=0)
    assert sequences(reading, A) == [sequence for _, sequence in held]
    assert reading.retired == NOTHING_RETIRED


def test_a_known_total_is_not_read_again(place: Any, store: Any, read_all: ReadAll) -> None:
    place.publish(store, A)
    assert place.fold(store, [A])
    reading = read_all(store)
    assert reading.retired == Retired(1, b"total", {A: 1})
    assert store.read({}, store=reading.store, retired_version=1).retired is None
    assert store.read({}, store=reading.store, retired_version=2).retired == reading.retired
    assert store.read({}, store="another", retired_version=1).retired == reading.retired


def test_a_vector_takes_the_place_of_that_of_its_epoch(
    place: Any, store: Any, read_all: ReadAll, new_id: NewId
) -> None:
    for _ in range(20):
        incarnation = new_id()
        answers = [place.publish(store, incarnation, content) for content in (b"1", b"2", b"3")]
        if len({place.epoch(answer.now_seconds) for answer in answers}) == 1:
            break
    vectors = [vector for vector in read_all(store).vectors if vector.incarnation == incarnation]
    assert [(vector.sequence, vector.content) for vector in vectors] == [(3, b"3")]


def test_what_a_reader_needs_is_kept(place: Any, store: Any, read_all: ReadAll) -> None:
    held = place.publish_in_each_epoch(store, A, 8)
    reading = read_all(store)
    epoch = place.epoch(reading.now_seconds)
    kept = [(vector.epoch, vector.sequence) for vector in reading.vectors]
    assert kept == held[-len(kept) :]
    last_epoch = held[-1][0]
    assert kept[0][0] <= last_epoch - EPOCHS_KEPT < kept[1][0]
    # A reader that is an interval late shows it still.
    assert kept[0][0] <= epoch - EPOCHS_BEHIND - 1


def test_the_newest_of_a_silent_incarnation_is_kept(place: Any, store: Any, read_all: ReadAll) -> None:
    place.publish(store, A)
    place.wait_epochs(8)
    place.publish(store, A)
    assert sequences(read_all(store), A) == [1, 2]
    place.wait_epochs(8)
    place.publish(store, A)
    assert sequences(read_all(store), A) == [2, 3]


def test_silent_incarnations_are_counted(place: Any, store: Any) -> None:
    place.publish(store, A)
    place.publish(store, B)
    assert place.publish(store, C).silent == 0
    place.wait_epochs(9)
    assert place.publish(store, C).silent == 2
    assert place.publish(store, A).silent == 1
    assert place.fold(store, [B])
    assert place.publish(store, C).silent == 0


def test_an_incarnation_that_this_store_lost_is_refused(place: Any, store: Any, read_all: ReadAll) -> None:
    """As one folded so long ago that the total does not name it any more."""
    answer = store.publish(A, 7, b"x", last_store=read_all(store).store)
    assert isinstance(answer, Refused)
    assert answer.sequence is None
    assert read_all(store).vectors == ()


@pytest.mark.parametrize("last_store", ["", "another"])
def test_an_unknown_incarnation_from_elsewhere_is_taken(place: Any, store: Any, last_store: str) -> None:
    assert isinstance(store.publish(A, 7, b"x", last_store=last_store), Published)


def test_a_store_that_lost_its_contents_is_another(place: Any, store: Any, read_all: ReadAll) -> None:
    published = place.publish(store, A)
    place.lose()
    again = place.publish(store, A, last_store=published.store)
    assert again.store != published.store
    assert sequences(read_all(store), A) == [2]


def seed(store: Any, identity: str, vectors: Any = (), retired: Retired = NOTHING_RETIRED, seen: Any = None) -> None:
    seen = seen or {vector.incarnation: 1_600_000_000.0 for vector in vectors}
    store.seed(store=identity, retired=retired, vectors=vectors, seen=seen)


def test_a_seed_gives_what_was_known(place: Any, store: Any, read_all: ReadAll) -> None:
    place.publish_in_each_epoch(store, A, 3)
    place.publish(store, C)
    assert place.fold(store, [C])
    before = read_all(store)
    place.lose()
    empty = read_all(store)
    for _ in range(2):
        store.seed(store=empty.store, retired=before.retired, vectors=before.vectors[::-1], seen=before.seen_seconds)
        after = read_all(store)
        assert (after.vectors, after.retired) == (before.vectors, before.retired)
        assert after.seen_seconds == {A: pytest.approx(before.seen_seconds[A], abs=0.002)}
    assert isinstance(store.publish(C, 2, b"x", last_store=before.store), Refused)
    assert isinstance(store.publish(A, 4, b"x", last_store=before.store), Published)


def test_a_seed_of_nothing_but_a_total(store: Any, read_all: ReadAll) -> None:
    seed(store, read_all(store).store, retired=Retired(3, b"total", {A: 1}))
    assert read_all(store).retired == Retired(3, b"total", {A: 1})


def test_the_total_of_the_higher_version_stays(store: Any, read_all: ReadAll) -> None:
    identity = read_all(store).store
    seed(store, identity, retired=Retired(3, b"three", {A: 1}))
    for version in (2, 3):
        seed(store, identity, retired=Retired(version, b"other", {B: 1}))
        assert read_all(store).retired == Retired(3, b"three", {A: 1})
    seed(store, identity, retired=Retired(4, b"four", {B: 1}))
    assert read_all(store).retired == Retired(4, b"four", {B: 1})


def test_a_seeded_total_removes_what_it_names(place: Any, store: Any, read_all: ReadAll) -> None:
    place.publish(store, A)
    place.publish(store, B)
    seed(store, read_all(store).store, [StoredVector(A, 2, 100, b"x")], Retired(1, b"total", {A: 2}))
    reading = read_all(store)
    assert set(reading.seen_seconds) == {vector.incarnation for vector in reading.vectors} == {B}


def test_a_seeded_vector_does_not_replace_a_later_one(place: Any, store: Any, read_all: ReadAll) -> None:
    published = [place.publish(store, A, b"own") for _ in range(3)][-1]
    epoch = place.epoch(published.now_seconds)
    seed(store, published.store, [StoredVector(A, 2, epoch, b"old"), StoredVector(A, 3, epoch, b"same")])
    assert {vector.content for vector in read_all(store).vectors} == {b"own"}
    seed(store, published.store, [StoredVector(A, 4, epoch, b"later")])
    reading = read_all(store)
    assert reading.vectors[-1] == StoredVector(A, 4, epoch, b"later")
    assert isinstance(store.publish(A, 5, b"own", last_store=published.store), Published)
    assert read_all(store).vectors[-1].sequence == 5


def test_a_seed_for_another_store_does_nothing(store: Any, read_all: ReadAll) -> None:
    seed(store, "another", [StoredVector(A, 1, 100, b"x")], Retired(1, b"total", {B: 2}))
    reading = read_all(store)
    assert (reading.vectors, reading.retired) == ((), NOTHING_RETIRED)


def test_vectors_of_a_clock_that_went_back_are_read(place: Any, store: Any, read_all: ReadAll) -> None:
    """What was stored before looks as if it were of the future."""
    reading = read_all(store)
    future = place.epoch(reading.now_seconds) + 1_000_000
    seed(store, reading.store, [StoredVector(A, 1, future - 1, b"1"), StoredVector(A, 2, future, b"2")])
    published = store.publish(A, 3, b"3", last_store=reading.store)
    assert isinstance(published, Published)
    reading = store.read({A: future}, store=reading.store, retired_version=0)
    assert reading.vectors == (StoredVector(A, 3, place.epoch(published.now_seconds), b"3"),)


def test_thousands_of_incarnations(place: Any, store: Any, read_all: ReadAll, new_id: NewId) -> None:
    incarnations = [new_id() for _ in range(2000)]
    for start in range(0, 2000, 500):
        part = [StoredVector(name, 1, 100, b"x" * 50) for name in incarnations[start : start + 500]]
        seed(store, read_all(store).store, part)
    reading = read_all(store)
    assert sorted(vector.incarnation for vector in reading.vectors) == sorted(incarnations)
    known = {vector.incarnation: vector.epoch for vector in reading.vectors}
    assert store.read(known, store=reading.store, retired_version=0).vectors == ()
    for start in range(0, 2000, 500):
        assert place.fold(store, incarnations[start : start + 500])
    assert read_all(store).seen_seconds == {}
    assert list(read_all(store).retired.folded) == incarnations


def test_close_may_be_called_twice(store: Any) -> None:
    store.push_origin("task", b"x", ttl_seconds=60)
    store.close()
    store.close()
