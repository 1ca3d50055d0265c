"""The collector of Redis against real servers: what it finds, and what it shows while it finds nothing."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
import redis

from tests.client_model import ClientModel
from ordinaut_ext_observability.demo.servers import RedisServer, ServerError
from ordinaut_ext_observability.background.tasks import PeriodicTask, run_periodically
from ordinaut_ext_observability.cluster.redis import CLIENT_NAME, redis_problem
from ordinaut_ext_observability.collectors import redis_server
from ordinaut_ext_observability.metrics.declarations.redis import RedisServerMetrics
from ordinaut_ext_observability.collectors.redis_server import RedisCollector
from ordinaut_ext_observability.errors import Problem
from ordinaut_ext_observability.metrics.declarations import Metrics
from ordinaut_ext_observability.metrics.registry import Registry
from ordinaut_ext_observability.collectors.states import Collected, GroupFacts
from tests.collectors import states_of

PASSWORD = "a-password-0123456789"


def fail(name: str, error: Exception) -> None:
    raise error


@dataclass
class Watched:
    """A collector, and what it told."""

    url: str
    metrics: Metrics = field(default_factory=lambda: Metrics(Registry()))
    events: list[tuple[str, str]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.states = states_of(
            self.metrics,
            lambda event, **fields: self.events.append((event.level, fields.get("reason", event.message))),
        )
        self.collector = RedisCollector(
            self.url, RedisServerMetrics(self.metrics.registry), self.states, interval_seconds=0.05
        )
        self.task = PeriodicTask("redis", self.collector.collect, 0.05, finish=self.collector.close)

    @property
    def state(self) -> Collected:
        return self.states.of("redis")

    @property
    def problems(self) -> list[str]:
        """The reasons counted, each as often as it was."""
        return [
            child.label_values[1] for child in self.states.metrics.errors.children() for _ in range(int(child.value))
        ]

    def samples(self, name: str) -> dict[tuple[str, ...], float]:
        """The samples of `orchestrator_redis_<name>` by their labels' values."""
        return {
            tuple(sample.labels.values()): sample.value
            for metric in ClientModel(self.metrics.registry).collect()
            for sample in metric.samples
            if sample.name == f"orchestrator_redis_{name}"
        }

    def collect(self, times: int = 1) -> None:
        """Read so many times on one connection, as the first does, and let go of it."""

        async def rounds() -> None:
            for _ in range(times):
                self.pause = await self.collector.collect()
            await self.collector._client.connection_pool.disconnect()

        asyncio.run(rounds())

    async def wait_for(self, check: Callable[[], bool], seconds: float = 10.0) -> None:
        async with asyncio.timeout(seconds):
            while not check():
                await asyncio.sleep(0.01)

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        stop = asyncio.Event()
        task = asyncio.create_task(run_periodically(self.task, stop, fail))
        yield
        stop.set()
        await asyncio.wait_for(task, 5)

    def internal_errors(self) -> int:
        return sum(int(child.value) for child in self.metrics.internal_errors.children())


@pytest.fixture
def filled(redis_url: str) -> Iterator[redis.Redis]:
    """A server with the host's stream and those of extensions."""
    with redis.Redis.from_url(redis_url) as client:
        for number in range(10):
            client.xadd("events", {"event_id": str(number)})
        client.xgroup_create("events", "mailers", id="0")
        client.xreadgroup("mailers", "one", {"events": ">"}, count=4)
        client.xack("events", "mailers", *[entry for entry, _ in client.xrange("events", count=1)])
        client.xadd("ext:demo:events:report", {"payload": "{}"})
        client.set("ext:demo:setting", "no stream")
        yield client


@pytest.fixture
def own_server() -> Iterator[RedisServer]:
    """A server that a test may stop."""
    try:
        server = RedisServer()
    except ServerError as error:
        if os.environ.get("CI") == "true":
            raise
        pytest.skip(str(error))
    server.start()
    yield server
    server.stop()


def test_streams_and_groups_are_shown(filled: redis.Redis, redis_url: str) -> None:
    watched = Watched(redis_url)
    watched.collect()
    assert watched.samples("up") == {(): 1}
    assert watched.samples("stream_length") == {("events",): 10, ("ext:demo:events:report",): 1}
    assert watched.samples("group_pending") == {("events", "mailers"): 3}
    assert watched.samples("group_lag") == {("events", "mailers"): 6}
    assert watched.samples("group_consumers") == {("events", "mailers"): 1}
    assert watched.samples("ping_duration_seconds_count") == {(): 1}
    assert watched.events == watched.problems == []


