"""A URL means the same to the collectors, to the commands and to the host's own driver."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import subprocess
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import asyncpg
import pytest
from typer.testing import CliRunner

from ordinaut_ext_observability.cli.main import app
from ordinaut_ext_observability.demo import servers
from ordinaut_ext_observability.demo.servers import PostgresServer
from ordinaut_ext_observability.collectors.collector import SystemCollector
from ordinaut_ext_observability.errors import Problem
from ordinaut_ext_observability.postgresql.connection import connect
from tests.collectors import make_collector

SECRET = "hunter2secret"


@pytest.fixture(scope="module")
def read_only_server(postgres_server: PostgresServer) -> Iterator[PostgresServer]:
    """A server whose sessions begin read-only, as those of a replica do, with a socket among its data."""
    del postgres_server  # it says whether there are servers at all
    server = PostgresServer(settings={"unix_socket_directories": "."}, trust=True)
    server.start()
    try:
        server.run_sql("CREATE DATABASE host", "postgres")
        server.run_sql((Path(servers.__file__).parent / "schema.sql").read_text(), "host")
        server.run_sql("ALTER DATABASE host SET default_transaction_read_only = on", "postgres")
        yield server
    finally:
        server.stop()


@pytest.fixture
def silent_port() -> Iterator[int]:
    """A port that takes connections and never answers."""
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        yield int(silent.getsockname()[1])


async def port_of(connecting: object) -> int | None:
    """The server that was connected to, None where there was none."""
    try:
        connection = await connecting  # type: ignore[misc]
    except (OSError, asyncpg.PostgresError, asyncpg.InternalClientError):
        return None
    port: int = await connection.fetchval("SELECT inet_server_port()")
    await connection.close()
    return port


async def collect(url: str) -> tuple[SystemCollector, list[dict[str, object]]]:
    events: list[dict[str, object]] = []
    collector = make_collector(url, event=lambda *_, **fields: events.append(fields))
    await collector.collect()
    await collector.close()
    return collector, events


def command(url: str, name: str = "db", timeout_seconds: float = 5.0) -> tuple[int, str]:
    arguments = [name, "--url", url, "--timeout", str(timeout_seconds)]
    done = CliRunner().invoke(app, arguments, env={"COLUMNS": "200"})
    return done.exit_code, done.stdout


@pytest.mark.parametrize("attributes", ["any", "read-write", "read-only", "primary", "standby", "prefer-standby"])
@pytest.mark.parametrize("order", ["writable", "read-only", "writable read-only", "read-only writable"])
def test_target_session_attrs_leads_to_the_server_it_leads_the_host_to(
    postgres_server: PostgresServer, read_only_server: PostgresServer, attributes: str, order: str
) -> None:
    ports = {"writable": postgres_server.port, "read-only": read_only_server.port}
    named = ",".join(f"127.0.0.1:{ports[name]}" for name in order.split())
    url = f"postgresql://orchestrator@{named}/host?target_session_attrs={attributes}"

    async def run() -> tuple[int | None, int | None, Problem | None]:
        hosts = await port_of(asyncpg.connect(url))
        ours = await port_of(connect(url, timeout_seconds=5.0, answer_seconds=5.0))
        collector, _ = await collect(url)
        return hosts, ours, collector.states.of("database").problem

    hosts, ours, problem = asyncio.run(run())
    is_choice = attributes == "prefer-standby" and len(order.split()) > 1  # neither is a standby: either will do
    assert (ours is not None) if is_choice else (ours == hosts)
    assert problem is (Problem.UNREACHABLE if hosts is None else None)
    for one in ("db", "advise"):
        assert command(url, one)[0] == (2 if hosts is None else 0)


def test_what_else_a_url_says_is_kept(
    postgres_server: PostgresServer, read_only_server: PostgresServer, database_url: str
) -> None:
    user, _, place = database_url.partition("@")
    name = database_url.rpartition("/")[2]
    postgres_server.run_sql("CREATE SCHEMA other; CREATE TABLE other.task (id int)", name)
    postgres_server.run_sql(f"CREATE ROLE reader_{name} LOGIN IN ROLE pg_monitor, pg_read_all_data", "postgres")
    folder, port = read_only_server.folder / "data", read_only_server.port
    for url in (
        f"{database_url}?options=-csearch_path%3Dother,public",
        f"{database_url}?options=-c%20statement_timeout%3D1h%20-c%20default_transaction_read_only%3Don",
        *(f"{database_url}?sslmode={mode}" for mode in ("prefer", "disable", "allow")),
        f"postgresql://reader_{name}@{place}",
        f"postgresql://orchestrator@/host?host={folder}&port={port}",
        f"postgresql+psycopg://orchestrator@/host?host=/nowhere,{folder}&port={port}",
        f"{user}@127.0.0.1:1,{place}",
    ):
        collector, _ = asyncio.run(collect(url))
        assert collector.states.of("database").problem is None, url
        for one in ("db", "advise"):
            assert command(url, one)[0] == 0, url
    collector, _ = asyncio.run(collect(f"{database_url}?options=-csearch_path%3Dother"))
    assert collector.states.of("queue").problem is Problem.MISSING_TABLE


def test_each_server_that_refuses_is_named_with_its_reason(
    read_only_server: PostgresServer, free_port: Callable[[], int]
) -> None:
    closed, open_ = free_port(), read_only_server.port
    url = (
        f"postgresql://orchestrator:{SECRET}@127.0.0.1:{closed},127.0.0.1:{open_}/host?target_session_attrs=read-write"
    )
    said = (
        f"127.0.0.1:{closed}/host: nobody listens there; "
        f"127.0.0.1:{open_}/host: the server is not what target_session_attrs asks for"
    )
    assert command(url) == (2, f"{said}\n")
    _, events = asyncio.run(collect(url))
    assert [event["detail"] for event in events] == [said]


@pytest.mark.parametrize(
    ("parameters", "reason"),
    [
        ("sslmode=require", "the server does not speak TLS, which sslmode asks for"),
        ("sslmode=verify-full", "a certificate file that sslmode or sslrootcert asks for cannot be read"),
        ("sslmode=verify-ca&sslrootcert=/nowhere", "there is no such socket, or no such certificate file"),
        ("sslrootcert=system", "the server does not speak TLS, which sslmode asks for"),
    ],
)
def test_what_sslmode_asks_for_and_does_not_get_is_said(
    database_url: str, clean_process: pytest.MonkeyPatch, tmp_path: Path, parameters: str, reason: str
) -> None:
    clean_process.setenv("HOME", str(tmp_path))  # where the certificates are looked for
    status, said = command(f"{database_url}?{parameters}")
    assert status == 2
    assert said.endswith(f": {reason}\n")


@contextlib.asynccontextmanager
async def tls_before(port: int, certificate: Path) -> AsyncIterator[int]:
    """A port that takes PostgreSQL's TLS in the name of `localhost`, before a server that does not speak it."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate)

    async def pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65536):
            writer.write(data)
        writer.close()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            await reader.readexactly(8)
            writer.write(b"S")
            await writer.start_tls(context)
            from_server, to_server = await asyncio.open_connection("127.0.0.1", port)
            await asyncio.gather(pass_on(reader, to_server), pass_on(from_server, writer))

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        yield server.sockets[0].getsockname()[1]


