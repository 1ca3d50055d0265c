"""What the tests on sockets need: applications on a real uvicorn, child processes, and a process without our leftovers.

An application is served in a thread of this process, so that a test can look at its runtime; what has to be a process
of its own (a host's command line, signals) is a child.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Coroutine, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

import pytest

from tests.browser import browser, open_tab  # noqa: F401 - fixtures
from tests.client_model import ClientModel
from tests.http_receiver import HttpReceiver
from tests.otlp import no_tracer_provider, otlp_receiver  # noqa: F401 - fixtures
from ordinaut_ext_observability.demo import servers
from ordinaut_ext_observability.demo.servers import PostgresServer, RedisServer, ServerError

TIMEOUT_SECONDS = 30.0
"""Longest wait for something that is bound to happen; only a failing test waits this long."""

MOUNT_PATH = "/ext/observability"
# Tests start hundreds of processes: without it each would compile every module anew.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

PREFIX = "ORDINAUT_OBS_"
STORE = "ORDINAUT_OBS_STORE"
OF_THE_HOST = ("ENVIRONMENT", "VERSION", "DATABASE_URL", "REDIS_URL")


def pytest_configure(config: pytest.Config) -> None:
    """The host's pinned Starlette does not close the streams of its BaseHTTPMiddleware when a request fails."""
    config.addinivalue_line("filterwarnings", "ignore:Unclosed <MemoryObject:ResourceWarning")


