"""One total, each publication once: over a real server, a file and in memory, one contract."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from ordinaut_ext_observability.cluster.base import Document, Put
from ordinaut_ext_observability.relay.store import LARGEST_NUMBER, WATCHED, Outcome, Publication

ME = "a" * 32
OTHER = "b" * 32


def say(relay: Any, store: str, publisher: str, content: bytes, seconds: float, sequence: int = 1) -> Outcome:
    outcome: Outcome = relay.publish(store, Publication(publisher, sequence, {}, said=(content, seconds)))
    return outcome


def test_publication_is_added_once(place: Any) -> None:
    one, other = place.open(), place.open()
    store = one.join(ME)
    assert other.join(OTHER) == store
    for _ in range(3):
        assert one.publish(store, Publication(ME, 1, {0: 5, 3: 7})) is Outcome.ADDED
    assert one.publish(store, Publication(ME, 2, {0: 1})) is Outcome.ADDED
    assert one.publish(store, Publication(ME, 1, {0: 5, 3: 7})) is Outcome.ADDED
    assert other.publish(store, Publication(OTHER, 1, {3: 2, 70: -4})) is Outcome.ADDED
    total = other.read("", 0).total
    assert (total[0], total[1], total[2], total[3], total[70]) == (6, 0, 0, 9, -4)


def test_nothing_is_added_of_a_publisher_that_is_not_known(relay: Any) -> None:
    store = relay.join(ME)
    assert relay.publish(store, Publication(OTHER, 1, {0: 1})) is Outcome.FORGOTTEN
    assert relay.publish(store, Publication(ME, 2, {0: 1})) is Outcome.FORGOTTEN
    relay.publish(store, Publication(ME, 1, {0: 1}))
    relay.leave(store, ME)
    assert relay.publish(store, Publication(ME, 2, {0: 1})) is Outcome.FORGOTTEN
    assert list(relay.read(store, 0).total)[:1] == [1]


def test_joining_again_keeps_the_number(relay: Any) -> None:
    store = relay.join(ME)
    relay.publish(store, Publication(ME, 1, {0: 1}))
    assert relay.join(ME) == store
    assert relay.publish(store, Publication(ME, 1, {0: 1})) is Outcome.ADDED
    assert relay.read(store, 0).total[0] == 1


def test_another_store_adds_nothing(relay: Any) -> None:
    relay.join(ME)
    assert relay.publish("another", Publication(ME, 1, {0: 1})) is Outcome.REPLACED
    assert not relay.append("another", 0, [b"x"])
    assert say(relay, "another", ME, b"x", 60) is Outcome.REPLACED
    reading = relay.read("another", 5)
    assert (list(reading.series), list(reading.entries), sum(reading.total)) == ([], [], 0)


def test_lost_store_has_another_identity_and_begins_at_zero(place: Any) -> None:
    relay = place.open()
    store = relay.join(ME)
    relay.append(store, 0, [b"x"])
    relay.publish(store, Publication(ME, 1, {0: 1}))
    place.lose()
    reading = relay.read(store, 1)
    assert reading.store != store
    assert (list(reading.series), sum(reading.total)) == ([], 0)
    assert relay.publish(store, Publication(ME, 2, {0: 1})) is Outcome.REPLACED


def test_series_are_appended_only_where_the_list_is_known(place: Any) -> None:
    one, other = place.open(), place.open()
    store = one.join(ME)
    assert one.append(store, 0, [b"a", b"\x00\xff"])
    assert not other.append(store, 0, [b"b"])
    assert other.append(store, 2, [str(number).encode() for number in range(12_000)])
    assert list(one.read(store, 0).series[:3]) == [b"a", b"\x00\xff", b"0"]
    assert list(one.read(store, 12_000).series) == [b"11998", b"11999"]
    assert len(one.read("", 12_000).series) == 12_002


def test_document_is_written_with_the_counts_or_neither_is(place: Any) -> None:
    """So a leader that was followed by another adds nothing more."""
    relay = place.open()
    store = relay.join(ME)
    relay.join(OTHER)
    assert relay.publish(store, Publication(ME, 1, {0: 1}, Put("checkpoint", 0, b"one"))) is Outcome.ADDED
    assert relay.publish(store, Publication(ME, 1, {0: 1}, Put("checkpoint", 0, b"one"))) is Outcome.ADDED
    assert relay.get("checkpoint") == Document(1, b"one")
    assert relay.publish(store, Publication(OTHER, 1, {0: 2}, Put("checkpoint", 1, b"two"))) is Outcome.ADDED
    assert relay.publish(store, Publication(ME, 2, {0: 4}, Put("checkpoint", 1, b"late"))) is Outcome.OUTDATED
    assert relay.get("checkpoint") == Document(2, b"two")
    assert relay.read(store, 0).total[0] == 3
    assert relay.publish(store, Publication(ME, 2, {0: 4})) is Outcome.ADDED


def test_publication_answers_the_version_of_the_watched_document(place: Any) -> None:
    one, other = place.open(), place.open()
    store = one.join(ME)
    assert one.watched_version == 0
    for version in range(2):
        assert other.write([Put(WATCHED, version, b"{}")])
        assert one.publish(store, Publication(ME, version + 1, {0: 1})) is Outcome.ADDED
        assert one.watched_version == version + 1
    assert other.write([Put(WATCHED, 2, b"{}"), Put("another", 0, b"")])
    assert one.publish(store, Publication(ME, 2, {0: 1})) is Outcome.ADDED  # once more, for want of an answer
    assert one.watched_version == 3
    assert one.publish(store, Publication(ME, 3, {0: 1}, Put("another", 7, b""))) is Outcome.OUTDATED
    assert one.watched_version == 3
    place.lose()
    assert one.publish(one.join(ME), Publication(ME, 1, {0: 1})) is Outcome.ADDED
    assert one.watched_version == 0


def test_entry_is_shown_until_it_expires_or_its_publisher_leaves(place: Any) -> None:
    relay = place.open()
    store = relay.join(ME)
    relay.join(OTHER)
    say(relay, store, ME, b"\x00 old", 60)
    say(relay, store, ME, b"\x00 new", 60, 2)
    say(relay, store, ME, b"late", 60, 1)
    assert relay.publish(store, Publication(ME, 3, {0: 1})) is Outcome.ADDED
    say(relay, store, OTHER, b"short", 0.05)
    place.wait(0.1)
    ((publisher, age, content),) = relay.read(store, 0).entries
    assert (publisher, content) == (ME, b"\x00 new")
    assert 0.05 <= age < 10
    relay.leave(store, ME)
    assert list(relay.read(store, 0).entries) == []


def test_numbers_stay_at_the_largest(relay: Any) -> None:
    store = relay.join(ME)
    for sequence in range(1, 4):
        assert relay.publish(store, Publication(ME, sequence, {0: 2**62, 1: 1})) is Outcome.ADDED
    assert list(relay.read(store, 0).total)[:2] == [LARGEST_NUMBER, 3]


def test_many_deltas_are_one_publication(relay: Any) -> None:
    store = relay.join(ME)
    deltas = {place: place + 1 for place in range(20_000)}
    assert relay.publish(store, Publication(ME, 1, deltas)) is Outcome.ADDED
    assert list(relay.read(store, 0).total)[:20_000] == list(deltas.values())


def test_publishers_at_the_same_time_lose_nothing(place: Any) -> None:
    store = place.open().join(ME)

    def add(relay: Any, publisher: str) -> None:
        relay.join(publisher)
        for sequence in range(1, 41):
            relay.publish(store, Publication(publisher, sequence, {0: 1, 1: 2}))

    relays = [place.open() for _ in range(3 if place.has_processes else 1)]
    threads = [threading.Thread(target=add, args=(relay, str(number))) for number, relay in enumerate(relays)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert list(relays[0].read(store, 0).total)[:2] == [40 * len(relays), 80 * len(relays)]


class TestFile:
    """What is particular to a file."""

    @pytest.fixture(name="place")
    def _place(self, file_place: Any) -> Any:
        return file_place

    def test_file_that_nobody_has_used_for_a_minute_begins_anew_and_keeps_documents(self, place: Any) -> None:
        relay = place.open()
        store = relay.join(ME)
        relay.append(store, 0, [b"x"])
        relay.publish(store, Publication(ME, 1, {0: 1}, Put("states", 0, b"1")))
        place.wait(59)
        assert relay.join(OTHER) == store
        place.wait(61)
        reading = relay.read(relay.join(OTHER), 0)
        assert reading.store != store
        assert (list(reading.series), sum(reading.total)) == ([], 0)
        assert relay.publish(store, Publication(ME, 2, {0: 1})) is Outcome.REPLACED
        assert relay.get("states") == Document(1, b"1")

    def test_process_that_says_so_seldom_is_not_taken_for_ended(self, place: Any) -> None:
        relay = place.open()
        store = relay.join(ME)
        say(relay, store, ME, b"x", 1800)
        place.wait(1700)
        assert relay.join(OTHER) == store

    @pytest.mark.parametrize("seconds", [86_400 * 30, -86_400 * 30])
    def test_clock_that_is_set_ends_nobody_and_keeps_nobody(self, place: Any, seconds: float) -> None:
        relay = place.open()
        store = relay.join(ME)
        say(relay, store, ME, b"living", 60)
        relay.join(OTHER)
        say(relay, store, OTHER, b"ended", 5)
        place.clock.set_by += seconds
        place.wait(10)
        assert relay.join("c" * 32) == store
        assert [entry.content for entry in relay.read(store, 0).entries] == [b"living"]
        assert relay.publish(store, Publication(ME, 2, {0: 1})) is Outcome.ADDED

    def test_machine_that_started_again_has_no_process_of_before(self, place: Any) -> None:
        relay = place.open()
        store = relay.join(ME)
        say(relay, store, ME, b"living", 600)
        place.clock.now = 5.0
        assert relay.join(OTHER) != store
        assert list(relay.read("", 0).entries) == []

    def test_publisher_is_remembered_for_a_day(self, place: Any) -> None:
        relay = place.open()
        store = relay.join(ME)
        relay.join(OTHER)
        for hour in range(1, 26):
            place.wait(3600)
            assert say(relay, store, OTHER, b"alive", 7200, hour) is Outcome.ADDED
            assert relay.join(OTHER) == store
        assert relay.publish(store, Publication(ME, 1, {0: 1})) is Outcome.FORGOTTEN


def test_redis_that_started_again_is_another_store(own_server: Any) -> None:
    """Also with what it had saved: it may lack the last moments."""
    from ordinaut_ext_observability.relay.redis_store import RedisRelayStore

    relay = RedisRelayStore(own_server.url, "mine")
    store = relay.join(ME)
    own_server.stop(keep=True)
    own_server.start()
    assert relay.join(ME) != store
    relay.close()


def test_evicted_key_makes_another_store(redis_url: str) -> None:
    import redis

    from ordinaut_ext_observability.relay.redis_store import RedisRelayStore

    relay = RedisRelayStore(redis_url, "mine")
    client = redis.Redis.from_url(redis_url)
    for key in ("series", "total", "publishers", "state"):
        store = relay.join(ME)
        relay.publish(store, Publication(ME, 1, {0: 1}))
        client.delete("{ordinaut-observability:mine}:relay:" + key)
        assert relay.publish(store, Publication(ME, 2, {0: 1})) is Outcome.REPLACED
        assert sum(relay.read(store, 0).total) == 0
    relay.close()
    client.close()


def test_what_was_said_before_the_servers_clock_was_set_back_is_over(redis_url: str) -> None:
    import redis

    from ordinaut_ext_observability.relay.redis_store import RedisRelayStore

    relay = RedisRelayStore(redis_url, "mine")
    store = relay.join(ME)
    say(relay, store, ME, b"x", 60)
    with redis.Redis.from_url(redis_url) as client:
        client.zincrby("{ordinaut-observability:mine}:relay:seen", 3_600_000, ME)
    assert list(relay.read(store, 0).entries) == []
    say(relay, store, ME, b"living", 60, 2)
    assert [entry.content for entry in relay.read(store, 0).entries] == [b"living"]
    relay.close()


def test_installations_on_one_server_do_not_meet(redis_url: str) -> None:
    from ordinaut_ext_observability.relay.redis_store import RedisRelayStore

    mine, other = RedisRelayStore(redis_url, "mine"), RedisRelayStore(redis_url, "other")
    store = mine.join(ME)
    mine.publish(store, Publication(ME, 1, {0: 1}))
    assert other.join(OTHER) != store
    assert sum(other.read("", 0).total) == 0
    mine.close()
    other.close()
