"""`demo`: a whole Ordinaut in small, on real servers, with work and traffic that make every series live."""

from __future__ import annotations

import contextlib
import signal
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from importlib import resources
from types import FrameType

import httpx
import typer

from ordinaut_ext_observability.background.clock import monotonic_seconds
from ordinaut_ext_observability.demo.announcement import Service, announcement, made_token, open_in_browser
from ordinaut_ext_observability.demo.listening import Listener, listen
from ordinaut_ext_observability.demo.processes import Processes
from ordinaut_ext_observability.demo.programs import (
    ServerError,
    check_temporary_folder,
    postgres_program,
    redis_program,
)
from ordinaut_ext_observability.demo.servers import PostgresServer, RedisServer
from ordinaut_ext_observability.demo.workload import initial_rows

BROKE_DOWN = 1

_START_SECONDS = 30.0
_POLL_SECONDS = 0.1
_KILL_AFTER_SECONDS = 20.0
_TRIM_EVERY_SECONDS = 60.0
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class _Interrupted(Exception):  # noqa: N818 - a wish, not an error
    """The user wants it to end."""


class _BrokenError(Exception):
    """A part ended, or never came up."""


class Demo:
    """Everything that runs, from its start to its end."""

    def __init__(self, processes: Processes, signals: list[int], seed: int) -> None:
        """`signals` grows by those that want it to end."""
        self._processes = processes
        self._signals = signals
        self._seed = str(seed)

    def run(self, listener: Listener, *, open_browser: bool) -> None:
        """Start all, and watch it.

        Raises:
            _Interrupted: the user wants it to end.
            _BrokenError, ServerError: something has ended, or never came up.
        """
        environ = self._start_servers()
        service = Service(listener.url, made_token())
        _say("Starting the host, a scheduler, three workers and a client…")
        with listener.socket:
            descriptor = listener.socket.fileno()
            of_host = {**environ, "ORDINAUT_OBS_OPERATOR_TOKEN": str(service.token)}
            self._processes.start("host", "api", str(descriptor), environ=of_host, pass_fds=[descriptor])
        self._start_processes(environ)
        self._wait_until_ready(f"{service.mount_url}/health/startup")
        self._processes.start("client", "traffic", service.url, self._seed, environ=environ)
        _say(
            announcement(
                service,
                "\nA whole Ordinaut in small is running. Ctrl-C stops it.",
                commands=[f"db --url \\\n    {environ['DATABASE_URL']}"],
            )
        )
        _say(f"Redis: {environ['REDIS_URL']}\nLogs:  {self._processes.log_folder}/*.log\n")
        if open_browser:
            open_in_browser(service)
        self._watch()

    def _start_servers(self) -> dict[str, str]:
        """Start them; the variables with which they are found."""
        postgres = PostgresServer()
        self._processes.start_server("PostgreSQL", postgres)
        self._check()
        _say("Starting Redis…")
        redis = RedisServer()
        self._processes.start_server("Redis", redis)
        schema = resources.files(__package__) / "schema.sql"
        postgres.run_sql(schema.read_text(encoding="utf-8"))
        postgres.run_sql(initial_rows(datetime.now(UTC)))
        self._check()
        return {"DATABASE_URL": postgres.url(), "REDIS_URL": redis.url}

    def _start_processes(self, environ: dict[str, str]) -> None:
        self._processes.start("scheduler", "scheduler", environ=environ)
        # The last one is so slow that it is killed while it holds a lease.
        for name, slowness in {"worker-1": "1", "worker-2": "1", "worker-3": "40"}.items():
            self._processes.start(name, "worker", self._seed, slowness, environ=environ)

    def _wait_until_ready(self, url: str) -> None:
        deadline = monotonic_seconds() + _START_SECONDS
        with httpx.Client(timeout=1.0, trust_env=False, verify=False) as client:  # noqa: S501 - no TLS
            while monotonic_seconds() < deadline:
                self._check()
                with contextlib.suppress(httpx.HTTPError):
                    if client.get(url).status_code == 200:
                        return
                time.sleep(_POLL_SECONDS)
        raise _BrokenError(f"The host does not answer.\n{self._processes.log_tail('host')}")

    def _watch(self) -> None:
        """Wait until the user ends it or a part breaks down. One worker is killed on the way."""
        kill_at = trim_at = monotonic_seconds() + _KILL_AFTER_SECONDS
        while True:
            self._check()
            now = monotonic_seconds()
            if now >= kill_at:
                kill_at = float("inf")
                self._processes.kill("worker-3")
                _say("worker-3 was killed at work, as planned: its lease now runs out.")
            if now >= trim_at:
                trim_at = now + _TRIM_EVERY_SECONDS
                self._processes.trim_logs()
            time.sleep(_POLL_SECONDS)

    def _check(self) -> None:
        """Raise where the user wants it to end, or something has ended."""
        if self._signals:
            _say("\nStopping…")
            raise _Interrupted
        name = self._processes.ended()
        if name is not None:
            raise _BrokenError(f"The demo is over: {name} has ended.\n{self._processes.log_tail(name)}")


def run_demo(host: str, port: int, *, seed: int, open_browser: bool) -> int:
    """Run the demo until it is interrupted; the exit status of the command.

    Raises:
        AddressInUseError, MissingServerError: it cannot begin.
    """
    status = 0
    listener = listen(host, port)
    with listener.socket, _noted_signals() as signals:
        _say("Starting PostgreSQL…")
        postgres_program()
        redis_program()
        try:
            check_temporary_folder()
            with contextlib.closing(Processes()) as processes:
                Demo(processes, signals, seed).run(listener, open_browser=open_browser)
        except _Interrupted:
            pass
        except (ServerError, _BrokenError, OSError) as error:
            if not signals:  # else the terminal's signal reached a helper, too
                _say(str(error))
                status = BROKE_DOWN
        _say("Stopped; nothing is left.")
    return status


def _say(text: str) -> None:
    with contextlib.suppress(OSError):  # nobody may read any more
        typer.echo(text)


@contextlib.contextmanager
def _noted_signals() -> Iterator[list[int]]:
    """Collect the signals that end a command; under nohup not the one of a closed terminal.

    What is under way comes to its end: nothing is started that is not known.
    """
    noted: list[int] = []

    def note(number: int, _: FrameType | None) -> None:
        noted.append(number)

    handled = [number for number in _SIGNALS if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN]
    before = {number: signal.signal(number, note) for number in handled}
    try:
        yield noted
    finally:
        for number, previous in before.items():
            signal.signal(number, previous)