def test_the_systems_certificates_are_asked_for_the_server_and_its_name(
    read_only_server: PostgresServer, clean_process: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    certificate = tmp_path / "certificate.pem"
    made = f"openssl req -x509 -newkey rsa:2048 -nodes -keyout {certificate} -out {tmp_path}/made -subj /CN=localhost"
    subprocess.run([*made.split(), "-addext", "subjectAltName=DNS:localhost"], check=True, capture_output=True)
    with certificate.open("a") as file:
        file.write((tmp_path / "made").read_text())

    async def connects(host: str) -> bool:
        async with tls_before(read_only_server.port, certificate) as port:
            url = f"postgresql://orchestrator@{host}:{port}/host?sslrootcert=system"
            try:
                connection = await connect(url, timeout_seconds=5.0, answer_seconds=5.0)
            except ssl.SSLError:
                return False
            await connection.close()
            return True

    assert not asyncio.run(connects("localhost"))
    clean_process.setenv("SSL_CERT_FILE", str(tmp_path / "made"))
    assert asyncio.run(connects("localhost"))
    assert not asyncio.run(connects("127.0.0.1"))


def test_a_server_that_hangs_leaves_time_for_the_next(database_url: str, silent_port: int) -> None:
    user, _, place = database_url.partition("@")
    assert command(f"{user}@127.0.0.1:{silent_port},{place}", timeout_seconds=2.0)[0] == 0
    status, said = command(f"{user}@127.0.0.1:{silent_port},127.0.0.1:1/x", timeout_seconds=1.0)
    assert status == 2
    assert said == f"127.0.0.1:{silent_port}/x: no answer within 0.5 s; 127.0.0.1:1/x: nobody listens there\n"


def test_a_command_ends_although_the_server_stops_answering(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from ordinaut_ext_observability.db.insights import report

    async def sleep(connection: asyncpg.Connection[asyncpg.Record], top: int) -> None:
        await connection.execute("SET LOCAL statement_timeout = 0")  # as if nobody there counted the time
        await connection.execute("SELECT pg_sleep(60)")

    monkeypatch.setattr(report, "read_report", sleep)
    begun = time.monotonic()
    status, said = command(database_url, timeout_seconds=0.5)
    assert status == 2
    assert said.endswith(": the connection broke\n")
    assert time.monotonic() - begun < 30.0