def test_facts_say_the_same(filled: redis.Redis, redis_url: str) -> None:
    watched = Watched(redis_url)
    watched.collect()
    state = watched.state
    assert state.problem is None
    assert state.collected_at is not None
    facts = state.facts
    assert facts is not None
    assert 0 < facts.latency_seconds < 1
    assert facts.stream_lengths == {"events": 10, "ext:demo:events:report": 1}
    assert facts.groups == [GroupFacts(stream="events", group="mailers", consumers=1, pending=3, lag=6)]
    assert facts.used_memory_bytes == watched.samples("memory_used_bytes")[()] > 100_000
    assert facts.connected_clients == watched.samples("connected_clients")[()] >= 2


def test_host_stream_that_is_not_there_yet_has_length_zero(redis_url: str) -> None:
    watched = Watched(redis_url)
    watched.collect()
    assert watched.samples("stream_length") == {("events",): 0}
    assert watched.samples("group_lag") == {}
    assert watched.problems == []


def test_host_stream_of_another_type_is_no_failure(redis_url: str) -> None:
    with redis.Redis.from_url(redis_url) as client:
        client.set("events", "text")
    watched = Watched(redis_url)
    watched.collect()
    assert watched.samples("up") == {(): 1}
    assert watched.samples("stream_length") == {}


def test_series_of_what_is_gone_go_too(filled: redis.Redis, redis_url: str) -> None:
    watched = Watched(redis_url)
    watched.collect()
    filled.delete("ext:demo:events:report")
    filled.xgroup_destroy("events", "mailers")
    watched.collect()
    assert watched.samples("stream_length") == {("events",): 10}
    assert watched.samples("group_pending") == {}


def test_streams_are_capped(redis_url: str) -> None:
    with redis.Redis.from_url(redis_url) as client:
        for number in range(redis_server.MAX_STREAMS * 2):
            client.xadd(f"ext:many:events:{number}", {"a": "b"})
    watched = Watched(redis_url)
    watched.collect()
    assert len(watched.samples("stream_length")) == redis_server.MAX_STREAMS


