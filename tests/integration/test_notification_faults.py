"""Nobody's page is lost and none is doubled: killed processes, receivers that hang or refuse, stores that are gone.

Real processes, files, servers and receivers. What takes longer is in `tests/long/test_notification_faults.py`.
"""

from __future__ import annotations

import os
import shutil
import signal
import sqlite3
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from ordinaut_ext_observability.demo.servers import RedisServer
from tests.http_receiver import HttpReceiver
from tests.integration.test_notifications import QUICK, RULES
from tests.integration.test_notifications import configured as configured

TOKEN = "an-operators-token-0123456789"
MOUNT = "/ext/observability"
FIRING, RESOLVED = ("Planted", "firing"), ("Planted", "resolved")
PREFIX = "ORDINAUT_OBS_"


class Replicas:
    """Processes of one installation."""

    def __init__(self, start_child: Any, free_port: Callable[[], int], settings: dict[str, str]) -> None:
        self._start_child, self._free_port = start_child, free_port
        self._environ = {f"{PREFIX}{name}": value for name, value in settings.items()}
        self._environ[f"{PREFIX}OPERATOR_TOKEN"] = TOKEN

    def start(self) -> Any:
        port = self._free_port()
        child = self._start_child(
            "-m", "ordinaut_ext_observability", "serve", "--port", str(port), environ=self._environ
        )
        child.port = port
        child.wait_for_port(port)
        self.ask(child, "/health/live")  # loads the extension
        return child

    def ask(self, child: Any, path: str) -> Any:
        headers = {"Authorization": f"Bearer {TOKEN}"}
        answer = httpx.get(f"http://127.0.0.1:{child.port}{MOUNT}{path}", headers=headers, trust_env=False, timeout=10)
        return answer.json() if answer.status_code == 200 else None


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return tmp_path / "private" / "store.sqlite"


@pytest.fixture
def replicas(
    start_child: Any,
    free_port: Any,
    store: Path,
    configured: Callable[[int], dict[str, str]],
) -> Replicas:
    return Replicas(start_child, free_port, {**configured(1), "STORE": f"file:{store}"})


def end_lease(store: Path) -> None:
    """Have the lease of a dead process be over: else it takes 15 s."""
    with sqlite3.connect(store) as connection:
        connection.execute("DELETE FROM leases")
    connection.close()


def test_page_of_a_killed_process_arrives_under_its_key_and_then_its_resolve(
    replicas: Replicas,
    receiver: HttpReceiver,
    store: Path,
    configured: Any,
    eventually: Any,
) -> None:
    receiver.answers.clear()
    first = replicas.start()
    assert eventually(lambda: len(receiver.given) == 1, 15)
    first.end(signal.SIGKILL)
    end_lease(store)
    receiver.answers.set()
    second = replicas.start()
    assert eventually(lambda: receiver.told() == [FIRING], 15)
    assert receiver.given[0]["Idempotency-Key"] == receiver.given[1]["Idempotency-Key"]
    configured(0)
    assert eventually(lambda: receiver.told() == [FIRING, RESOLVED], 15)
    sent = replicas.ask(second, "/notifications?outcome=sent&alert=Planted")["notifications"]
    assert [entry["status"] for entry in sent] == ["resolved", "firing"]


TWO = """
alertmanager:
  route:
    receiver: slow
    group_by: [alertname]
    group_wait: 0s
    group_interval: 1s
    routes: [{matchers: [severity=critical], receiver: slow, continue: true}, {receiver: quick}]
  receivers:
  - {name: slow, webhook_configs: [{url: "%s"}]}
  - {name: quick, webhook_configs: [{url: "%s"}]}
rules: {HealthCheckNotHealthy: {enabled: false}, Watchdog: {enabled: false}}
rule_files: [%s]
"""


def test_receiver_that_hangs_keeps_no_other_from_being_told_and_the_alert_says_so(
    serve: Any,
    receiver: HttpReceiver,
    tmp_path: Path,
    eventually: Any,
) -> None:
    slow = HttpReceiver()
    slow.answers.clear()
    rules, config = tmp_path / "rules.yaml", tmp_path / "observability.yaml"
    rules.write_text(RULES % 1)
    config.write_text(TWO % (slow.url, receiver.url, rules))
    served = serve(FastAPI(), CONFIG=str(config), OPERATOR_TOKEN=TOKEN, **QUICK)
    assert eventually(lambda: receiver.told() == [FIRING] and len(slow.given) == 1, 10)
    rules.write_text(RULES % 0)
    assert eventually(lambda: receiver.told() == [FIRING, RESOLVED], 10)
    headers = {"Authorization": f"Bearer {TOKEN}"}
    (fingerprint,) = {each["alerts"][0]["fingerprint"] for each in receiver.taken}
    why = served.get(f"{MOUNT}/alerts/{fingerprint}/why", headers=headers).json()
    assert [entry["status"] for entry in why["journal"] if entry["outcome"] == "sent"] == ["resolved", "firing"]
    slow.answers.set()
    slow.server.shutdown()
    slow.server.server_close()


