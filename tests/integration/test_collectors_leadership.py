"""Several processes, one reader: who it is, who comes next, and that nothing is counted twice or lost in between."""

from __future__ import annotations

import asyncio
import contextlib
import struct
import uuid

import asyncpg

from ordinaut_ext_observability.background.clock import Clock
from ordinaut_ext_observability.cluster.base import ClusterUnavailableError, Put
from ordinaut_ext_observability.background.tasks import PeriodicTask, run_periodically
from ordinaut_ext_observability.metrics.budget import LabelBudgets
from ordinaut_ext_observability.relay.series_list import SeriesList, number_at
from ordinaut_ext_observability.relay.sqlite_store import SqliteRelayStore
from tests.collectors import collect, make_collector

AGENT, TASK = uuid.UUID(int=1), uuid.UUID(int=2)


class BrokenStore:
    """Neither keeps nor knows anything."""

    def fail(self, *_):
        raise ClusterUnavailableError("broken")

    join = publish = read = get = hold_lease = fail

    def close(self):
        pass


def broken():
    return BrokenStore()


def store_in(folder):
    """A function that opens a file, as each process does."""
    return lambda: SqliteRelayStore(str(folder / "store" / "shared.sqlite"), Clock())


def make(url, open_stores, interval_seconds=15.0):
    return make_collector(url, open_stores=open_stores, interval_seconds=interval_seconds)


def total(open_stores, name="orchestrator_task_runs_total"):
    """What the store has of all that led."""
    stores = open_stores()
    series = SeriesList(LabelBudgets())
    reading = series.read(stores)
    stores.close()
    reading.total.extend([0] * (series.size - len(reading.total)))
    return sum(number_at(reading.total, each.start) for each in series.series if each.key[0].name == name)


def runs(collector):
    return sum(child.value for child in collector.families.runs.children())


def shown(collector):
    return [gauge.name for group in collector.families.gauges_of.values() for gauge in group if len(gauge)]


@contextlib.asynccontextmanager
async def cluster(url, number, **options):
    """A host's connection, and collectors with one store."""
    host = await asyncpg.connect(url)
    await host.execute("INSERT INTO agent (id, name, scopes) VALUES ($1, 'a', '{}')", AGENT)
    await host.execute(
        "INSERT INTO task (id, title, description, created_by, schedule_kind, payload) "
        "VALUES ($1, '', '', $2, 'cron', '{}')",
        *(TASK, AGENT),
    )
    store = options.pop("store", None)
    collectors = [make(url, store, **options) for _ in range(number)]
    try:
        yield host, collectors
    finally:
        for collector in collectors:
            await collector.close()
        await host.close()


async def add_runs(host, number):
    await host.execute(
        "INSERT INTO task_run (task_id, started_at, finished_at, success) "
        "SELECT $1, now(), now(), true FROM generate_series(1, $2)",
        *(TASK, number),
    )


def test_one_of_three_reads_for_all(database_url):
    async def run():
        async with cluster(database_url, 3) as (_, collectors):
            for collector in collectors:
                await collect(collector)
            first, *others = collectors
            assert first.states.leads
            assert first.states.mode == "advisory lock"
            assert first.states.of("queue").facts is not None
            for other in others:
                assert not other.states.leads
                assert shown(other) == []
                assert (other.states.of("queue").facts, other.states.of("queue").problem) == (None, None)
                assert other.states.of("database").facts.server_version
            leading = [collector.families.leader.labels().value for collector in collectors]
            assert leading == [1, 0, 0]

    asyncio.run(run())


def test_the_next_goes_on_where_a_dead_leader_stopped(database_url, tmp_path):
    async def run():
        store = store_in(tmp_path)
        async with cluster(database_url, 2, store=store) as (host, (first, second)):
            await collect(first)
            await collect(second)
            await add_runs(host, 3)
            await collect(first)
            assert total(store) == 3
            await add_runs(host, 4)
            # It dies after it has read and before it has saved.
            async with first._database.transaction() as transaction:
                await first._reader.read(transaction)
            assert runs(first) == 7
            first._database.drop()
            await asyncio.sleep(0.2)
            await collect(second)
            assert second.states.leads
            assert total(store) == 7
            await add_runs(host, 2)
            await collect(second)
            await collect(first)
            assert (total(store), first.states.leads) == (9, False)
            # The counts of the one that died belong to nobody: they are not published when it leads again.
            second._database.drop()
            await asyncio.sleep(0.2)
            await collect(first)
            assert (total(store), first.states.leads) == (9, True)

    asyncio.run(run())


