"""Hysteresis and the monitor follow a model of their own; uptime is what sampling finds; masks leave no secret."""

from __future__ import annotations

import asyncio
import json
import string
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote

import orjson
import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from ordinaut_ext_observability.health.check import MAX_TRANSITIONS
from ordinaut_ext_observability.health.model import HealthStatus, Hysteresis, Transition, uptime_ratio
from ordinaut_ext_observability.health.monitor import STALE_AFTER_PERIODS, HealthMonitor
from ordinaut_ext_observability.scrub.text import mask_details, mask_text
from ordinaut_ext_observability.scrub.plain_values import MAX_SHORT_LENGTH
from tests.clock import ManualClock

START = datetime(2026, 11, 24, tzinfo=UTC)
BAD = {HealthStatus.HEALTHY: 0, HealthStatus.DEGRADED: 1, HealthStatus.UNHEALTHY: 2}
BY_BADNESS = {number: status for status, number in BAD.items()}

statuses = st.sampled_from(list(HealthStatus))
runs = st.integers(1, 5)


def modelled(results: list[HealthStatus], failures: int, passes: int) -> list[HealthStatus]:
    """The status after each result, by counting how many in a row have been at least this bad, or at least this good."""
    status = BAD[results[0]]
    after = [status]
    at_least_as_bad = {1: 0, 2: 0}
    at_least_as_good = {0: 0, 1: 0}
    for number, result in enumerate(results):
        for level in at_least_as_bad:
            at_least_as_bad[level] = at_least_as_bad[level] + 1 if BAD[result] >= level else 0
        for level in at_least_as_good:
            at_least_as_good[level] = at_least_as_good[level] + 1 if BAD[result] <= level else 0
        if number == 0:
            continue
        worse = [level for level, count in at_least_as_bad.items() if count >= failures and level > status]
        better = [level for level, count in at_least_as_good.items() if count >= passes and level < status]
        assert not (worse and better)
        status = max([status, *worse]) if not better else min(better)
        after.append(status)
    return [BY_BADNESS[number] for number in after]


@given(st.lists(statuses, min_size=1, max_size=40), runs, runs)
def test_status_follows_the_model_of_hysteresis(results: list[HealthStatus], failures: int, passes: int) -> None:
    hysteresis = Hysteresis(failures, passes)
    assert [hysteresis.observe(result) for result in results] == modelled(results, failures, passes)


@given(st.lists(statuses, min_size=1, max_size=40), runs, runs)
def test_status_is_always_one_that_was_seen(results: list[HealthStatus], failures: int, passes: int) -> None:
    hysteresis = Hysteresis(failures, passes)
    for number, result in enumerate(results):
        assert hysteresis.observe(result) in results[: number + 1]


check_options = st.fixed_dictionaries(
    {"failures_to_worsen": runs, "passes_to_recover": runs, "required": st.booleans()}
)
pauses = st.floats(0.0, 100.0)


@given(
    st.lists(check_options, min_size=1, max_size=3),
    st.lists(st.tuples(st.lists(statuses, min_size=3, max_size=3), pauses), min_size=1, max_size=12),
)
@settings(max_examples=60)
def test_monitor_follows_the_model(
    options: list[dict[str, Any]], rounds: list[tuple[list[HealthStatus], float]]
) -> None:
    """After each round, and after each pause, the report is what the model makes of all results so far."""
    clock = ManualClock()
    told: list[tuple[str, Transition]] = []
    monitor = HealthMonitor(
        period_seconds=10.0,
        deadline_seconds=10.0,
        clock=clock,
        on_result=lambda result, transition: told.append((result.name, transition)) if transition else None,
    )
    current: list[HealthStatus] = []
    results: list[list[HealthStatus]] = [[] for _ in options]
    for number, option in enumerate(options):

        async def check(number: int = number) -> HealthStatus:
            return current[number]

        monitor.register_check(str(number), check, **option)

    def verify(pause: float) -> None:
        stale = pause > STALE_AFTER_PERIODS * 10.0 + 10.0
        whole = HealthStatus.HEALTHY
        for number, (option, report) in enumerate(zip(options, monitor.report().checks, strict=True)):
            history = modelled(results[number], option["failures_to_worsen"], option["passes_to_recover"])
            expected = HealthStatus.UNHEALTHY if stale else history[-1]
            assert (report.status, report.stale, report.required) == (expected, stale, option["required"])
            assert report.last is not None
            assert report.last.status is results[number][-1]
            counts = expected if option["required"] else min(expected, HealthStatus.DEGRADED, key=BAD.__getitem__)
            whole = max(whole, counts, key=BAD.__getitem__)
            changes = [
                history[0],
                *(now for before, now in zip(history, history[1:], strict=False) if before is not now),
            ]
            assert [transition.after for transition in monitor.history(str(number))] == changes
            assert [transition for name, transition in told if name == str(number)] == monitor.history(str(number))
            ratio = monitor.uptime_ratio(str(number), timedelta(seconds=500))
            assert ratio is not None
            assert 0.0 <= ratio <= 1.0
        assert monitor.report().status is (HealthStatus.UNHEALTHY if stale else whole)

    async def main() -> None:
        for statuses_now, pause in rounds:
            current[:] = statuses_now
            await monitor.run_all_checks()
            for number in range(len(options)):
                results[number].append(statuses_now[number])
            verify(0.0)
            clock.now += pause
            verify(pause)

    asyncio.run(main())


