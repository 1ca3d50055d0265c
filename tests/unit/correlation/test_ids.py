"""Random ids, and which ids of clients are taken."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable

import pytest

from ordinaut_ext_observability.correlation.ids import MAX_ID_LENGTH, RandomIds, match_client_id, random_ids

InForkedChild = Callable[[Callable[[], bytes]], bytes]

# Python 3.12 and later warn of any fork while other threads live, such as a log writer's of another test.
pytestmark = pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork.*:DeprecationWarning")


def test_ids_are_32_and_16_lower_case_hex_digits() -> None:
    ids = RandomIds()
    assert all(re.fullmatch(r"[0-9a-f]{32} [0-9a-f]{16}", " ".join(ids.take())) for _ in range(600))


def test_ten_thousand_ids_are_all_different_and_so_are_their_parts() -> None:
    ids = RandomIds()
    taken = [ids.take() for _ in range(10_000)]
    assert len({trace_id for trace_id, _ in taken}) == len({span_id for _, span_id in taken}) == 10_000


def test_two_pools_share_no_id() -> None:
    first, second = RandomIds(), RandomIds()
    assert {first.take() for _ in range(1000)}.isdisjoint({second.take() for _ in range(1000)})


def test_the_pooled_ids_run_out_and_a_refill_brings_more() -> None:
    ids = RandomIds()
    with pytest.raises(IndexError):
        ids.take_pooled()
    taken = {ids.refill()}
    for _ in range(256):
        taken.add(ids.take_pooled())
    assert len(taken) == 257
    with pytest.raises(IndexError):
        ids.take_pooled()


def test_forgetting_empties_the_pool_for_callers_that_hold_its_method_too() -> None:
    ids = RandomIds()
    take_pooled = ids.take_pooled
    ids.refill()
    ids.reset_after_fork()
    with pytest.raises(IndexError):
        take_pooled()
    ids.refill()
    assert take_pooled()


@pytest.mark.usefixtures("eager_switching")
def test_threads_never_get_the_same_id() -> None:
    ids = RandomIds()
    taken: list[list[tuple[str, str]]] = [[] for _ in range(8)]

    def take(mine: list[tuple[str, str]]) -> None:
        for _ in range(2000):
            mine.append(ids.take())  # noqa: PERF401 - one at a time, so that the threads mix

    threads = [threading.Thread(target=take, args=(mine,), daemon=True) for mine in taken]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert len({pair for mine in taken for pair in mine}) == 8 * 2000


def test_a_forked_child_and_its_parent_take_different_ids(in_forked_child: InForkedChild) -> None:
    random_ids.refill()
    take_pooled = random_ids.take_pooled

    def take_in_child() -> bytes:
        try:
            leftover = take_pooled()
        except IndexError:
            leftover = ("", "")
        return "\n".join(map("".join, [leftover, *(random_ids.take() for _ in range(600))])).encode()

    leftover, *childs = in_forked_child(take_in_child).decode().split("\n")
    assert leftover == ""
    assert len(set(childs)) == 600
    assert {"".join(random_ids.take()) for _ in range(600)}.isdisjoint(childs)


def test_any_pool_starts_empty_in_a_forked_child(in_forked_child: InForkedChild) -> None:
    ids = RandomIds()
    ids.refill()
    childs = in_forked_child(lambda: "\n".join("".join(ids.take()) for _ in range(100)).encode()).decode().split("\n")
    assert {"".join(ids.take()) for _ in range(100)}.isdisjoint(childs)


@pytest.mark.parametrize(
    "value",
    [
        b"a",
        b"0",
        b"-",
        b"f47ac10b-58cc-4372-a567-0e02b2c3d479",
        b"A.b_C-9",
        b"x" * (MAX_ID_LENGTH - 1),
        b"x" * MAX_ID_LENGTH,
    ],
)
def test_plain_ids_of_clients_are_taken(value: bytes) -> None:
    assert match_client_id(value)


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"x" * (MAX_ID_LENGTH + 1),
        b"x" * 100_000,
        b"a\n",
        b"a\r",
        b"a\r\n",
        b"\na",
        b"a\r\nSet-Cookie: x=1",
        b"a b",
        b" a",
        b"a\t",
        b'a"b',
        b"a\\b",
        b"a/b",
        b"a%0a",
        b"a,b",
        b"a:b",
        b"a;b",
        b"<a>",
        b"${a}",
        "é".encode(),
        b"\xff",
    ],
)
def test_ids_that_would_need_escaping_somewhere_are_not_taken(value: bytes) -> None:
    assert match_client_id(value) is None


def test_of_all_bytes_only_letters_digits_and_three_signs_are_taken() -> None:
    taken = bytes(byte for byte in range(256) if match_client_id(b"a" + bytes([byte]) + b"z"))
    assert taken == b"-.0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ_abcdefghijklmnopqrstuvwxyz"
