"""A deployment whose servers fail: PostgreSQL, Redis, the process that reads for all. The host notices nothing."""

from __future__ import annotations

import contextlib
import re
import signal
import statistics
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import psutil
import psycopg
import pytest
import redis

from ordinaut_ext_observability.demo import servers
from ordinaut_ext_observability.demo.servers import PostgresServer, RedisServer

COMMAND = str(Path(sys.executable).with_name("ordinaut-observability"))
MOUNT = "/ext/observability"
TOKEN = "an-operators-token-0123456789"
AGENT, TASK = uuid.UUID(int=1), uuid.UUID(int=2)
OF_THE_HOST = ("/tools", "/extensions", "/health/live", "/nowhere")
QUICK = {
    "ORDINAUT_OBS_OPERATOR_TOKEN": TOKEN,
    "ORDINAUT_OBS_COLLECTOR_INTERVAL_SECONDS": "1",
    "ORDINAUT_OBS_HEALTH_INTERVAL_SECONDS": "0.2",
    "ORDINAUT_OBS_RELAY_INTERVAL_SECONDS": "0.3",
}

RUNS = "orchestrator_task_runs_total"
REPORTED_RUNS = "orchestrator_runs_total"
ERRORS = "ordinaut_observability_collector_errors_total"
INTERNAL = "ordinaut_observability_internal_errors_total"
NO_WORK_WAITS = "\norchestrator_queue_depth 0.0\n"

# Does the runs whose lengths it is given, and tells of each as Ordinaut's workers do.
WORKER = """
import sys, time
import psycopg
from observability.metrics import orchestrator_metrics
task = sys.argv[2]
with psycopg.connect(sys.argv[1], autocommit=True) as database:
    orchestrator_metrics.record_worker_heartbeat("w1")
    for length in sys.argv[3:]:
        orchestrator_metrics.record_pipeline_execution(task, "started")
        [begun] = database.execute("SELECT clock_timestamp()").fetchone()
        time.sleep(float(length))
        orchestrator_metrics.record_pipeline_execution(task, "success")
        database.execute(
            "INSERT INTO task_run (task_id, started_at, finished_at, success) VALUES (%s, %s, now(), true)",
            (task, begun),
        )
        print("done", flush=True)
    time.sleep(60)
"""


class System:
    """The servers, and a role that the application connects as."""

    def __init__(self) -> None:
        self.postgres = PostgresServer(settings={"max_connections": "20"}, trust=True)
        self.redis = RedisServer()

    def start(self) -> None:
        self.postgres.start()
        self.redis.start()
        self.sql("CREATE ROLE app LOGIN PASSWORD 'app'")
        self.sql("CREATE DATABASE host")
        self.sql((Path(servers.__file__).parent / "schema.sql").read_text(), "host")
        self.sql(
            f"GRANT SELECT ON ALL TABLES IN SCHEMA public TO app; INSERT INTO agent (id, name, scopes) "
            f"VALUES ('{AGENT}', 'a', '{{}}'); INSERT INTO task (id, title, description, created_by, schedule_kind, "
            f"payload) VALUES ('{TASK}', '', '', '{AGENT}', 'cron', '{{}}')",
            "host",
        )

    def sql(self, statements: str, database: str = "postgres") -> None:
        self.postgres.run_sql(statements, database)

    def url(self, database: str) -> str:
        """Of a database, as the application has it."""
        return f"postgresql://app:app@127.0.0.1:{self.postgres.port}/{database}"

    def stop(self) -> None:
        self.postgres.stop()
        self.redis.stop()


class Host:
    """A served application in a child process."""

    def __init__(self, child: Any, base: str) -> None:
        self.child = child
        self.tools_asked = 0
        self._client = httpx.Client(
            base_url=base,
            timeout=10,
            trust_env=False,
            verify=False,
            headers={"Authorization": f"Bearer {TOKEN}"},
            limits=httpx.Limits(max_keepalive_connections=0),
        )

    def close(self) -> None:
        self._client.close()
        self.child.clean_up()

    def answers(self) -> list[tuple[int, str]]:
        """The host's own."""
        self.tools_asked += 1
        return [(answer.status_code, answer.text) for answer in map(self._client.get, OF_THE_HOST)]

    def seconds(self, path: str) -> float:
        begun = time.monotonic()
        assert self._client.get(MOUNT + path).status_code == 200
        return time.monotonic() - begun

    def page(self, name: str = "ordinaut_observability_build_info") -> str:
        """One that has this family: of several processes one may leave its counts out once."""
        deadline = time.monotonic() + 10
        while f"# TYPE {name} " not in (page := self._client.get(f"{MOUNT}/metrics").text):
            assert time.monotonic() < deadline, page
            time.sleep(0.02)
        return page

    def value(self, name: str, *having: str) -> float:
        return number_in(self.page(name), name, *having)

    def check(self, name: str) -> dict[str, Any]:
        checks = self._client.get(f"{MOUNT}/health/checks").json()["checks"]
        return next(check for check in checks if check["name"] == name)

    def is_well(self) -> bool:
        return (
            all(self.check(name)["status"] == "healthy" for name in ("database", "redis", "relay", "queue"))
            and NO_WORK_WAITS in self.page()
            and self.value("orchestrator_redis_up") == 1
        )

    def events(self, kind: str) -> int:
        return len(self.child.log_lines(event_type=kind))

    def leads(self) -> bool:
        return self.events("collector_leader") > self.events("collector_follower")


