"""What belongs to no process: fenced vectors, and the lease of whoever leads. Over every relay store."""

from __future__ import annotations

import threading
from typing import Any

from ordinaut_ext_observability.relay.base import SHARED, Published, Refused, RelayStore


def test_a_fenced_vector_is_refused_where_there_is_one_of_the_same_or_a_higher_sequence(store: RelayStore) -> None:
    assert isinstance(store.publish(SHARED, 1, b"one", last_store="", fenced=True), Published)
    assert isinstance(store.publish(SHARED, 2, b"two", last_store="", fenced=True), Published)
    for sequence in (1, 2):
        answer = store.publish(SHARED, sequence, b"late", last_store="", fenced=True)
        assert isinstance(answer, Refused)
        assert answer.sequence == 2
    assert [vector.content for vector in store.read({}, store="", retired_version=0).vectors][-1] == b"two"


def test_of_several_that_publish_the_same_sequence_one_wins(store: RelayStore) -> None:
    answers: list[Published | Refused] = []
    start = threading.Barrier(8)

    def publish(number: int) -> None:
        start.wait()
        answers.append(store.publish(SHARED, 1, str(number).encode(), last_store="", fenced=True))

    threads = [threading.Thread(target=publish, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(type(answer).__name__ for answer in answers) == ["Published"] + ["Refused"] * 7


def test_a_lease_is_its_holders_until_it_ends(place: Any, store: RelayStore) -> None:
    assert store.hold_lease("a", 60)
    assert store.hold_lease("a", 0.2)
    assert not store.hold_lease("b", 60)
    place.wait(0.25)
    assert store.hold_lease("b", 60)
    assert not store.hold_lease("a", 60)
