"""Refusals from many addresses: answers, lines and memory stay bounded, and the right token passes."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from pydantic import SecretStr
from starlette.requests import Request

from ordinaut_ext_observability.metrics.budget import LabelBudgets
from ordinaut_ext_observability.metrics.declarations import Metrics
from ordinaut_ext_observability.metrics.registry import Registry
from ordinaut_ext_observability.settings.parts import AccessSettings
from ordinaut_ext_observability.web.access import (
    ALL_REFUSALS_PER_MINUTE,
    LINES_PER_MINUTE,
    REFUSALS_PER_MINUTE,
    AccessControl,
)
from ordinaut_ext_observability.web.answers import Refusal
from tests.clock import ManualClock

TOKEN = "an-operators-token-0123456789"


class Door:
    """The operator tier, asked from any address."""

    def __init__(self) -> None:
        self.clock: Any = ManualClock()
        self.lines: list[tuple[str, int]] = []
        settings = AccessSettings(operator_token=SecretStr(TOKEN))
        metrics = Metrics(Registry(LabelBudgets(default=100, by_label={}, max_series=10_000)))
        self.access = AccessControl(settings, metrics, self.clock, self._log)

    def statuses(self, addresses: list[str]) -> Counter[int]:
        return Counter(map(self.ask, addresses))

    def ask(self, address: str | None, token: str = "wrong") -> int:
        """The status: 200 where the token is right."""
        client = None if address is None else (address, 50_000)
        headers = [(b"authorization", f"Bearer {token}".encode())]
        try:
            self.access.check_operator(Request({"type": "http", "headers": headers, "client": client}), changes=False)
        except Refusal as refusal:
            return refusal.response.status_code
        return 200

    def _log(self, *_: str, client_address: str, refusals_not_logged: int, **__: object) -> None:
        self.lines.append((client_address, refusals_not_logged))


@pytest.fixture
def door() -> Door:
    return Door()


MANY: dict[str, Callable[[int], str]] = {
    "one network of IPv6": lambda number: f"2001:db8:1:2::{number:x}",
    "many networks of IPv6": lambda number: f"2001:db8:{number:x}::1",
    "many addresses of IPv4": lambda number: f"10.1.{number // 250}.{number % 250}",
    "text that is no address": lambda number: f"{number}" * 2000,
}


@pytest.mark.parametrize(
    ("kind", "answered"),
    [
        ("one network of IPv6", REFUSALS_PER_MINUTE),
        ("many networks of IPv6", ALL_REFUSALS_PER_MINUTE),
        ("many addresses of IPv4", ALL_REFUSALS_PER_MINUTE),
        ("text that is no address", REFUSALS_PER_MINUTE),
    ],
)
def test_refusals_from_ten_thousand_addresses_are_limited(door: Door, kind: str, answered: int) -> None:
    addresses = [MANY[kind](number) for number in range(10_000)]
    assert door.statuses(addresses) == {401: answered, 429: 10_000 - answered}
    assert 0 < len(door.lines) <= LINES_PER_MINUTE
    remembered = door.access._answered
    assert len(remembered) <= ALL_REFUSALS_PER_MINUTE
    assert max(map(sys.getsizeof, remembered)) < 200
    assert door.ask(addresses[0], TOKEN) == door.ask("192.0.2.1", TOKEN) == 200


def test_many_addresses_do_not_free_one_that_has_used_up_its_share(door: Door) -> None:
    for _ in range(REFUSALS_PER_MINUTE):
        assert door.ask("192.0.2.1") == 401
    door.statuses([MANY["many networks of IPv6"](number) for number in range(5000)])
    assert door.ask("192.0.2.1") == 429


def test_one_address_does_not_use_up_the_share_of_others(door: Door) -> None:
    door.statuses(["192.0.2.1"] * 5000)
    assert door.ask("192.0.2.2") == 401


def test_every_minute_has_its_share(door: Door) -> None:
    addresses = [MANY["many networks of IPv6"](number) for number in range(1000)]
    for minute in range(1, 4):
        assert door.statuses(addresses)[401] == ALL_REFUSALS_PER_MINUTE
        assert len(door.lines) <= minute * LINES_PER_MINUTE
        door.clock.advance(60)


def test_lines_and_what_they_say_was_left_out_are_all_refusals(door: Door) -> None:
    door.statuses([MANY["many networks of IPv6"](number) for number in range(1000)])
    door.clock.advance(60)
    door.ask("192.0.2.1")
    assert len(door.lines) + sum(not_logged for _, not_logged in door.lines) == 1001
    assert door.lines[-1] == ("192.0.2.1", 1000 - LINES_PER_MINUTE)


@pytest.mark.parametrize(
    "same", [["::ffff:192.0.2.1", "192.0.2.1"], ["2001:db8::1", "2001:db8::ffff:0:0:1"], [None, ""]]
)
def test_addresses_that_are_one_client_share(door: Door, same: list[str | None]) -> None:
    for _ in range(REFUSALS_PER_MINUTE):
        door.ask(same[0])
    assert [door.ask(address) for address in same] == [429, 429]


@pytest.mark.parametrize("given", [TOKEN, f" {TOKEN}", f"{TOKEN} ", f"  {TOKEN}\t "])
def test_spaces_around_a_token_are_left_out(door: Door, given: str) -> None:
    assert door.ask("192.0.2.1", given) == 200
