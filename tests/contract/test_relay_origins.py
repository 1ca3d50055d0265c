"""How every relay store keeps notes about queued work."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any


def test_origins_are_taken_in_their_order(place: Any, store: Any) -> None:
    other = place.open()
    for content in (b"1", b"", b"\x00:3"):
        store.push_origin("task", content, ttl_seconds=60)
    store.push_origin("other task \udc80/../..", b"other", ttl_seconds=60)
    assert [other.pop_origin("task") for _ in range(4)] == [b"1", b"", b"\x00:3", None]
    assert other.pop_origin("other task \udc80/../..") == b"other"
    assert other.pop_origin("no task") is None


def test_expired_origins_are_not_taken(place: Any, store: Any) -> None:
    store.push_origin("task", b"long", ttl_seconds=60)
    for content in (b"1", b"2"):
        store.push_origin("task", content, ttl_seconds=0.05)
        store.push_origin("short", content, ttl_seconds=0.05)
    store.push_origin("task", b"longer", ttl_seconds=60)
    place.wait(0.1)
    assert [store.pop_origin("task") for _ in range(3)] == [b"long", b"longer", None]
    assert store.pop_origin("short") is None


def test_the_newest_origins_are_kept(store: Any) -> None:
    for number in range(130):
        store.push_origin("task", str(number).encode(), ttl_seconds=60)
    assert [store.pop_origin("task") for _ in range(101)] == [*(str(n).encode() for n in range(30, 130)), None]


def test_each_origin_is_taken_once(place: Any, store: Any) -> None:
    for number in range(100):
        store.push_origin("task", str(number).encode(), ttl_seconds=60)

    def take(_: int) -> list[bytes]:
        other = place.open()
        taken = []
        while (content := other.pop_origin("task")) is not None:
            taken.append(content)
        return taken

    with ThreadPoolExecutor(6) as pool:
        taken = [content for part in pool.map(take, range(6)) for content in part]
    assert sorted(taken, key=int) == [str(number).encode() for number in range(100)]