# -- Uptime ------------------------------------------------------------------------------------------------------------


@given(
    st.lists(st.tuples(st.integers(0, 20), statuses), max_size=30),
    st.integers(0, 60),
    st.integers(1, 400),
)
def test_uptime_is_what_sampling_every_second_finds(
    steps: list[tuple[int, HealthStatus]], until_now: int, window: int
) -> None:
    history: list[Transition] = []
    at, known = 0, []
    for seconds, status in steps:
        at += seconds
        history.append(Transition(START + timedelta(seconds=at), None, status, ""))
        known.append((at, status))
    now = at + until_now
    ratio = uptime_ratio(history, START + timedelta(seconds=now), timedelta(seconds=window))
    if not known:
        assert ratio is None
        return
    samples = [
        [status for since, status in known if since <= second][-1] is not HealthStatus.UNHEALTHY
        for second in range(max(known[0][0], now - window), now)
    ]
    expected = sum(samples) / len(samples) if samples else float(known[-1][1] is not HealthStatus.UNHEALTHY)
    assert ratio == pytest.approx(expected)


@given(
    st.lists(st.tuples(st.floats(-1e6, 1e6), statuses), max_size=MAX_TRANSITIONS + 20),
    st.floats(-2e6, 2e6),
    st.floats(-1e6, 1e6),
)
def test_uptime_is_a_ratio_whatever_the_clock_does(
    steps: list[tuple[float, HealthStatus]], now: float, window: float
) -> None:
    history: list[Transition] = []
    for seconds, status in steps:
        history.append(Transition(START + timedelta(seconds=seconds), None, status, ""))
    ratio = uptime_ratio(history, START + timedelta(seconds=now), timedelta(seconds=window))
    assert (ratio is None) == (not steps)
    assert ratio is None or 0.0 <= ratio <= 1.0


# -- Masking -----------------------------------------------------------------------------------------------------------

CANARY = "cAnArY77"
"""In the middle of each generated secret, so that a part of it that is left is found."""


def secrets(alphabet: str) -> st.SearchStrategy[str]:
    """Secrets of these characters."""
    part = st.text(alphabet, max_size=20)
    return st.tuples(part, part).map(lambda parts: f"{parts[0]}{CANARY}{parts[1]}")


words = st.text(string.ascii_letters + string.digits + " .,;:/-_()[]{}<>\n", max_size=60)
plain = string.ascii_letters + string.digits + "._~+/=-"
printable = string.digits + string.ascii_letters + string.punctuation + " é漢🙂"
pair_names = st.sampled_from(
    ["password", "PASSWORD", "db_password", "PGPASSWORD", "passwd", "pwd", "secret", "client_secret", "token",
     "access_token", "api_key", "api-key", "apikey", "access_key", "private_key", "signature", "credentials"]
)  # fmt: skip


def assert_masked(before: str, text: str, after: str) -> None:
    masked = mask_text(f"{before} {text} {after}")
    assert CANARY not in masked
    assert len(masked) <= MAX_SHORT_LENGTH + 1


@given(words, secrets(printable), st.sampled_from(["postgresql", "redis", "https", "amqp"]), words)
def test_a_password_encoded_in_a_url_is_masked(before: str, secret: str, scheme: str, after: str) -> None:
    assert_masked(before, f"{scheme}://user:{quote(secret, safe='')}@host:5432/name?x=1", after)


