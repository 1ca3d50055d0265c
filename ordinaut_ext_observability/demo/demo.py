"""`demo`: a whole Ordinaut in small, on real servers, with work and traffic that make every series live."""

from __future__ import annotations

import contextlib
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from importlib import resources
from types import FrameType

import typer

from ordinaut_ext_observability.background.clock import monotonic_seconds
from ordinaut_ext_observability.cli.announcement import Service, made_token
from ordinaut_ext_observability.cli.http_client import NoAnswerError, ask
from ordinaut_ext_observability.cli.listening import Listener, listen
from ordinaut_ext_observability.demo.announcement import announcement, open_in_browser
from ordinaut_ext_observability.demo.processes import Processes
from ordinaut_ext_observability.demo.programs import check_temporary_folder
from ordinaut_ext_observability.demo.servers import MissingServerError, PostgresServer, RedisServer, ServerError
from ordinaut_ext_observability.demo.workload import initial_rows
from ordinaut_ext_observability.errors import AddressInUseError
from ordinaut_ext_observability.manifest import MOUNT_PATH

BROKE_DOWN = 1
CANNOT_START = 2

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

    def __init__(self, listener: Listener, seed: int, *, open_browser: bool) -> None:
        self._listener = listener
        self._seed = ("--seed", str(seed))
        self._open_browser = open_browser
        self._interrupted = False

    def interrupt(self, _number: int, _frame: FrameType | None) -> None:
        """Take note of a signal. What is under way comes to its end: nothing is started that is not known."""
        self._interrupted = True

    def run(self) -> int:
        """Start all, wait for the end, stop all; the exit status of the command."""
        try:
            with contextlib.ExitStack() as stack:
                self._start_servers(stack)
                service = Service(self._listener.url, made_token())
                environ = {"DATABASE_URL": self._postgres.url(), "REDIS_URL": self._redis.url}
                self._start_processes(service, environ)
                self._wait_until_ready()
                client = ("client", "traffic", "--url", service.url, *self._seed)
                self._processes.start(*client, environ=environ)
                _say("\n".join(announcement(service, environ, self._processes.log_folder)))
                if self._open_browser:
                    open_in_browser(service)
                self._watch()
        except MissingServerError as error:
            _say(str(error))
            return CANNOT_START
        except _Interrupted:
            status = 0
        except (ServerError, _BrokenError, OSError) as error:
            status = 0 if self._interrupted else BROKE_DOWN  # the terminal's signal reached a helper, too
            if not self._interrupted:
                _say(str(error))
        _say("Stopped; nothing is left.")
        return status

    def _start_servers(self, stack: contextlib.ExitStack) -> None:
        _say("Starting PostgreSQL…")
        check_temporary_folder()
        self._postgres = PostgresServer()
        stack.callback(self._postgres.stop)
        self._redis = RedisServer()
        stack.callback(self._redis.stop)
        self._processes = Processes()
        stack.callback(self._end)
        for folder in (self._postgres.folder, self._redis.folder):
            self._processes.note_folder(folder)
        self._postgres.start()
        self._processes.note_server("PostgreSQL", self._postgres.process)
        self._check()
        _say("Starting Redis…")
        self._redis.start()
        self._processes.note_server("Redis", self._redis.process)
        schema = resources.files(__package__) / "schema.sql"
        self._postgres.run_sql(schema.read_text(encoding="utf-8"))
        self._postgres.run_sql(initial_rows(datetime.now(UTC)))
        self._check()

    def _end(self) -> None:
        """Clients before servers, and the keeper last."""
        self._processes.stop()
        self._redis.stop()
        self._postgres.stop()
        self._processes.close()

    def _start_processes(self, service: Service, environ: Mapping[str, str]) -> None:
        _say("Starting the host, a scheduler, three workers and a client…")
        start = self._processes.start
        descriptor = self._listener.socket.fileno()
        with self._listener.socket:
            start(
                *("host", "api", "--fd", str(descriptor)),
                environ={**environ, "ORDINAUT_OBS_OPERATOR_TOKEN": service.shown_token},
                pass_fds=[descriptor],
            )
        start("scheduler", "scheduler", environ=environ)
        for name in ("worker-1", "worker-2"):
            start(name, "worker", *self._seed, environ=environ)
        # So slow that it is killed while it holds a lease.
        self._victim = start("worker-3", "worker", *self._seed, "--slowness", "40", environ=environ)

    def _wait_until_ready(self) -> None:
        deadline = monotonic_seconds() + _START_SECONDS
        while monotonic_seconds() < deadline:
            self._check()
            with contextlib.suppress(NoAnswerError):
                if ask(f"{self._listener.url}{MOUNT_PATH}/health/startup", timeout_seconds=1.0).status_code == 200:
                    return
            time.sleep(_POLL_SECONDS)
        raise _BrokenError(f"The host does not answer.\n{self._processes.log_tail('host')}")

    def _watch(self) -> None:
        """Until the user ends it or a part breaks down. One worker is killed on the way."""
        kill_at = monotonic_seconds() + _KILL_AFTER_SECONDS
        trim_at = kill_at
        while True:
            self._check()
            now = monotonic_seconds()
            if now >= kill_at:
                kill_at = float("inf")
                self._processes.forget("worker-3")
                self._victim.kill()
                _say("worker-3 was killed at work, as planned: its lease now runs out.")
            if now >= trim_at:
                trim_at = now + _TRIM_EVERY_SECONDS
                self._processes.trim_logs()
            time.sleep(_POLL_SECONDS)

    def _check(self) -> None:
        """
        Raises:
            _Interrupted: the user wants it to end.
            _BrokenError: something has ended.
        """
        if self._interrupted:
            _say("\nStopping…")
            raise _Interrupted
        name = self._processes.ended()
        if name is not None:
            raise _BrokenError(f"The demo is over: {name} has ended.\n{self._processes.log_tail(name)}")


def run_demo(host: str, port: int, *, seed: int, open_browser: bool) -> int:
    """Run the demo until it is interrupted; the exit status of the command."""
    try:
        listener = listen(host, port)
    except AddressInUseError as error:
        _say(str(error))
        return CANNOT_START
    demo = Demo(listener, seed, open_browser=open_browser)
    with listener.socket, _handling(demo.interrupt):
        return demo.run()


def _say(text: str) -> None:
    with contextlib.suppress(OSError):  # nobody may read any more
        typer.echo(text)


@contextlib.contextmanager
def _handling(handler: Callable[[int, FrameType | None], None]) -> Iterator[None]:
    """Have the signals that end a command handled; under nohup not the one of a closed terminal."""
    handled = [number for number in _SIGNALS if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN]
    before = {number: signal.signal(number, handler) for number in handled}
    try:
        yield
    finally:
        for number, previous in before.items():
            signal.signal(number, previous)
