"""Alerts of an installation whose leader is killed, whose store is lost, whose clock is set back, or that starts anew.

No alert begins its `for` again, and none fires twice. Time is moved by hand.
"""

from __future__ import annotations

import asyncio
import os
import signal
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import redis

from ordinaut_ext_observability.alerts.manager import AlertManager, AlertRule, AlertSeverity
from ordinaut_ext_observability.alerts.states import AlertState
from ordinaut_ext_observability.cluster.base import ClusterUnavailableError
from ordinaut_ext_observability.demo.servers import RedisServer
from ordinaut_ext_observability.logs import event_types as events
from ordinaut_ext_observability.runtime.process import Runtime
from ordinaut_ext_observability.settings.load import load_settings
from tests.clock import ManualClock

RULES = """
groups:
  - name: g
    rules:
      - alert: Problem
        expr: ordinaut_observability_settings_problems > 0
        for: 60s
        labels: {severity: critical}
      - alert: Counted
        expr: increase(ordinaut_observability_series[5m]) > 0
"""
TICK = 15.0
PROCESSES: list[Any] = []
"""Those of the test that runs."""


class Process:
    """A process of the installation. Its evaluations are asked for, one by one."""

    def __init__(self, clock: ManualClock) -> None:
        self.clock = clock
        self.runtime = Runtime(load_settings(), clock)
        assert not self.runtime.settings.problems
        self.events: list[tuple[str, str]] = []
        self.alerts = self.runtime.alerts
        self.alerts.rounds._event = self._note
        self.value = 1.0
        self.dead: Any = None
        PROCESSES.append(self)

    def _note(self, event: Any, /, **fields: Any) -> None:
        if event in (events.ALERT_FIRING, events.ALERT_RESOLVED):
            self.events.append((event.name.removeprefix("alert_"), fields["alert"]))

    def tick(self, ticks: int = 1) -> None:
        """Take a sample and evaluate, then let 15 s go by; several times."""
        for _ in range(ticks):
            self.look()
            self.clock.advance(TICK)

    def look(self) -> None:
        """Take a sample and evaluate."""
        self.runtime.metrics.settings_problems.labels().set(self.value)
        times: list[int] = []
        self.runtime.history.after_tick = times.append
        asyncio.run(self.runtime.history.take_sample())
        asyncio.run(self.alerts.rounds.evaluate(times[0]))

    @property
    def leads(self) -> bool:
        return self.alerts.rounds.overview()["evaluated_here"]

    def alert(self, name: str = "Problem") -> AlertState:
        [found] = [alert for alert in self.alerts.rounds.report.alerts() if alert.label("alertname") == name]
        return found

    def of(self, name: str = "Problem") -> list[str]:
        return [what for what, alert in self.events if alert == name]

    def die(self) -> None:
        """Be gone, as by `kill -9`: nothing is given back."""
        self.dead, self.alerts.rounds.shared._store = self.alerts.rounds.shared._store, None


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture(autouse=True)
def installation(clean_process: pytest.MonkeyPatch, tmp_path: Any) -> Iterator[None]:
    rules = tmp_path / "rules.yml"
    rules.write_text(RULES)
    config = tmp_path / "observability.yaml"
    config.write_text(f"rule_files: [{rules}]\n")
    clean_process.setenv("ORDINAUT_OBS_CONFIG", str(config))
    clean_process.setenv("ORDINAUT_OBS_INSTALLATION", "test")
    yield
    for process in PROCESSES:
        for store in (process.dead, process.alerts.rounds.shared._store):
            if store is not None:
                store.close()
    PROCESSES.clear()


@pytest.fixture(params=["redis", "file"])
def end_lease(request: pytest.FixtureRequest, clean_process: pytest.MonkeyPatch, tmp_path: Any, clock: Any) -> Any:
    """A store; what is given lets the lease of a dead process end, for which Redis has a clock of its own."""
    if request.param == "file":
        clean_process.setenv("ORDINAUT_OBS_STORE", f"file:{tmp_path / 'private' / 'store.sqlite'}")
        return lambda: clock.advance(3 * TICK)
    url = request.getfixturevalue("redis_url")
    clean_process.delenv("ORDINAUT_OBS_STORE")
    clean_process.setenv("REDIS_URL", url)

    def delete() -> None:
        with redis.Redis.from_url(url) as client:
            assert client.delete("{ordinaut-observability:test}:lease:alerts") == 1
        clock.advance(3 * TICK)

    return delete