def test_what_others_count_into_the_same_families_is_not_undone_by_taking_over(database_url):
    async def run():
        async with cluster(database_url, 1) as (host, (leader,)):
            leader.families.runs.labels("success", "other", "").inc(5)
            await collect(leader)
            assert leader.states.leads
            for _ in range(2):
                await add_runs(host, 2)
                await collect(leader)
                # The connection breaks after counting and before saving.
                async with leader._database.transaction() as transaction:
                    await leader._reader.read(transaction)
                leader._database.drop()
                await asyncio.sleep(0.2)
                leader._lose(OSError())
                assert not leader.states.leads
                leader.families.runs.labels("success", "other", "").inc()
            for _ in range(2):
                await collect(leader)
            assert leader.states.leads
            others = leader.families.runs.labels("success", "other", "").value
            assert (others, runs(leader) - others) == (7, 4)

    asyncio.run(run())


def test_leader_goes_on_when_the_store_lost_everything(database_url, tmp_path):
    async def run():
        store = store_in(tmp_path)
        async with cluster(database_url, 1, store=store) as (host, (leader,)):
            await collect(leader)
            await add_runs(host, 2)
            await collect(leader)
            assert total(store) == 2
            for file in (tmp_path / "store").iterdir():
                file.unlink()
            await add_runs(host, 3)
            await collect(leader)
            assert (leader.states.leads, total(store)) == (True, 3)

    asyncio.run(run())


def test_answer_that_is_lost_counts_nothing_twice(database_url, tmp_path):
    async def run():
        store, lost = store_in(tmp_path), []

        class Losing:
            def __init__(self, relay):
                self._relay = relay

            def __getattr__(self, name):
                return getattr(self._relay, name)

            def publish(self, *arguments):
                outcome = self._relay.publish(*arguments)
                if lost:
                    raise ClusterUnavailableError(lost.pop())
                return outcome

        def open_losing():
            stores = store()
            return Losing(stores)

        async with cluster(database_url, 1, store=open_losing) as (host, (leader,)):
            await collect(leader)
            for number in range(1, 4):
                lost.append("no answer")
                await add_runs(host, 2)
                await collect(leader)
                assert leader.states.leads
                await add_runs(host, 1)
                await collect(leader)
                assert (leader.states.leads, total(store)) == (True, 3 * number)
            assert leader.families.errors.labels("checkpoint", "unreachable").value == 3

    asyncio.run(run())


def test_a_leader_that_loses_its_connection_shows_nothing_at_once(database_url):
    async def run():
        async with cluster(database_url, 2) as (host, (first, second)):
            await collect(first)
            assert shown(first)
            await host.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE application_name = 'ordinaut-observability' AND datname = current_database()"
            )
            await asyncio.sleep(0.1)
            await collect(second)
            assert second.states.leads
            await collect(first)
            assert (shown(first), first.states.leads) == ([], False)
            await collect(first)
            assert first.states.of("queue").facts is None
            assert first.states.of("database").problem is None

    asyncio.run(run())


def test_three_that_run_always_have_exactly_one_leader(database_url):
    async def run():
        async with cluster(database_url, 3, interval_seconds=0.1) as (_, collectors):
            stops = [asyncio.Event() for _ in collectors]
            tasks = [running(collector, stop) for collector, stop in zip(collectors, stops, strict=True)]
            for left in (3, 2, 1):
                await until(lambda: sum(collector.states.leads for collector in collectors) == 1)
                leader = next(number for number, collector in enumerate(collectors) if collector.states.leads)
                stops[leader].set()
                await tasks[leader]
                assert shown(collectors[leader]) == []
                assert left == sum(not stop.is_set() for stop in stops) + 1
            assert not any(collector.states.leads for collector in collectors)

    asyncio.run(run())


def running(collector, stop):
    task = PeriodicTask("postgresql", collector.collect, 0.1, finish=collector.close)
    return asyncio.create_task(run_periodically(task, stop, lambda _, error: None))


async def until(condition):
    async with asyncio.timeout(5.0):
        while not condition():
            await asyncio.sleep(0.01)