@pytest.fixture(autouse=True, scope="session")
def _state_of_the_tests(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """No test writes into the home of whoever runs it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_STATE_HOME", str(tmp_path_factory.mktemp("state")))
        yield


@pytest.fixture(autouse=True)
def _state_of_the_test(
    _state_of_the_tests: None, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A store of its own for each test: child processes share what is in this directory, this process with nobody."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path_factory.mktemp("state")))
    monkeypatch.setenv(STORE, "memory")


def eventually(check: Callable[[], bool], timeout_seconds: float = TIMEOUT_SECONDS) -> bool:
    """Whether the check comes true in time."""
    deadline = time.monotonic() + timeout_seconds
    while not check():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.005)
    return True


def free_port() -> int:
    """A port of the loopback interface that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def exchange_raw(port: int, request: bytes) -> bytes:
    """All that a server answers to these bytes until it closes the connection."""
    with socket.create_connection(("127.0.0.1", port), TIMEOUT_SECONDS) as connection:
        connection.sendall(request)
        answer = b""
        while received := connection.recv(65536):
            answer += received
    return answer


class LogFile:
    """Where a log writer's lines go instead of stderr."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.file_descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def all_lines(self) -> list[dict[str, Any]]:
        """Every complete line so far; each must be a JSON object."""
        # Not splitlines(): to it, characters inside a line are line breaks too.
        *whole, _ = self.path.read_text().split("\n")
        return [json.loads(line) for line in whole]

    def lines(self, count: int = 1, **fields: Any) -> list[dict[str, Any]]:
        """The lines with these fields, once there are at least `count` of them."""

        def found() -> list[dict[str, Any]]:
            return [line for line in self.all_lines() if fields.items() <= line.items()]

        assert eventually(lambda: len(found()) >= count), f"no {count} lines with {fields} among {self.all_lines()}"
        return found()

    def line(self, **fields: Any) -> dict[str, Any]:
        """The only line with these fields."""
        (line,) = self.lines(1, **fields)
        return line


def _prompt_server(config: Any) -> Any:
    """A uvicorn that starts and stops as always, without the tenths of a second it sleeps meanwhile."""
    import uvicorn

    class PromptServer(uvicorn.Server):
        async def main_loop(self) -> None:
            await self.on_tick(0)
            while not self.should_exit:
                await asyncio.sleep(0.005)

        async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
            for server in self.servers:
                server.close()
            for connection in list(self.server_state.connections):
                connection.shutdown()
            for _ in range(10):
                if not self.server_state.connections and not self.server_state.tasks:
                    break
                await asyncio.sleep(0.002)
            else:
                await super().shutdown(sockets)
                return
            for listener in sockets or []:
                listener.close()
            await self.lifespan.shutdown()

    return PromptServer(config)


class ServedApp:
    """An application on a uvicorn of its own, in a thread."""

    def __init__(self, app: Any, face: Any, log: LogFile | None, options: Mapping[str, Any]) -> None:
        import httpx
        import uvicorn

        self.app = app
        self.face = face
        self.runtime = face._runtime if face is not None else None
        self.log = log
        # The protocol is named, since asyncio sets TCP_NODELAY only then: else each answer takes another 40 ms.
        self._listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        self._listener.bind(("127.0.0.1", 0))
        self._listener.listen(2048)
        self.port: int = self._listener.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        # No connection is used twice: uvicorn closes that of a failed request while the next one may be on its way.
        # Nothing is verified, since reading the certificates would take longer than most tests.
        self.client = httpx.Client(
            base_url=self.url,
            timeout=TIMEOUT_SECONDS,
            trust_env=False,
            verify=False,
            limits=httpx.Limits(max_keepalive_connections=0),
        )
        try:
            self._server = _prompt_server(
                uvicorn.Config(
                    app,
                    log_config=None,
                    access_log=False,
                    **{"lifespan": "on", "timeout_graceful_shutdown": 1, **options},
                )
            )
            self._thread = threading.Thread(target=self._run, name="server under test", daemon=True)
            self._thread.start()
            assert eventually(lambda: self._server.started or not self._thread.is_alive())
            assert self._server.started, "the server did not start"
        except BaseException:
            self.client.close()
            self._listener.close()
            raise

    def _run(self) -> None:
        async def serve() -> None:
            self.loop = asyncio.get_running_loop()
            await self._server.serve(sockets=[self._listener])

        with contextlib.suppress(SystemExit):  # which a newer uvicorn raises when it cannot start
            asyncio.run(serve())

    def get(self, path: str, **options: Any) -> Any:
        return self.client.get(path, **options)

    def post(self, path: str, **options: Any) -> Any:
        return self.client.post(path, **options)

    def raw(self, request: bytes) -> bytes:
        """The server's answer, byte for byte; ask it to close the connection."""
        return exchange_raw(self.port, request)

    def on_loop(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        """What the coroutine returns, run on the server's event loop."""
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop).result(TIMEOUT_SECONDS)

    def samples(self, name: str) -> list[tuple[dict[str, str], float]]:
        """The samples of this name, each with its labels."""
        return [
            (dict(sample.labels), sample.value)
            for metric in ClientModel(self.runtime.metrics.registry).collect()
            for sample in metric.samples
            if sample.name == name
        ]

    def value(self, name: str, **labels: str) -> float:
        """The sum of all samples of this name with these labels."""
        return sum(value for held, value in self.samples(name) if labels.items() <= held.items())

    def expect(self, name: str, value: float, **labels: str) -> None:
        """Wait until the samples add up to this value."""
        assert eventually(lambda: self.value(name, **labels) == value), (
            f"{name}{labels} is {self.value(name, **labels)}, not {value}: {self.samples(name)}"
        )

    def requests(self) -> dict[tuple[str, str, str], float]:
        """Requests counted, by method, endpoint and status."""
        return {
            (labels["method"], labels["endpoint"], labels["status_code"]): value
            for labels, value in self.samples("orchestrator_http_requests_total")
        }

    def expect_requests(self, expected: Mapping[tuple[str, str, str], float]) -> None:
        """Wait until exactly these requests are counted."""
        assert eventually(lambda: self.requests() == expected), f"{self.requests()} is not {expected}"

    def internal_errors(self) -> dict[str, float]:
        """Our own failures, by component."""
        return {
            labels["component"]: value for labels, value in self.samples("ordinaut_observability_internal_errors_total")
        }

    def stop(self) -> None:
        """End the server as a signal would, and wait for it."""
        self.client.close()
        self._server.should_exit = True
        self._thread.join(TIMEOUT_SECONDS)
        assert not self._thread.is_alive(), "the server did not stop"
        self._listener.close()


@pytest.fixture
def clean_process(monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    """No settings in the environment and no runtime of an earlier test; the runtime made meanwhile is stopped."""
    from ordinaut_ext_observability.runtime import current

    for variable in os.environ:
        if variable.startswith("ORDINAUT_") or variable in OF_THE_HOST:
            monkeypatch.delenv(variable)
    monkeypatch.setenv(STORE, "memory")
    monkeypatch.setattr(current, "_current", None)
    yield monkeypatch
    if current._current is not None:
        current._current.stop()


@pytest.fixture
def set_up(clean_process: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Callable[..., tuple[Any, LogFile | None]]]:
    """Sets up the extension in an application, with settings given by their names without the prefix."""
    from ordinaut_ext_observability.extension import ObservabilityExtension
    from ordinaut_ext_observability.logs.destination import Destination

    with contextlib.ExitStack() as stack:

        def run(app: Any, **settings: str) -> tuple[Any, LogFile | None]:
            if "REDIS_URL" in settings:
                clean_process.delenv(STORE)
            for name, value in settings.items():
                clean_process.setenv(name if name in OF_THE_HOST else f"{PREFIX}{name}", value)
            router = ObservabilityExtension().setup(app=app, mount_path=MOUNT_PATH)
            if router is None:
                return None, None
            app.include_router(router, prefix=MOUNT_PATH)
            face = app.state.ordinaut_observability
            log = LogFile(tmp_path / f"log-{len(list(tmp_path.iterdir()))}")
            stack.callback(os.close, log.file_descriptor)
            stack.callback(face._runtime.stop)
            face._runtime.logs.writer._destination = Destination(log.file_descriptor)
            return face, log

        yield run


@pytest.fixture
def serve(set_up: Callable[..., tuple[Any, LogFile | None]]) -> Iterator[Callable[..., ServedApp]]:
    """Serves an application with the extension set up in it; `options` are uvicorn's."""
    with contextlib.ExitStack() as stack:

        def run(app: Any, options: Mapping[str, Any] | None = None, **settings: str) -> ServedApp:
            face, log = set_up(app, **settings)
            served = ServedApp(app, face, log, options or {})
            stack.callback(served.stop)
            return served

        yield run


@pytest.fixture
def serve_bare() -> Iterator[Callable[..., ServedApp]]:
    """Serves an application as it is."""
    with contextlib.ExitStack() as stack:

        def run(app: Any, options: Mapping[str, Any] | None = None) -> ServedApp:
            served = ServedApp(app, getattr(app.state, "ordinaut_observability", None), None, options or {})
            stack.callback(served.stop)
            return served

        yield run


class Child:
    """A child process, its output in files."""

    def __init__(self, command: list[str], folder: Path, environ: Mapping[str, str], cwd: Path | None) -> None:
        self._out, self._err = folder / "stdout", folder / "stderr"
        inherited = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("ORDINAUT_", "PYTEST_")) and name not in OF_THE_HOST
        }
        with self._out.open("wb") as out, self._err.open("wb") as err:
            self.process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                cwd=cwd or folder,
                # Each has a working directory of its own, which would name an installation of its own.
                env={**inherited, f"{PREFIX}INSTALLATION": "tests", **environ},
                start_new_session=True,
            )

    @property
    def out(self) -> str:
        return self._out.read_text()

    @property
    def err(self) -> str:
        return self._err.read_text()

    def log_lines(self, **fields: Any) -> list[dict[str, Any]]:
        """The JSON lines on stderr with these fields."""
        lines = [json.loads(line) for line in self.err.splitlines() if line.startswith('{"timestamp"')]
        return [line for line in lines if fields.items() <= line.items()]

    def answers(self, port: int) -> bool:
        """Whether it listens; fails when it has ended instead."""
        assert self.process.poll() is None, f"ended with {self.process.returncode}: {self.out}\n{self.err}"
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1.0):
            return True
        return False

    def wait_for_port(self, port: int) -> None:
        assert eventually(lambda: self.answers(port), 30.0), f"nothing on port {port}: {self.out}\n{self.err}"

    def end(self, number: int = signal.SIGINT) -> int:
        """Send a signal; the exit status."""
        self.process.send_signal(number)
        return self.process.wait(TIMEOUT_SECONDS)

    def clean_up(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)  # its workers too: they would serve on without it
        self.process.wait(TIMEOUT_SECONDS)