def number_in(page: str, name: str, *having: str) -> float:
    return sum(
        float(line.rpartition(" ")[2])
        for line in page.splitlines()
        if re.match(rf"{name}[ {{]", line) and all(part in line for part in having)
    )


@pytest.fixture(scope="module")
def system(postgres_server: PostgresServer, redis_server: RedisServer) -> Iterator[System]:
    """Servers that the tests may stop; there are some only where there are the shared ones."""
    system = System()
    try:
        system.start()
        yield system
    finally:
        system.stop()


@contextlib.contextmanager
def new_database(system: System) -> Iterator[str]:
    """The name of a database of its own."""
    name = f"test_{uuid.uuid4().hex[:8]}"
    system.sql(f"CREATE DATABASE {name} TEMPLATE host")
    yield name
    system.sql(f"DROP DATABASE {name} WITH (FORCE)")


def environ_of(system: System, database: str) -> dict[str, str]:
    with redis.Redis.from_url(system.redis.url) as client:
        client.flushall()
    return {**QUICK, "DATABASE_URL": system.url(database), "REDIS_URL": system.redis.url}


@contextlib.contextmanager
def hosts_started(start_child: Any, eventually: Any) -> Iterator[Callable[..., list[Host]]]:
    """Starts so many at once; they have read everything once."""
    with contextlib.ExitStack() as stack:

        def run(environ: dict[str, str], count: int = 1) -> list[Host]:
            children = [
                start_child(COMMAND, "serve", "--shape", "full", "--port", "0", environ=environ) for _ in range(count)
            ]
            for child in children:
                stack.callback(child.clean_up)
            hosts = []
            for child in children:
                assert eventually(lambda child=child: "Scrape it" in child.out, 30), child.err
                base = re.search(r"metrics +(http://\S+)/ext/", child.out)[1]
                child.wait_for_port(int(base.rpartition(":")[2]))
                hosts.append(Host(child, base))
                stack.callback(hosts[-1].close)
            assert eventually(lambda: all(host.value("ordinaut_observability_collector_leader") == 1 for host in hosts))
            return hosts

        yield run


@pytest.fixture
def database(system: System) -> Iterator[str]:
    with new_database(system) as name:
        yield name


@pytest.fixture
def rows(system: System, database: str) -> Iterator[psycopg.Connection[Any]]:
    with psycopg.connect(system.postgres.url(database), autocommit=True) as connection:
        yield connection


@pytest.fixture
def environ(system: System, database: str) -> dict[str, str]:
    return environ_of(system, database)


@pytest.fixture
def start_hosts(start_child: Any, eventually: Any) -> Iterator[Callable[..., list[Host]]]:
    with hosts_started(start_child, eventually) as run:
        yield run


@pytest.fixture(scope="class")
def lasting(system: System, start_child: Any, eventually: Any) -> Iterator[tuple[str, Host]]:
    """A database and its host, which go through one fault after the other."""
    with new_database(system) as database, hosts_started(start_child, eventually) as start:
        (host,) = start(environ_of(system, database))
        assert eventually(host.is_well), host.page()
        yield database, host


def add_runs(rows: psycopg.Connection[Any], count: int = 1) -> None:
    rows.execute(
        "INSERT INTO task_run (task_id, started_at, finished_at, success) "
        "SELECT %s, now(), now(), true FROM generate_series(1, %s)",
        (TASK, count),
    )


@contextlib.contextmanager
def stopped(server: PostgresServer | RedisServer) -> Iterator[None]:
    server.stop(keep=True)
    try:
        yield
    finally:
        server.start()