def test_a_leader_that_another_has_overtaken_steps_down(database_url, tmp_path):
    async def run():
        store = store_in(tmp_path)
        async with cluster(database_url, 1, store=store) as (host, (leader,)):
            await collect(leader)
            stores = store()
            held = stores.get("collectors")
            assert stores.write([Put("collectors", held.version, held.content)])
            stores.close()
            await add_runs(host, 2)
            await collect(leader)
            assert (leader.states.leads, shown(leader), total(store)) == (False, [], 0)
            await collect(leader)
            assert (leader.states.leads, total(store)) == (True, 2)

    asyncio.run(run())


def test_without_a_store_that_answers_it_reads_all_the_same(database_url):
    async def run():
        async with cluster(database_url, 1, store=broken) as (host, (leader,)):
            await collect(leader)
            await add_runs(host, 2)
            for _ in range(2):
                await collect(leader)
            assert (leader.states.leads, runs(leader)) == (True, 2)

    asyncio.run(run())


def test_without_a_store_that_answers_a_broken_connection_loses_nothing(database_url):
    async def run():
        async with cluster(database_url, 1, store=broken) as (host, (leader,)):
            await collect(leader)
            leader._database.drop()
            await add_runs(host, 2)
            for _ in range(3):
                await collect(leader)
            assert (leader.states.leads, runs(leader)) == (True, 2)

    asyncio.run(run())


def test_a_checkpoint_that_cannot_be_read_begins_anew(database_url, tmp_path):
    async def run():
        store = store_in(tmp_path)
        stores = store()
        stores.write([Put("collectors", 0, b"{}")])
        stores.close()
        async with cluster(database_url, 1, store=store) as (host, (leader,)):
            await add_runs(host, 5)
            await collect(leader)
            await add_runs(host, 2)
            await collect(leader)
            assert total(store) == 2

    asyncio.run(run())


@contextlib.asynccontextmanager
async def pooler(url, *, strict=False):
    """Gives clients a process id that is not the session's, as a pooler does; the URL to reach it by.

    A strict one takes no settings from clients.
    """
    port = int(url.rpartition(":")[2].partition("/")[0])

    async def pump(reader, writer, back):
        with contextlib.suppress(OSError):
            while data := await reader.read(65536):
                if b"statement_timeout\0" in data and strict:
                    text = b"SFATAL\0VFATAL\0C08P01\0Munsupported startup parameter: statement_timeout\0\0"
                    back.write(b"E" + struct.pack("!i", len(text) + 4) + text)
                    break
                at = data.find(b"K\x00\x00\x00\x0c")
                if at >= 0:
                    data = data[: at + 5] + struct.pack("!i", 4711) + data[at + 9 :]
                writer.write(data)
        writer.close()
        back.close()

    async def serve(reader, writer):
        there, back = await asyncio.open_connection("127.0.0.1", port)
        await asyncio.gather(pump(reader, back, writer), pump(there, writer, back))

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield url.replace(f":{port}/", f":{server.sockets[0].getsockname()[1]}/") + "?sslmode=disable"


def test_behind_a_pooler_a_lease_decides(database_url, tmp_path):
    async def run():
        async with pooler(database_url) as pooled:
            store = store_in(tmp_path)
            first, second = make(pooled, store), make(pooled, store)
            for collector in (first, second):
                await collect(collector)
                assert collector.states.mode == "lease"
            assert (first.states.leads, second.states.leads) == (True, False)
            stores = store()
            stores.release_lease("collectors", first.checkpoints.owner)
            stores.close()
            await collect(second)
            await collect(first)
            assert (first.states.leads, second.states.leads) == (False, True)
            assert shown(first) == []
            for collector in (first, second):
                await collector.close()

    asyncio.run(run())


def test_behind_a_pooler_that_takes_no_settings(database_url, tmp_path):
    async def run():
        async with pooler(database_url, strict=True) as pooled:
            collector = make(pooled, store_in(tmp_path))
            await collect(collector)
            assert collector.states.leads
            assert collector.states.of("queue").problem is None
            async with collector._database.transaction() as transaction:
                assert await transaction.connection.fetchval("SHOW lock_timeout") == "500ms"
            await collector.close()

    asyncio.run(run())


def test_behind_a_pooler_without_a_lease_nobody_leads(database_url):
    async def run():
        async with pooler(database_url) as pooled:
            for store, reason in ((None, "there is no store"), (broken, "the store does not answer")):
                collector = make(pooled, store)
                await collect(collector)
                assert not collector.states.leads
                assert collector.states.mode.startswith("none: a connection pooler")
                assert reason in collector.states.mode
                assert collector.states.of("database").facts is not None
                await collector.close()

    asyncio.run(run())
