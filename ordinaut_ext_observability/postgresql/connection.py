"""Connecting to PostgreSQL: the same way for the collectors and for every command, so that they agree on every URL.

Nothing is set for the session but its name: what else it needs is set in each transaction. A session that began
read-only would be none for a URL that asks for `target_session_attrs=read-write`, and poolers refuse what they do not
know.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, TypeAlias
from urllib.parse import parse_qsl, urlencode, urlsplit

import asyncpg

from ordinaut_ext_observability.postgresql.url import asyncpg_url, shown_target

if TYPE_CHECKING:
    Connection: TypeAlias = asyncpg.Connection[asyncpg.Record]

APPLICATION_NAME = "ordinaut-observability"

FAILURES = (OSError, ValueError, asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError)
"""Errors that connecting can raise."""

_TRY_NEXT = (OSError, asyncpg.TargetServerAttributeNotMatched, asyncpg.CannotConnectNowError)
"""After these the next server of a URL is tried, as libpq does; a wrong password is wrong everywhere."""


async def connect(url: str, *, timeout_seconds: float, answer_seconds: float) -> Connection:
    """Connect to the first server of the URL that is as its `target_session_attrs` asks.

    `timeout_seconds` is for all its servers together; a statement whose answer takes longer than `answer_seconds`
    raises TimeoutError. An error has a note for each server: its name, and what it said.

    Raises:
        ValueError: it is not a URL of PostgreSQL's, or asks for what there is not.
        OSError: no server can be reached, or none answers in time.
        asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError: likewise, or it refuses us.
    """
    servers = _one_by_one(asyncpg_url(url))
    deadline = asyncio.get_running_loop().time() + timeout_seconds
    notes: list[str] = []
    decisive: Exception = OSError("no server is named")
    for attributes in _rounds(servers):
        for number, server in enumerate(servers):
            left = max(0.01, deadline - asyncio.get_running_loop().time()) / (len(servers) - number)
            try:
                return await asyncpg.connect(
                    server,
                    timeout=left,
                    command_timeout=answer_seconds,
                    statement_cache_size=0,  # a prepared statement belongs to a session, which a pooler may change
                    server_settings={"application_name": APPLICATION_NAME},
                    target_session_attrs=attributes,
                )
            except FAILURES as error:
                notes.append(f"{shown_target(server)}: {_reason(error, left)}")
                if not isinstance(decisive, asyncpg.TargetServerAttributeNotMatched):
                    decisive = error
                if not isinstance(error, _TRY_NEXT):
                    break
    for note in dict.fromkeys(notes):
        decisive.add_note(note)
    raise decisive


def _one_by_one(url: str) -> list[str]:
    """The URL for each of its servers: asked together, they do not tell which of them refused."""
    parts = urlsplit(url)
    user, at, servers = parts.netloc.rpartition("@")
    if servers:
        query = f"?{parts.query}" if parts.query else ""
        return [f"postgresql://{user}{at}{server}{parts.path}{query}" for server in servers.split(",")]
    parameters = dict(parse_qsl(parts.query))
    hosts, ports = parameters.get("host", "").split(","), parameters.get("port", "").split(",")
    if len(hosts) == 1:
        return [url]
    ports = ports * len(hosts) if len(ports) == 1 else ports
    each = [{"host": host, **({"port": port} if port else {})} for host, port in zip(hosts, ports, strict=True)]
    return [f"postgresql://{user}{at}{parts.path}?{urlencode(parameters | one)}" for one in each]


def _rounds(servers: list[str]) -> tuple[str | None, ...]:
    """Values of `target_session_attrs` to ask the servers for, in turn. None: the one in their URL."""
    wanted = dict(parse_qsl(urlsplit(servers[0]).query)).get("target_session_attrs")
    return ("standby", "any") if wanted == "prefer-standby" and len(servers) > 1 else (None,)


def _reason(error: Exception, seconds: float) -> str:
    """Why a server could not be connected to, without secrets."""
    text = str(error)
    match error:
        case TimeoutError():
            reason = f"no answer within {seconds:.2g} s"
        case OSError() if "Connect call failed" in text or isinstance(error, ConnectionRefusedError):
            reason = "nobody listens there"
        case OSError() if "rejected SSL upgrade" in text:
            reason = "the server does not speak TLS, which sslmode asks for"
        case FileNotFoundError():
            reason = "there is no such socket, or no such certificate file"
        case OSError():
            reason = error.strerror or type(error).__name__
        case asyncpg.TargetServerAttributeNotMatched():
            reason = "the server is not what target_session_attrs asks for"
        case asyncpg.PostgresError():
            reason = text.partition("\n")[0]
        case _ if "certificate" in text:
            reason = "a certificate file that sslmode or sslrootcert asks for cannot be read"
        case _:
            reason = "the URL has a part that cannot be used"  # what the error says may quote it
    return reason