@contextlib.contextmanager
def hung(server: PostgresServer | RedisServer) -> Iterator[None]:
    process = psutil.Process(server.process.pid)
    stopped = [process, *process.children()]
    for each in stopped:
        each.suspend()
    try:
        yield
    finally:
        for each in stopped:
            each.resume()


@contextlib.contextmanager
def out_of_connections(system: System, database: str) -> Iterator[None]:
    """Another client of the same user takes all there are, that of the collectors too, also where they connect anew."""
    url = system.url(database)
    ours = "FROM pg_stat_activity WHERE application_name = 'ordinaut-observability'"
    with contextlib.ExitStack() as taken:
        client = taken.enter_context(psycopg.connect(url, autocommit=True))
        ended = 1
        while ended:
            with contextlib.suppress(psycopg.OperationalError):
                while True:
                    taken.enter_context(psycopg.connect(url))
            ((ended,),) = client.execute(f"SELECT count(pg_terminate_backend(pid)) {ours}").fetchall()
        yield


@contextlib.contextmanager
def sql(system: System, database: str, before: str, after: str) -> Iterator[None]:
    system.sql(before, database)
    yield
    system.sql(after, database)


FAULTS = {
    "postgres stopped": (lambda system, _: stopped(system.postgres), "database", "unreachable", "unhealthy"),
    "postgres hung": (lambda system, _: hung(system.postgres), "database", "timeout", "unhealthy"),
    "no connection left": (out_of_connections, "database", "too_many_connections", "degraded"),
    "no table": (
        lambda *where: sql(*where, "ALTER TABLE due_work RENAME TO x", "ALTER TABLE x RENAME TO due_work"),
        *("queue", "missing_table", "degraded"),
    ),
    "no permission": (
        lambda *where: sql(*where, "REVOKE SELECT ON due_work FROM app", "GRANT SELECT ON due_work TO app"),
        *("queue", "no_permission", "degraded"),
    ),
    "redis hung": (lambda system, _: hung(system.redis), "redis", "timeout", "unhealthy"),
    "redis stopped": (lambda system, _: stopped(system.redis), "redis", "unreachable", "unhealthy"),
}


class TestFaults:
    @pytest.mark.parametrize("name", FAULTS)
    def test_a_fault_is_seen_by_its_reason_and_is_over_by_itself(
        self, system: System, lasting: tuple[str, Host], eventually: Any, name: str
    ) -> None:
        """The host answers as before all the time, and so do we."""
        (database, host), (fault, collector, reason, status) = lasting, FAULTS[name]
        expected = host.answers()
        seconds: dict[str, list[float]] = {"/metrics": [], "/health/live": [], "/health": []}

        def watch(until: Callable[[], bool], timeout_seconds: float) -> bool:
            deadline, asked = time.monotonic() + timeout_seconds, 0
            while not (done := until()) or asked < 15:
                assert host.answers() == expected
                for path, taken in seconds.items():
                    taken.append(host.seconds(path))
                asked += 1
                if time.monotonic() > deadline:
                    return done
            return True

        def is_seen() -> bool:
            return host.value(ERRORS, f'"{collector}"', f'"{reason}"') > 0 and host.check(collector)["status"] == status

        with fault(system, database):
            assert watch(is_seen, 12), (host.check(collector), host.page())
            if collector == "queue":
                assert host.check("database")["status"] == "healthy"
            if collector != "redis":
                assert NO_WORK_WAITS not in host.page()
        assert watch(host.is_well, 8), [host.check(each) for each in ("database", "redis", "relay", "queue")]
        for path, taken in seconds.items():
            assert statistics.median(taken) < 0.5, path  # whoever asked a server that hangs would wait for a second
            assert max(taken) < 1.0, path
        # Nothing is lost; where Redis comes back empty, counters begin at zero and go on exactly.
        asked, requests = host.tools_asked, ("orchestrator_http_requests_total", 'endpoint="/tools"')
        shown = host.value(*requests)
        assert shown == asked or (name == "redis stopped" and shown < asked)
        host.answers()
        assert eventually(lambda: host.value(*requests) == shown + host.tools_asked - asked)
        assert "Traceback" not in host.child.err
        allowed = host.value(INTERNAL, "collector_checkpoint") if collector == "redis" else 0
        assert host.value(INTERNAL) == allowed, [line for line in host.page().splitlines() if INTERNAL in line]

    def test_it_ends_within_seconds_although_postgres_hangs(self, system: System, lasting: tuple[str, Host]) -> None:
        """The last one: its host is gone."""
        _, host = lasting
        with hung(system.postgres):
            time.sleep(1.2)
            begun = time.monotonic()
            host.child.end(signal.SIGTERM)
            assert time.monotonic() - begun < 15
        assert "Traceback" not in host.child.err