def test_one_process_leads_and_the_others_show_what_it_found(end_lease: object, clock: ManualClock) -> None:
    one, other = Process(clock), Process(clock)
    for _ in range(6):
        one.look()
        other.look()
        assert one.leads and not other.leads
        assert other.alert() == one.alert()
        clock.advance(TICK)
    assert one.alert().state == "firing" and one.of() == ["firing"] and other.events == []
    # The others record the series of alerts, too, and count the alerts.
    assert other.alerts.series() == one.alerts.series()
    assert other.runtime.metrics.alerts.labels("critical", "firing").value == 1


def test_the_leader_is_killed_while_it_evaluates(end_lease: Callable[[], None], clock: ManualClock) -> None:
    survivor = Process(clock)
    child = os.fork()
    if child == 0:
        leader = Process(clock)
        leader.tick(4)
        # What it would have found at the next tick, by which the alert fires, nobody hears of.
        manager = AlertManager()
        manager.add_rule(AlertRule("end", lambda _: os.kill(os.getpid(), signal.SIGKILL), AlertSeverity.INFO, ""))
        leader.tick()
        os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
    began = clock.wall()
    clock.advance(4 * TICK)
    survivor.look()
    assert not survivor.leads and survivor.alert().state == "pending"
    end_lease()
    survivor.tick()
    assert survivor.leads and survivor.alert().state == "firing" and survivor.of() == ["firing"]
    assert survivor.alert().active_at_ms == in_ms(began)
    survivor.tick(8)
    assert survivor.of() == ["firing"]


def test_what_fires_goes_on_as_the_same_alert_with_another_leader(
    end_lease: Callable[[], None], clock: ManualClock
) -> None:
    leader = Process(clock)
    leader.tick(6)
    before = leader.alert()
    leader.die()
    end_lease()
    successor = Process(clock)
    successor.tick(8)
    assert successor.leads and successor.of() == [] and successor.alert() == before
    successor.value = 0.0
    successor.tick()
    assert successor.of() == ["resolved"]
    assert successor.alert().fired_at_ms == before.fired_at_ms


def test_what_fires_does_not_end_because_a_new_process_has_no_history(
    end_lease: Callable[[], None], clock: ManualClock
) -> None:
    leader = Process(clock)
    leader.runtime.metrics.scrape_series.labels().set(0)
    leader.tick()
    leader.runtime.metrics.scrape_series.labels().set(10)
    leader.tick(4)
    assert leader.of("Counted") == ["firing"]
    leader.die()
    end_lease()
    successor = Process(clock)
    successor.tick(10)
    assert successor.leads and successor.of("Counted") == [] and successor.alert("Counted").state == "firing"
    successor.tick(15)  # by now, five minutes of samples say that nothing was counted
    assert successor.of("Counted") == ["resolved"]


def test_a_leader_that_stops_lets_another_lead_at_once(end_lease: object, clock: ManualClock) -> None:
    leader, other = Process(clock), Process(clock)
    leader.look()
    asyncio.run(leader.alerts._end())
    other.look()
    assert other.leads


def test_states_of_more_than_an_hour_ago_are_none_of_now(end_lease: Callable[[], None], clock: ManualClock) -> None:
    leader = Process(clock)
    leader.tick(6)
    leader.die()
    end_lease()
    clock.advance(3600.0)
    successor = Process(clock)
    began = clock.wall()
    successor.tick(5)
    assert successor.alert().active_at_ms == in_ms(began) and successor.of() == ["firing"]


def test_a_clock_that_is_set_back_takes_the_times_of_alerts_with_it(
    end_lease: Callable[[], None], clock: ManualClock
) -> None:
    leader, other = Process(clock), Process(clock)
    for tick in range(4):
        if tick == 2:
            clock.set_by -= 7200.0
        leader.look()
        other.look()
        clock.advance(TICK)
    assert leader.alert().state == "pending"
    leader.look()
    assert leader.of() == ["firing"] and leader.alert().active_at_ms == in_ms(clock.wall() - 4 * TICK)
    leader.die()
    clock.set_by -= 7200.0  # and again, while nobody writes
    end_lease()
    other.tick(4)
    assert other.leads and other.of() == [] and other.alert().state == "firing"