@given(words, secrets(printable), words)
def test_a_secret_in_a_query_is_masked(before: str, secret: str, after: str) -> None:
    assert_masked(before, f"https://host/path?a=b&key={quote(secret)}&c=d", after)


@given(words, pair_names, st.sampled_from(["=", ": ", " = ", ":"]), secrets(plain), words)
def test_a_secret_under_its_name_is_masked(before: str, name: str, sign: str, secret: str, after: str) -> None:
    assert_masked(before, f"{name}{sign}{secret}", after)


@given(words, st.sampled_from(["Bearer", "Basic", "bearer"]), secrets(plain), words)
def test_a_secret_in_a_header_is_masked(before: str, scheme: str, secret: str, after: str) -> None:
    assert_masked(before, f"Authorization: {scheme} {secret}", after)


@given(words, pair_names, secrets(printable), st.booleans(), words)
def test_a_secret_in_json_is_masked(before: str, name: str, secret: str, compact: bool, after: str) -> None:
    separators = (",", ":") if compact else None
    assert_masked(before, json.dumps({"a": 1, name: secret, "b": 2}, separators=separators, ensure_ascii=False), after)


@given(words, pair_names, secrets(printable), words)
def test_a_secret_in_the_text_of_a_dict_is_masked(before: str, name: str, secret: str, after: str) -> None:
    assert_masked(before, repr({"a": 1, name: secret, "b": 2}), after)


@given(words, st.text(printable, max_size=20), words)
def test_a_secret_in_json_with_escapes_is_masked(before: str, secret: str, after: str) -> None:
    assert_masked(before, json.dumps({"password": f'"{secret}{CANARY}'}), after)


pieces = st.lists(
    st.sampled_from(
        ["://", "a", "@", "?", "password", "token", "=", ":", '"', "'", " ", "bearer ", "basic", "&", "\\", "\n", "/", "…",
         "\ud800", "é", "api_", "key"]
    ),
    min_size=1,
    max_size=12,
).map("".join)  # fmt: skip


@given(pieces, st.integers(1, 100_000))
@example('password="', 100_000)
@example("://", 100_000)
def test_hostile_texts_are_masked_at_all(piece: str, length: int) -> None:
    masked = mask_text((piece * (length // len(piece) + 1))[:length])
    assert len(masked) <= MAX_SHORT_LENGTH + 1
    assert masked.encode()


@given(st.one_of(st.text(st.characters(), max_size=500), pieces))
def test_what_is_masked_once_is_masked_for_good(text: str) -> None:
    """Masking a text that was masked finds no more secrets in it."""
    once = mask_text(text)
    assume(len(once) <= MAX_SHORT_LENGTH)
    again = mask_text(once)
    assert mask_text(again) == again


scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(st.characters(), max_size=400),
    st.binary(max_size=20),
    st.datetimes(),
    st.timedeltas(),
    st.decimals(),
    st.complex_numbers(),
    st.sampled_from(HealthStatus),
    st.builds(object),
)
keys = st.one_of(st.text(st.characters(), max_size=20), st.integers(), st.none(), st.binary(max_size=5), st.floats())
values = st.recursive(
    scalars,
    lambda inner: st.one_of(
        st.lists(inner, max_size=6),
        st.tuples(inner, inner),
        st.dictionaries(keys, inner, max_size=6),
        st.sets(st.one_of(st.integers(), st.text(max_size=5)), max_size=4),
        st.frozensets(st.integers(), max_size=4),
    ),
    max_leaves=25,
)


@given(values)
@example({"a": [float("nan"), float("inf"), 2**64, -(2**64), "\ud800"], None: {1: {2: {3: {4: {5: "deep"}}}}}})
def test_details_can_always_be_encoded(value: Any) -> None:
    masked = mask_details(value)
    assert orjson.loads(orjson.dumps(masked)) == json.loads(json.dumps(masked, allow_nan=False))


@given(values, st.sampled_from(["password", "Token", "api-key", "Authorization", "cookies", "dsn", "secret_key"]))
def test_no_secret_is_left_in_details(value: Any, name: str) -> None:
    details = {"a": {"list": [{name: value}, {name: [CANARY, {CANARY: CANARY}]}]}, "url": f"redis://u:{CANARY}@h"}
    assert CANARY not in orjson.dumps(mask_details(details)).decode()
