"""What these tests share: metrics of database clients as plain numbers, processes that serve, silent servers."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ordinaut_ext_observability.background.clock import Clock, monotonic_seconds
from ordinaut_ext_observability.db.definitions import DatabaseMetrics
from ordinaut_ext_observability.health.monitor import HealthMonitor
from ordinaut_ext_observability.metrics.declarations import Metrics
from ordinaut_ext_observability.metrics.registry import Registry
from ordinaut_ext_observability.runtime.collectors import Collectors
from ordinaut_ext_observability.runtime.relay import MergedProcesses
from ordinaut_ext_observability.background.daemon_threads import STOP_SECONDS
from ordinaut_ext_observability.settings.load import load_settings

SECRET = "s3cr3t-argument"
"""An argument of statements, which must not show in any metric."""


class Measured:
    """Metrics of a test, read as plain numbers."""

    def __init__(self) -> None:
        self.metrics = Metrics(Registry())
        self.database = DatabaseMetrics(self.metrics)

    def statements(self) -> dict[tuple[str, ...], int]:
        return {child.label_values: sum(child.counts) for child in self.database.query_seconds.children()}

    def seconds(self, operation: str, table: str) -> float:
        return self.database.query_seconds.labels(operation, table).sum

    def errors(self) -> dict[tuple[str, ...], float]:
        return {child.label_values: child.value for child in self.database.query_errors.children()}

    def transactions(self) -> tuple[float, float]:
        """Commits and rollbacks."""
        return self.database.transactions.labels("commit").value, self.database.transactions.labels("rollback").value

    def pools(self) -> dict[tuple[str, ...], float]:
        self.metrics.registry.refresh()
        return {child.label_values: child.value for child in self.metrics.database_connections.children()}

    def internal_errors(self) -> float:
        return self.metrics.internal_errors.labels("database").value

    def rendered(self) -> str:
        return "".join(self.metrics.registry.pieces(openmetrics=False))


@pytest.fixture
def measured() -> Iterator[Measured]:
    measured = Measured()
    yield measured
    assert SECRET not in measured.rendered()


@pytest.fixture
def other_measured() -> Measured:
    """Metrics beside the first."""
    return Measured()


class ServingProcess:
    """What a process has that serves: its own registry, relay and collectors, and its checks."""

    def __init__(self) -> None:
        settings, metrics, clock = load_settings(), Metrics(Registry()), Clock()
        self.monitor = HealthMonitor()
        self.merged = MergedProcesses(settings, metrics, clock, self.monitor, lambda *_, **__: None)
        self.collectors = Collectors(settings, metrics, clock, self.monitor, self.merged, lambda *_, **__: None)
        self.collectors.start(serves=True)
        self.merged.start(serves=True)

    def stop(self) -> None:
        for part in (self.collectors, self.merged):
            part.stop(monotonic_seconds() + STOP_SECONDS)

    @property
    def leads(self) -> bool:
        return self.collectors.states is not None and self.collectors.states.leads

    def states(self) -> dict[str, str]:
        """The result that each check gives now."""
        results = asyncio.run(self.monitor.run_all_checks())
        return {name: result.status.value if result.known else "unknown" for name, result in results.items()}

    def led(self) -> set[str]:
        states = self.states()
        return {states[name] for name in ("queue", "workers", "scheduler")}

    def message(self, name: str) -> str:
        return asyncio.run(self.monitor.run_all_checks())[name].message


@pytest.fixture
def start_process(clean_process: pytest.MonkeyPatch) -> Iterator[Callable[..., ServingProcess]]:
    with contextlib.ExitStack() as stack:

        def run(database_url: str, redis_url: str | None = None) -> ServingProcess:
            clean_process.setenv("ORDINAUT_OBS_COLLECTOR_INTERVAL_SECONDS", "1")
            clean_process.setenv("ORDINAUT_OBS_RELAY_INTERVAL_SECONDS", "0.2")
            clean_process.setenv("DATABASE_URL", database_url)
            if redis_url is not None:
                clean_process.setenv("REDIS_URL", redis_url)
                clean_process.delenv("ORDINAUT_OBS_STORE", raising=False)
            process = ServingProcess()
            stack.callback(process.stop)
            return process

        yield run


_RESOLVER = "127.0.0.77"
"""An address of the loopback network that nobody else listens on."""


class SilentServer:
    """Takes connections on a free port of the loopback interface and never answers."""

    def __init__(self) -> None:
        self.asked = threading.Event()
        """Set once somebody has sent something, and waits."""
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._kept: list[socket.socket] = []
        threading.Thread(target=self._take, daemon=True).start()

    def _take(self) -> None:
        with contextlib.suppress(OSError):  # closed
            while True:
                connection, _ = self._listener.accept()
                self._kept.append(connection)
                self.asked.set()

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        for open_ in (self._listener, *self._kept):
            open_.close()


class SilentResolver:
    """The only name server of the commands started through it, which answers no question."""

    def __init__(self, folder: Path) -> None:
        self.asked = threading.Event()
        self._file = folder / "resolv.conf"
        self._file.write_text(f"nameserver {_RESOLVER}\noptions timeout:30\n")
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind((_RESOLVER, 53))
        self._socket.settimeout(0.05)  # a socket that somebody waits on is not closed
        self._thread = threading.Thread(target=self._take, daemon=True)
        self._thread.start()

    def _take(self) -> None:
        with contextlib.suppress(OSError):  # closed
            while True:
                with contextlib.suppress(TimeoutError):
                    self._socket.recv(4096)
                    self.asked.set()

    def around(self, command: list[str]) -> list[str]:
        """The command in a file system of its own, where nothing but the resolver is another."""
        return [
            "unshare",
            "-m",
            "sh",
            "-c",
            'mount --bind "$0" /etc/resolv.conf && exec "$@"',
            str(self._file),
            *command,
        ]

    def close(self) -> None:
        self._socket.close()
        self._thread.join()


@pytest.fixture
def silent_server() -> Iterator[Callable[[], SilentServer]]:
    """Makes servers that take connections and never answer."""
    with contextlib.ExitStack() as stack:

        def make() -> SilentServer:
            server = SilentServer()
            stack.callback(server.close)
            return server

        yield make


@pytest.fixture
def silent_resolver(tmp_path: Path) -> Iterator[SilentResolver]:
    """A resolver that hangs; the test is skipped where none may be made, and fails in CI."""
    program = shutil.which("unshare")
    if program is None or subprocess.run([program, "-m", "true"], check=False, capture_output=True).returncode != 0:
        reason = "another resolver for a command needs unshare, and root"
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)
    resolver = SilentResolver(tmp_path)
    yield resolver
    resolver.close()
