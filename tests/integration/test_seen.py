"""Silences and notifications that every process shows, and a page may show often: no query of the store more."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fastapi import FastAPI

from ordinaut_ext_observability.demo.servers import RedisServer
from tests.http_receiver import HttpReceiver
from tests.integration.test_notifications import configured as configured

TOKEN = "an-operators-token-0123456789"
OPERATOR = {"Authorization": f"Bearer {TOKEN}"}
MOUNT = "/ext/observability"


def test_what_one_process_does_is_seen_in_all_without_asking_the_store(
    serve: Any, receiver: HttpReceiver, configured: Callable[[int], dict[str, str]], eventually: Any
) -> None:
    server = RedisServer()
    server.start()
    try:
        settings = {
            "OPERATOR_TOKEN": TOKEN,
            "STORE": "redis",
            "REDIS_URL": server.url,
            "RELAY_INTERVAL_SECONDS": "0.2",
            **configured(1),
        }
        first, second = serve(FastAPI(), **settings), serve(FastAPI(), **settings)
        desks = [each.runtime.alerts.desk for each in (first, second)]
        assert eventually(lambda: [told["outcome"] for told in desks[0].seen().journal] == ["sent"], 20)
        assert eventually(lambda: desks[1].seen().journal == desks[0].seen().journal, 20)
        leads = [each.runtime.alerts.notifications.notifier is not None for each in (first, second)]
        assert sorted(leads) == [False, True]
        follower, leader = (first, second) if leads[1] else (second, first)

        (alert,) = receiver.taken[0]["alerts"]
        ids: list[str] = []

        def acknowledged() -> bool:
            path = f"{MOUNT}/alerts/{alert['fingerprint']}/ack"
            ids.append(follower.post(path, headers=OPERATOR, json={"by": "anna"}).json().get("id", ""))
            return ids[-1] != ""

        assert eventually(acknowledged, 20)  # it learns of the alert from the one that leads
        (ack,) = follower.runtime.alerts.desk.seen().silences  # at once, where it was made
        assert (ack.id, ack.kind, ack.created_by) == (ids[-1], "acknowledgement", "anna")
        assert eventually(lambda: leader.runtime.alerts.desk.seen().silences == [ack], 20)
        ended = leader.client.delete(f"{MOUNT}/api/v2/silence/{ack.id}", headers=OPERATOR)
        assert ended.status_code == 200, ended.text
        assert leader.runtime.alerts.desk.seen().silences == []
        assert eventually(lambda: follower.runtime.alerts.desk.seen().silences == [], 20)
        assert follower.runtime.alerts.desk.seen().age_seconds < 20
        journal = follower.runtime.alerts.desk.seen().journal
        server.stop()
        assert follower.runtime.alerts.desk.seen().journal == journal != []  # a query would fail
        assert first.internal_errors() == second.internal_errors() == {}
    finally:
        server.stop()
