"""Faults that last: a leader that is killed among three replicas, receivers that fail or hang for long.

Takes about three minutes: `python -m pytest -s tests/long/test_notification_faults.py`. Figures are printed.
"""

from __future__ import annotations

import signal
import time
from typing import Any

from fastapi import FastAPI

from tests.http_receiver import HttpReceiver
from tests.integration.test_notification_faults import FIRING, RESOLVED, TOKEN, Replicas
from tests.integration.test_notification_faults import replicas as replicas
from tests.integration.test_notification_faults import store as store
from tests.integration.test_notifications import configured as configured

LEASE_SECONDS = 15.0


def test_three_replicas_page_once_and_another_takes_over_within_the_lease(
    replicas: Replicas, receiver: HttpReceiver, configured: Any, eventually: Any
) -> None:
    configured(0)
    children = [replicas.start() for _ in range(3)]

    def leaders() -> list[Any]:
        return [child for child in children if replicas.ask(child, "/alerts")["evaluated_here"]]

    assert eventually(lambda: len(leaders()) == 1, 20)
    configured(1)
    assert eventually(lambda: receiver.told() == [FIRING], 20)
    (leader,) = leaders()
    children.remove(leader)
    leader.end(signal.SIGKILL)
    killed_at = time.monotonic()
    assert eventually(leaders, 2 * LEASE_SECONDS)
    took = time.monotonic() - killed_at
    print(f"another leads after {took:.1f} s")
    assert took < LEASE_SECONDS + 3
    time.sleep(10)
    assert receiver.told() == [FIRING]
    configured(0)
    assert eventually(lambda: receiver.told() == [FIRING, RESOLVED], 20)
    time.sleep(5)
    assert receiver.told() == [FIRING, RESOLVED]
    # Both that are left tell the same of it.
    (fingerprint,) = {each["alerts"][0]["fingerprint"] for each in receiver.taken}
    for child in children:
        outcomes = [entry["outcome"] for entry in replicas.ask(child, f"/alerts/{fingerprint}/why")["journal"]]
        assert outcomes == ["sent", "sent"]


def test_leader_that_is_killed_again_and_again_while_alerts_come_and_go_loses_and_doubles_nothing(
    replicas: Replicas, receiver: HttpReceiver, configured: Any, eventually: Any
) -> None:
    """Each incident is paged and resolved; the same notification may come twice, under the same key."""

    def distinct() -> list[Any]:
        keys = [headers["Idempotency-Key"] for headers in receiver.given]
        return list(dict(zip(keys, receiver.told(), strict=False)).values())

    configured(0)
    children = [replicas.start() for _ in range(2)]
    for incident in range(3):
        configured(1)
        assert eventually(lambda: distinct() == [FIRING, RESOLVED] * incident + [FIRING], 60), receiver.told()
        leader = next(child for child in children if replicas.ask(child, "/alerts")["evaluated_here"])
        leader.end(signal.SIGKILL)
        children.remove(leader)
        configured(0)
        children.append(replicas.start())
        assert eventually(lambda: distinct() == [FIRING, RESOLVED] * (incident + 1), 60), receiver.told()
    print(f"{len(receiver.given)} posted, {len(distinct())} of them distinct")


def test_receiver_that_fails_for_long_is_told_the_truth_when_it_is_back(
    serve: Any, receiver: HttpReceiver, configured: Any, eventually: Any
) -> None:
    receiver.status = 500
    served = serve(FastAPI(), OPERATOR_TOKEN=TOKEN, **configured(1))
    time.sleep(75)
    tries = len(receiver.given)
    print(f"{tries} tries in 75 s")
    assert 5 <= tries <= 8  # after 1, 2, 4, 8, 16, 32 s
    assert len({headers["Idempotency-Key"] for headers in receiver.given}) == 1
    receiver.status = 200
    assert eventually(lambda: receiver.told() == [FIRING], 70)
    configured(0)
    assert eventually(lambda: receiver.told() == [FIRING, RESOLVED], 20)
    assert served.internal_errors() == {}


def test_receiver_that_hangs_for_two_tries_gets_the_page_and_its_resolve(
    serve: Any, receiver: HttpReceiver, configured: Any, eventually: Any
) -> None:
    receiver.answers.clear()
    serve(FastAPI(), **configured(1))
    assert eventually(lambda: len(receiver.given) == 2, 30)
    receiver.answers.set()
    assert eventually(lambda: receiver.told() == [FIRING], 40)
    configured(0)
    assert eventually(lambda: receiver.told() == [FIRING, RESOLVED], 20)
