"""Silences and the newest of the journal in memory: own ones at once, others' from a shared document, within bounds."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import Any

import pytest

from ordinaut_ext_observability.alerts.notifications.desk import AlertDesk
from ordinaut_ext_observability.alerts.notifications.records import JOURNAL, make_record
from ordinaut_ext_observability.alerts.notifications.silences import Silence
from ordinaut_ext_observability.alerts.notifications.store import NotificationStore, Seen
from ordinaut_ext_observability.cluster.base import ClusterUnavailableError
from ordinaut_ext_observability.cluster.sqlite import MEMORY, SqliteCluster
from ordinaut_ext_observability.promql.matchers import LabelMatcher
from tests.clock import ManualClock


class Installation:
    """Processes that share a document; each has a store of its own, so that nothing is known by reading it."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.content = b""
        self.written = 0

    @property
    def now(self) -> int:
        return round(self.clock.wall() * 1000)

    def process(self) -> NotificationStore:
        return NotificationStore(lambda: SqliteCluster(MEMORY, self.clock), self.clock)

    def silence(self, name: str, comment: str = "") -> Silence:
        matchers = (LabelMatcher("node", "=~", "a.*"),)
        return Silence(name, matchers, self.now, self.now + 3_600_000, self.now, "me", comment, "acknowledgement")

    def journal(self, name: str, outcome: str, alerts: int = 1) -> list[Any]:
        named = [{"fingerprint": str(number), "alertname": "Down"} for number in range(alerts)]
        entry = {"id": name, "at_ms": self.now, "outcome": outcome, "alert_count": alerts, "alerts": named}
        return [make_record(JOURNAL, name, entry)]

    def exchange(self, *processes: NotificationStore) -> None:
        for process in processes:
            process.exchange(self.content, self._write)

    def _write(self, content: bytes) -> bool:
        self.content = content
        self.written += 1
        return True


@pytest.fixture
def installation() -> Installation:
    return Installation()


def names(process: NotificationStore) -> list[str]:
    silences, journal, _ = process.seen()
    return [*(each.id for each in silences), *(f"{each['id']} {each['outcome']}" for each in journal)]


def test_own_changes_are_seen_at_once_and_those_of_others_after_an_exchange(installation: Installation) -> None:
    one, other = installation.process(), installation.process()
    assert one.seen() == Seen([], [], None)
    ack = installation.silence("ack")
    one.put_silences([ack])
    one.write(installation.journal("page", "queued"))
    assert names(one) == ["ack", "page queued"] and names(other) == []
    installation.exchange(one, other)
    installation.clock.advance(2)
    assert names(other) == ["ack", "page queued"] and other.seen().silences == [ack]
    assert other.seen().age_seconds == 2

    other.put_silences([ack.expired(installation.now)])
    one.write(installation.journal("page", "sent"))
    assert names(other) == ["page queued"] and names(one) == ["ack", "page sent"]
    installation.exchange(one, other, one)
    assert names(one) == names(other) == ["page sent"]
    installation.exchange(one, other, installation.process())
    assert installation.written == 3  # what has not changed is not written again


def test_what_a_process_that_ended_left_in_the_store_is_seen_once_it_was_read(installation: Installation) -> None:
    lost, leader, other = installation.process(), installation.process(), installation.process()
    lost.put_silences([installation.silence("ack")])
    lost.write(installation.journal("page", "sent"))
    lost._call(lambda store: leader.__dict__.update(_store=store))
    leader.journal()
    leader.silences()
    installation.exchange(leader, other)
    assert names(other) == ["ack", "page sent"]
    installation.exchange(replacement := installation.process())
    assert names(replacement) == ["ack", "page sent"]


def test_change_that_the_document_does_not_take_is_sent_the_next_time(installation: Installation) -> None:
    one, other = installation.process(), installation.process()
    one.put_silences([installation.silence("a")])
    installation.exchange(other)
    one.exchange(b"", lambda _: False)
    assert names(one) == ["a"]

    def fail(_: bytes) -> bool:
        raise ClusterUnavailableError("it is gone")

    with pytest.raises(ClusterUnavailableError):
        one.exchange(b"", fail)
    other.put_silences([installation.silence("b")])
    installation.exchange(other, one, other)
    assert sorted(names(one)) == sorted(names(other)) == ["a", "b"]
    one.exchange(b"{damaged", lambda _: False)
    assert names(one) == []
    installation.exchange(one)
    assert sorted(names(one)) == ["a", "b"]


def test_silence_is_not_seen_after_its_end_and_none_that_the_store_refused_is(installation: Installation) -> None:
    one = installation.process()
    one.put_silences([installation.silence("a")])
    one._call = lambda _: (_ for _ in ()).throw(ClusterUnavailableError("it is gone"))  # type: ignore[method-assign]
    with pytest.raises(ClusterUnavailableError):
        one.put_silences([installation.silence("b")])
    with pytest.raises(ClusterUnavailableError):
        one.write(installation.journal("page", "sent"))
    assert names(one) == ["a", "page sent"]  # it was sent, whether or not that can be written
    installation.clock.advance(3_601)
    assert names(one) == ["page sent"]


def test_document_stays_small_and_names_the_newest(installation: Installation) -> None:
    one = installation.process()
    long = installation.silence("long", "x" * 70_000)
    one.put_silences([long, *(replace(long, id=f"s{number}", comment="x" * 300) for number in range(20))])
    for number in range(100):
        installation.clock.advance(1)
        one.write(installation.journal(str(number), "sent", alerts=500))
    installation.exchange(one)
    assert len(installation.content) < 70_000
    silences, journal, _ = one.seen()
    assert {each.id for each in silences} == {f"s{number}" for number in range(20)}
    assert [each["id"] for each in journal] == [str(number) for number in range(99, 49, -1)]
    assert (journal[0]["alert_count"], len(journal[0]["alerts"])) == (500, 10)


def test_forked_child_and_a_desk_whose_alerts_another_tells_of_know_nothing(installation: Installation) -> None:
    one = installation.process()
    one.put_silences([installation.silence("a")])
    child = os.fork()
    if child == 0:
        os._exit(0 if one.seen() == Seen([], [], None) else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    configured: Any = type("Configured", (), {"told_by": "an Alertmanager"})
    assert AlertDesk(one, configured, list, lambda *_, **__: None, None).seen() == Seen([], [], None)


def test_without_a_store_memory_is_the_truth_until_it_is_closed(installation: Installation) -> None:
    alone = NotificationStore(None, installation.clock)
    alone.put_silences([installation.silence("a")])
    assert (names(alone), alone.seen().age_seconds) == (["a"], None)
    alone.close()
    assert names(alone) == list(alone.silences()) == []