@pytest.fixture
def own_server(redis_server: RedisServer) -> Iterator[RedisServer]:
    server = RedisServer()
    server.start()
    yield server
    server.stop()


def test_what_was_written_without_an_answer_is_not_read_as_another_processs(
    end_lease: object, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    leader = Process(clock)
    leader.tick(3)
    assert leader.alert().state == "pending"
    store = leader.alerts.rounds.shared._store
    assert store is not None
    write = store.write

    def no_answer(*arguments: Any) -> bool:
        if arguments[0] != "alerts":
            write(*arguments)
        raise ClusterUnavailableError("no answer")

    with monkeypatch.context() as patch:
        patch.setattr(store, "write", no_answer)
        leader.tick()
        patch.setattr(store, "hold_lease", no_answer)
        leader.tick(2)
    leader.tick(2)
    assert leader.of() == ["firing"]


def test_no_age_is_made_up_for_states_that_were_never_known(end_lease: object, clock: ManualClock) -> None:
    other = Process(clock)
    open_store = other.alerts.rounds.shared._open_store
    assert open_store is not None
    leader = open_store()
    leader.hold_lease("alerts", "a leader that writes nothing", 3600.0)
    leader.close()
    other.tick(9)
    assert not other.leads and other.alerts.rounds.overview()["age_seconds"] is None
    message = other.alerts._outcome().message
    assert message == "another process evaluates alerts, and its states cannot be read"


def test_a_lease_that_is_being_taken_at_the_stop_is_given_up(
    end_lease: object, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other = Process(clock), Process(clock)
    one.look()
    shared = one.alerts.rounds.shared
    hold, holds, go_on = shared._store.hold_lease, threading.Event(), threading.Event()  # type: ignore[union-attr]

    def slow(*arguments: Any) -> bool:
        holds.set()
        go_on.wait(5)
        return hold(*arguments)

    monkeypatch.setattr(shared._store, "hold_lease", slow)
    threads = [threading.Thread(target=shared.exchange), threading.Thread(target=shared.close)]
    threads[0].start()
    holds.wait(5)
    threads[1].start()
    threads[1].join(0.3)
    go_on.set()
    for thread in threads:
        thread.join()
    other.look()
    assert other.leads


def test_redis_is_lost_and_comes_back_empty(
    own_server: RedisServer, clean_process: pytest.MonkeyPatch, clock: ManualClock
) -> None:
    clean_process.delenv("ORDINAUT_OBS_STORE")
    clean_process.setenv("REDIS_URL", own_server.url)
    leader, other = Process(clock), Process(clock)
    leader.look()
    other.look()
    began = leader.alert().active_at_ms
    own_server.stop(keep=True)
    for _ in range(5):
        clock.advance(TICK)
        leader.look()
        other.look()
    # Who led goes on; the other says how old it is what it shows.
    assert leader.of() == ["firing"] and leader.alert().active_at_ms == began
    assert other.alert().state == "pending" and other.alerts.rounds.overview()["age_seconds"] == 5 * TICK
    assert not other.leads and "Redis" in other.alerts.rounds.overview()["store_problem"]
    clock.advance(2 * TICK)
    other.look()
    assert other.alerts._outcome().message == "alerts are shown as they were 105 s ago"
    own_server.start()
    for _ in range(3):
        clock.advance(TICK)
        other.look()  # first, and yet it does not take over
        assert not other.leads
        leader.look()
    other.look()
    assert leader.leads and other.alert() == leader.alert() and other.alerts.rounds.overview()["age_seconds"] == 0
    assert leader.of() == ["firing"] and other.of() == []


def test_a_process_that_never_heard_of_its_store_evaluates_alerts_for_itself(
    clean_process: pytest.MonkeyPatch, clock: ManualClock, free_port: Callable[[], int]
) -> None:
    clean_process.delenv("ORDINAUT_OBS_STORE")
    clean_process.setenv("REDIS_URL", f"redis://127.0.0.1:{free_port()}/0")
    alone = Process(clock)
    alone.tick(5)
    assert alone.leads and alone.of() == ["firing"]


def in_ms(seconds: float) -> int:
    return round(seconds * 1000)