def test_search_of_a_large_keyspace_is_bounded_and_goes_on(
    filled: redis.Redis, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(redis_server, "_KEYS_AT_ONCE", 10)
    monkeypatch.setattr(redis_server, "_CALLS_AT_ONCE", 2)
    filled.mset({f"other:{number}": "x" for number in range(500)})
    filled.config_resetstat()
    watched = Watched(redis_url)
    rounds = 0
    while ("ext:demo:events:report",) not in watched.samples("stream_length"):
        watched.collector._search_due = 0.0
        watched.collect()
        rounds += 1
        assert rounds < 200
        assert filled.info("commandstats")["cmdstat_scan"]["calls"] <= 2 * rounds
    watched.collect()
    assert filled.info("commandstats")["cmdstat_scan"]["calls"] <= 2 * rounds  # not each time


def test_name_that_is_not_text_is_shown_escaped(redis_url: str) -> None:
    with redis.Redis.from_url(redis_url) as client:
        client.xadd(b"ext:\xff", {"a": "b"})
    watched = Watched(redis_url)
    watched.collect()
    assert (r"ext:\xff",) in watched.samples("stream_length")


def test_long_names_are_cut(redis_url: str) -> None:
    with redis.Redis.from_url(redis_url) as client:
        client.xadd("ext:" + "long" * 1000, {"a": "b"})
        client.xgroup_create("ext:" + "long" * 1000, "g" * 5000, id="0")
    watched = Watched(redis_url)
    watched.collect()
    assert {len(label) for labels in watched.samples("group_pending") for label in labels} == {200}


@pytest.mark.parametrize("odd", [b"-1", b"nan", b"1e400", b"9" * 400, b"", b"1,2", b"a=1,b", b"1.5"])
def test_odd_numbers_of_the_server_are_no_numbers(odd: bytes) -> None:
    async def collect() -> None:
        async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            info = b"# Memory\r\nused_memory:%b\r\nmaxmemory:%b\r\nconnected_clients:%b\r\n: \r\nodd" % (odd, odd, odd)
            answers = {
                b"PING": b"+PONG\r\n",
                b"INFO": b"$%d\r\n%b\r\n" % (len(info), info),
                b"SCAN": b"-ERR syntax error\r\n",  # as before Redis 6, which knows no types there
                b"XLEN": b":0\r\n",
                b"XINFO": b"*0\r\n",
            }
            while count := await reader.readline():
                words = []
                for _ in range(int(count[1:])):
                    await reader.readline()
                    words.append((await reader.readline()).strip())
                writer.write(answers.get(words[0].upper(), b"+OK\r\n"))
            writer.close()

        server = await asyncio.start_server(answer, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        watched = Watched(f"redis://127.0.0.1:{port}/0?protocol=2")
        await watched.collector.collect()
        await watched.collector._client.connection_pool.disconnect()
        server.close()
        assert watched.state.problem is None
        for name in ("memory_used_bytes", "memory_max_bytes", "connected_clients"):
            assert watched.samples(name) == {(): 0.0}

    asyncio.run(collect())


def test_one_connection_with_our_name(redis_url: str) -> None:
    async def named() -> list[Any]:
        watched = Watched(redis_url)
        async with watched.running():
            await watched.wait_for(lambda: watched.samples("ping_duration_seconds_count").get((), 0) >= 3)
            with redis.Redis.from_url(redis_url) as client:
                return [other for other in client.client_list() if other["name"] == CLIENT_NAME]

    assert len(asyncio.run(named())) == 1


def test_end_leaves_neither_gauge_nor_connection(redis_url: str, eventually: Callable[..., bool]) -> None:
    watched = Watched(redis_url)

    async def run() -> None:
        async with watched.running():
            await watched.wait_for(lambda: watched.samples("up") == {(): 1})

    asyncio.run(run())
    assert watched.samples("up") == watched.samples("stream_length") == watched.samples("memory_used_bytes") == {}
    with redis.Redis.from_url(redis_url) as client:
        assert eventually(lambda: CLIENT_NAME not in [other["name"] for other in client.client_list()])


def test_cancelling_is_an_end(redis_url: str) -> None:
    watched = Watched(redis_url)

    async def run() -> None:
        task = asyncio.create_task(run_periodically(watched.task, asyncio.Event(), fail))
        await watched.wait_for(lambda: watched.samples("up") == {(): 1})
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(run())
    assert watched.samples("up") == {}


def test_restart_is_an_outage_and_a_recovery(own_server: RedisServer) -> None:
    watched = Watched(own_server.url)

    async def run() -> None:
        async with watched.running():
            await watched.wait_for(lambda: watched.samples("up") == {(): 1})
            await asyncio.to_thread(own_server.stop, keep=True)
            await watched.wait_for(lambda: watched.samples("up") == {(): 0})
            assert watched.samples("stream_length") == watched.samples("memory_used_bytes") == {}
            assert watched.state.problem is Problem.UNREACHABLE
            assert watched.state.facts is not None  # the last ones, with their age
            await asyncio.to_thread(own_server.start)
            await watched.wait_for(lambda: watched.samples("up") == {(): 1})
            assert watched.state.problem is None

    asyncio.run(run())
    assert watched.events == [("WARNING", "unreachable"), ("INFO", "Redis can be read again")]
    assert set(watched.problems) == {"unreachable"}
    assert watched.internal_errors() == 0


def test_server_that_hangs_is_given_up_in_time(own_server: RedisServer) -> None:
    watched = Watched(own_server.url)

    async def run() -> None:
        async with watched.running():
            await watched.wait_for(lambda: watched.samples("up") == {(): 1})
            assert own_server.process is not None
            own_server.process.send_signal(signal.SIGSTOP)
            await watched.wait_for(lambda: watched.state.problem is Problem.TIMEOUT, 4)
            assert watched.samples("up") == {(): 0}
            own_server.process.send_signal(signal.SIGCONT)
            await watched.wait_for(lambda: watched.samples("up") == {(): 1})

    asyncio.run(run())
    assert watched.internal_errors() == 0


def test_nobody_listens(free_port: Callable[[], int]) -> None:
    watched = Watched(f"redis://127.0.0.1:{free_port()}/0")
    watched.collect()
    assert watched.state.problem is Problem.UNREACHABLE
    assert watched.state.facts is None
    assert watched.samples("up") == {(): 0}


def test_it_asks_less_often_while_it_fails(free_port: Callable[[], int]) -> None:
    watched = Watched(f"redis://127.0.0.1:{free_port()}/0")
    watched.collect(times=3)
    assert watched.pause == pytest.approx(0.2)


def test_wrong_password_is_a_refusal(own_server: RedisServer) -> None:
    with redis.Redis.from_url(own_server.url) as client:
        client.acl_setuser("watcher", enabled=True, passwords=[f"+{PASSWORD}"], commands=["+@all"], keys=["*"])
    wrong = Watched(own_server.url.replace("://", "://watcher:wrong@"))
    wrong.collect()
    assert wrong.state.problem is Problem.REFUSED
    right = Watched(own_server.url.replace("://", f"://watcher:{PASSWORD}@"))
    right.collect()
    assert right.state.problem is None


def limited(server: RedisServer, *commands: str, keys: tuple[str, ...] = ("*",)) -> Watched:
    """A collector whose user may not run all commands, after one reading."""
    with redis.Redis.from_url(server.url) as client:
        client.xadd("events", {"a": "b"})
        client.xgroup_create("events", "mailers", id="0")
        client.acl_setuser(
            "watcher",
            enabled=True,
            reset=True,
            passwords=[f"+{PASSWORD}"],
            commands=["+@all", *commands],
            keys=list(keys),
        )
    watched = Watched(server.url.replace("://", f"://watcher:{PASSWORD}@"))
    watched.collect()
    assert watched.samples("up") == {(): 1}
    assert watched.state.problem is Problem.NO_PERMISSION
    assert watched.problems == ["no_permission"]
    assert watched.pause == 0.05  # the next reading is as early as ever
    return watched


def test_without_info_the_rest_is_read(own_server: RedisServer) -> None:
    watched = limited(own_server, "-info")
    assert watched.samples("stream_length") == {("events",): 1}
    assert watched.samples("group_lag") == {("events", "mailers"): 1}
    assert watched.samples("memory_used_bytes") == watched.samples("connected_clients") == {}


def test_without_xinfo_the_rest_is_read(own_server: RedisServer) -> None:
    watched = limited(own_server, "-xinfo")
    assert watched.samples("stream_length") == {("events",): 1}
    assert watched.samples("group_lag") == {}
    assert watched.samples("memory_used_bytes") != {}


def test_without_scan_client_and_ping_the_rest_is_read(own_server: RedisServer) -> None:
    watched = limited(own_server, "-scan", "-client", "-ping")
    assert watched.samples("stream_length") == {("events",): 1}
    assert watched.samples("memory_used_bytes") != {}


def test_without_the_stream_the_server_is_read(own_server: RedisServer) -> None:
    watched = limited(own_server, keys=("ext:*",))
    assert watched.samples("stream_length") == {}
    assert watched.samples("memory_used_bytes") != {}


def test_evicted_keys_are_the_number_of_the_server(own_server: RedisServer) -> None:
    watched = Watched(own_server.url)

    def evict() -> int:
        with redis.Redis.from_url(own_server.url) as client:
            client.config_set("maxmemory-policy", "allkeys-random")
            client.config_set("maxmemory", client.info("memory")["used_memory"] + 200_000)
            for number in range(1000):
                client.set(f"key:{number}", "x" * 1000)
            client.config_set("maxmemory", 0)  # or what reads it evicts more
            evicted: int = client.info("stats")["evicted_keys"]
            return evicted

    evicted = evict()
    assert evicted > 0
    for each in (watched, Watched(own_server.url)):
        each.collect()
        assert each.samples("evicted_keys") == {(): evicted}
    own_server.stop(keep=True)
    watched.collect()
    assert watched.samples("evicted_keys") == {}
    own_server.start()
    anew = evict()
    watched.collect()
    assert watched.samples("evicted_keys") == {(): anew}
    (family,) = [each for each in watched.metrics.registry.families() if each.name == "orchestrator_redis_evicted_keys"]
    assert family.merged_by == "max"
    assert watched.samples("memory_max_bytes") == {(): 0}


def test_too_many_clients_is_said_as_such(own_server: RedisServer) -> None:
    with redis.Redis.from_url(own_server.url) as client:
        client.config_set("maxclients", 1)
        watched = Watched(own_server.url)
        watched.collect()
    assert watched.state.problem is Problem.TOO_MANY_CONNECTIONS


def test_bug_of_ours_is_counted_and_not_raised(redis_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    watched = Watched(redis_url)

    async def fail(*_: object, **__: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(RedisCollector, "_read", fail)
    watched.collect()
    assert watched.internal_errors() == 1
    assert watched.state.problem is Problem.FAILED


def test_url_that_cannot_be_read_is_not_quoted() -> None:
    with pytest.raises(ValueError, match="the URL of Redis cannot be read") as raised:
        Watched(f"redis://:{PASSWORD}@127.0.0.1:a-port/0")
    assert PASSWORD not in str(raised.value)
    assert raised.value.__suppress_context__


def test_time_outs_in_the_url_are_not_taken(redis_url: str) -> None:
    collector = Watched(f"{redis_url}?socket_timeout=3600&decode_responses=true").collector
    options = collector._client.connection_pool.connection_kwargs
    assert options["socket_timeout"] == 1.0
    assert not options["decode_responses"]


@pytest.mark.parametrize(
    ("error", "problem"),
    [
        (redis.exceptions.BusyLoadingError("LOADING"), Problem.TIMEOUT),
        (ConnectionRefusedError(), Problem.UNREACHABLE),
        (TimeoutError(), Problem.TIMEOUT),
        (redis.exceptions.ResponseError("ERR something else"), Problem.FAILED),
    ],
)
def test_errors_are_classified(error: Exception, problem: Problem) -> None:
    assert redis_problem(error) is problem
