"""Who gets into the demo's PostgreSQL."""

from __future__ import annotations

import asyncio
import contextlib
import os
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import pytest

from ordinaut_ext_observability.demo.servers import PostgresServer, ServerError


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    try:
        server = PostgresServer()
    except ServerError as error:
        if os.environ.get("CI") == "true":
            raise
        pytest.skip(str(error))
    try:
        server.start()
        yield server
    finally:
        server.stop()


def asked(**address: object) -> str:
    async def ask() -> str:
        connection = await asyncpg.connect(**address, database="orchestrator", passfile="/nowhere")
        try:
            return str(await connection.fetchval("SELECT current_user"))
        finally:
            await connection.close()

    return asyncio.run(ask())


def password(server: PostgresServer) -> str:
    return server.url().partition(f"{USER}:")[2].partition("@")[0]


USER = "orchestrator"


def test_url_gets_in(server: PostgresServer) -> None:
    assert asked(dsn=server.url()) == USER
    assert len(password(server)) == 16


def test_nobody_gets_in_without_the_password(server: PostgresServer) -> None:
    host = "127.0.0.1"
    for guessed in ("", "guessed"):
        with pytest.raises(asyncpg.InvalidPasswordError):
            asked(host=host, port=server.port, user=USER, password=guessed)
    assert asked(host=host, port=server.port, user=USER, password=password(server)) == USER


def test_password_is_in_no_file_and_in_nobodys_command(server: PostgresServer) -> None:
    assert server.process is not None
    assert password(server) not in Path(f"/proc/{server.process.pid}/cmdline").read_text()
    assert not (server.folder / "password").exists()
    assert stat.S_IMODE(server.folder.stat().st_mode) == 0o700
    for file in (server.folder / "log", server.folder / "data" / "postgresql.conf"):
        assert password(server) not in file.read_text()


def test_long_path_of_temporary_files_is_no_trouble(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A socket's path may have 107 characters; there is none."""
    folder = tmp_path / ("long" * 30)
    folder.mkdir()
    for part in (folder, *folder.parents):
        with contextlib.suppress(OSError):
            part.chmod(part.stat().st_mode | 0o011)
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    other = PostgresServer()
    try:
        other.start()
        assert asked(dsn=other.url()) == USER
        assert list(other.folder.glob(".s.PGSQL*")) == []
    finally:
        other.stop()


def test_servers_have_different_passwords(server: PostgresServer) -> None:
    other = PostgresServer()
    try:
        assert password(other) != password(server)
    finally:
        other.stop()


def test_statements_run_whatever_the_user_has_set_for_psql(
    server: PostgresServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "psqlrc").write_text("\\quit\n")
    for name, value in {
        "PSQLRC": str(tmp_path / "psqlrc"), "PGPASSWORD": "another", "PGSERVICE": "another", "PGSSLMODE": "require",
    }.items():  # fmt: skip
        monkeypatch.setenv(name, value)
    server.run_sql("CREATE TABLE written ()")
    server.run_sql("DROP TABLE written")


def test_it_starts_again_with_the_same_password(server: PostgresServer) -> None:
    url = server.url()
    server.stop(keep=True)
    server.start()
    assert server.url() == url
    assert asked(dsn=url) == USER