def test_receiver_names_the_time_to_wait_and_a_refusal_is_not_repeated(
    serve: Any,
    receiver: HttpReceiver,
    configured: Any,
    eventually: Any,
) -> None:
    receiver.status, receiver.headers = 429, {"Retry-After": "2"}
    served = serve(FastAPI(), OPERATOR_TOKEN=TOKEN, **configured(1))
    assert eventually(lambda: len(receiver.given) == 1, 10)
    receiver.status, receiver.headers = 400, {}
    headers = {"Authorization": f"Bearer {TOKEN}"}

    def failed() -> list[Any]:
        answer = served.get(f"{MOUNT}/notifications?outcome=failed&receiver=hook", headers=headers)
        return answer.json()["notifications"]

    assert eventually(failed, 10)
    assert failed()[0]["error"] == "the receiver answered 400"
    assert served.value("ordinaut_observability_notifications_failed_total", kind="temporary") == 1


def test_pages_are_sent_from_memory_while_redis_and_postgresql_are_gone_and_journalled_later(
    serve: Any,
    receiver: HttpReceiver,
    configured: Any,
    eventually: Any,
    free_port: Any,
) -> None:
    server = RedisServer()
    server.start()
    try:
        database = f"postgresql://nobody@127.0.0.1:{free_port()}/none"
        settings = {"OPERATOR_TOKEN": TOKEN, "REDIS_URL": server.url, "DATABASE_URL": database, "INSTALLATION": "t"}
        served = serve(FastAPI(), **settings, **configured(0))
        notifications = served.runtime.alerts.notifications
        assert eventually(lambda: notifications.notifier is not None, 10)
        server.stop(keep=True)
        configured(1)
        assert eventually(lambda: receiver.told().count(FIRING) == 1, 15)
        configured(0)
        assert eventually(lambda: receiver.told().count(RESOLVED) == 1, 15)
        assert "the store does not answer" in notifications.outcome().message
        server.start()
        headers = {"Authorization": f"Bearer {TOKEN}"}

        def sent() -> list[str]:
            answer = served.get(f"{MOUNT}/notifications?outcome=sent&alert=Planted", headers=headers)
            return [entry["status"] for entry in answer.json().get("notifications", ())]

        assert eventually(lambda: sent() == ["resolved", "firing"], 15)
        assert [told for told in receiver.told() if told[0] == "Planted"] == [FIRING, RESOLVED]
    finally:
        server.stop()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk with room for the store and not much more."""
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=400k,mode=700", "tmpfs", str(folder)]
    if shutil.which("mount") is None or subprocess.run(command, check=False, capture_output=True).returncode != 0:
        reason = "a small disk needs root"
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def test_pages_are_sent_from_memory_while_the_disk_is_full_and_journalled_later(
    serve: Any,
    small_disk: Path,
    receiver: HttpReceiver,
    configured: Any,
    eventually: Any,
) -> None:
    settings = {"OPERATOR_TOKEN": TOKEN, "STORE": f"file:{small_disk / 'store.sqlite'}", "INSTALLATION": "t"}
    served = serve(FastAPI(), **settings, **configured(0))
    notifications = served.runtime.alerts.notifications
    assert eventually(lambda: notifications.notifier is not None, 10)
    filling = small_disk / "filling"
    with filling.open("wb", buffering=0) as file, pytest.raises(OSError, match="No space"):
        while True:
            file.write(b"x" * 1024)
    configured(1)
    assert eventually(lambda: receiver.told() == [FIRING], 15)
    configured(0)
    assert eventually(lambda: receiver.told() == [FIRING, RESOLVED], 15)
    assert "the store does not answer" in notifications.outcome().message
    assert eventually(lambda: notifications.notifier.ledger.unsaved > 0)
    filling.unlink()
    headers = {"Authorization": f"Bearer {TOKEN}"}

    def sent() -> list[str]:
        answer = served.get(f"{MOUNT}/notifications?outcome=sent", headers=headers)
        return [entry["status"] for entry in answer.json().get("notifications", ())]

    assert eventually(lambda: sent() == ["resolved", "firing"], 15)