def test_three_processes_show_the_cluster_once(
    start_hosts: Any, environ: dict[str, str], rows: psycopg.Connection[Any], eventually: Any
) -> None:
    """Killing the leader, twice: the next goes on where the counts stand."""
    rows.execute("INSERT INTO due_work (task_id, run_at) SELECT %s, now() FROM generate_series(1, 4)", (TASK,))
    rows.execute("INSERT INTO worker_heartbeat (worker_id, processed_count) VALUES ('w1', 7)")
    add_runs(rows, 5)
    hosts = start_hosts(environ, 3)
    inserted, audited = 0, 0

    def show(number: float, name: str, *having: str) -> bool:
        return eventually(lambda: all(host.value(name, *having) == number for host in hosts))

    while hosts:
        for _ in range(10):
            add_runs(rows)
            rows.execute("INSERT INTO audit_log (action) VALUES ('task.created')")
            inserted, audited = inserted + 1, audited + 1
            for host in hosts:
                assert host.value(RUNS) <= inserted
        for number, name in (
            (inserted, RUNS),
            (audited, "orchestrator_audit_actions_total"),
            (4, "orchestrator_queue_depth"),
            (1, "orchestrator_active_workers"),
            (1, "ordinaut_observability_collector_leader"),
        ):
            assert show(number, name), (name, number, [host.value(name) for host in hosts])
        assert eventually(lambda: [host.leads() for host in hosts].count(True) == 1)
        leader = next(host for host in hosts if host.leads())
        leader.child.process.kill()
        hosts.remove(leader)
        add_runs(rows, 3)
        inserted += 3
    assert inserted == 39


def test_alone_and_without_redis_counts_survive_the_database(
    system: System, start_hosts: Any, environ: dict[str, str], database: str, eventually: Any
) -> None:
    del environ["REDIS_URL"]
    (host,) = start_hosts(environ)
    url = system.postgres.url(database)
    for total in (3, 6):
        with psycopg.connect(url, autocommit=True) as rows:
            for _ in range(3):
                add_runs(rows)
                time.sleep(0.2)
        assert eventually(lambda total=total: host.value(RUNS) == total), host.value(RUNS)
        if total == 3:
            with stopped(system.postgres):
                assert eventually(lambda: host.check("database")["status"] == "unhealthy")
                assert host.value(RUNS) == 3
            assert eventually(lambda: host.check("database")["status"] == "healthy")
    assert host.value(INTERNAL) == 0


@pytest.fixture
def start_worker(system: System, database: str, start_child: Any, environ: dict[str, str]) -> Iterator[Any]:
    with contextlib.ExitStack() as stack:

        def run(*lengths: float) -> Any:
            url = system.postgres.url(database)
            child = start_child("-c", WORKER, url, str(TASK), *map(str, lengths), environ=environ)
            stack.callback(child.clean_up)
            return child

        yield run


def finish(worker: Any, number: int, eventually: Any) -> None:
    assert eventually(lambda: worker.out.count("done") >= number, 20), worker.err


def expect_runs(hosts: list[Host], number: int, eventually: Any) -> None:
    """Exactly so many by either source, also after another round of the collectors."""
    for name in (RUNS, REPORTED_RUNS):
        assert eventually(lambda name=name: all(host.value(name) >= number for host in hosts)), (
            name,
            [host.value(name) for host in hosts],
        )
    time.sleep(1.2)
    for name in (RUNS, REPORTED_RUNS):
        assert [host.value(name) for host in hosts] == [number] * len(hosts)


def test_runs_have_two_sources_that_agree(
    start_hosts: Any, environ: dict[str, str], start_worker: Any, eventually: Any
) -> None:
    """What workers report, and what the rows say; also of those while no process serves."""
    (before,) = start_hosts(environ)
    worker = start_worker(1.2, *[0.1] * 15)
    finish(worker, 6, eventually)
    before.child.end(signal.SIGTERM)
    finish(worker, 16, eventually)
    (host,) = start_hosts(environ)
    expect_runs([host], 16, eventually)


def test_runs_while_the_store_is_away_are_counted_once(
    system: System, start_hosts: Any, environ: dict[str, str], start_worker: Any, eventually: Any
) -> None:
    """Two processes, which then leave counts out of what they show. The store hangs, and keeps what it has."""
    hosts = start_hosts(environ, 2)
    worker = start_worker(1.2, *[0.2] * 10)
    finish(worker, 1, eventually)
    with hung(system.redis):
        finish(worker, 11, eventually)
    expect_runs(hosts, 11, eventually)