@pytest.fixture(scope="module")
def start_child(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Child]]:
    """Starts Python with these arguments; what still runs at the end of the module is killed."""
    children: list[Child] = []

    def run(*arguments: str, environ: Mapping[str, str] | None = None, cwd: Path | None = None) -> Child:
        folder = tmp_path_factory.mktemp("child")
        children.append(Child([sys.executable, *arguments], folder, environ or {}, cwd))
        return children[-1]

    yield run
    for child in children:
        child.clean_up()


@pytest.fixture
def receiver() -> Iterator[HttpReceiver]:
    """A server that takes what is posted to it."""
    made = HttpReceiver()
    yield made
    made.close()


@pytest.fixture(scope="session", name="eventually")
def _eventually() -> Callable[..., bool]:
    return eventually


@pytest.fixture(scope="session", name="free_port")
def _free_port() -> Callable[[], int]:
    return free_port


@pytest.fixture
def run_command(tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Runs `ordinaut-observability` with these arguments and variables, and waits for its end."""
    command = str(Path(sys.executable).with_name("ordinaut-observability"))

    def run(*arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("ORDINAUT_")}
        return subprocess.run(
            [command, *arguments],
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
            cwd=tmp_path,
            env={**inherited, "COLUMNS": "300", **environ},
        )

    return run


@pytest.fixture
def invoke_command() -> Callable[..., subprocess.CompletedProcess[str]]:
    """As `run_command`, in this process: where it is no matter that it is one of its own."""
    from typer.testing import CliRunner

    from ordinaut_ext_observability.cli.main import app

    def run(*arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
        removed = dict.fromkeys(name for name in os.environ if name.startswith("ORDINAUT_"))
        done = CliRunner().invoke(app, arguments, env={**removed, "COLUMNS": "300", **environ})
        if done.exception is not None and not isinstance(done.exception, SystemExit):
            raise done.exception
        return subprocess.CompletedProcess(arguments, done.exit_code, done.stdout, done.stderr)

    return run


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    """A real PostgreSQL whose template database `host` has the host's tables."""
    server = _started(lambda: PostgresServer(trust=True))
    try:
        server.run_sql("CREATE DATABASE host", "postgres")
        server.run_sql((Path(servers.__file__).parent / "schema.sql").read_text(), "host")
        yield server
    finally:
        server.stop()


@pytest.fixture
def database_url(postgres_server: PostgresServer) -> Iterator[str]:
    """A database of its own for one test, with the host's tables."""
    name = f"test_{os.urandom(6).hex()}"
    postgres_server.run_sql(f"CREATE DATABASE {name} TEMPLATE host", "postgres")
    yield postgres_server.url(name)
    postgres_server.run_sql(f"DROP DATABASE {name} WITH (FORCE)", "postgres")


@pytest.fixture(scope="session")
def redis_server() -> Iterator[RedisServer]:
    """A real Redis-protocol server, shared: leave it running."""
    server = _started(RedisServer)
    yield server
    server.stop()


@pytest.fixture
def redis_url(redis_server: RedisServer) -> str:
    """The URL of a server that is empty."""
    import redis

    with redis.Redis.from_url(redis_server.url) as client:
        client.flushall()
    return redis_server.url


ServerT = TypeVar("ServerT", PostgresServer, RedisServer)


def _started(make: Callable[[], ServerT]) -> ServerT:
    """A server from a wheel; without the wheel the test is skipped, in CI it fails."""
    try:
        server = make()
    except ServerError as error:
        if os.environ.get("CI") == "true":
            raise
        pytest.skip(str(error))
    try:
        server.start()
    except BaseException:
        server.stop()
        raise
    return server
