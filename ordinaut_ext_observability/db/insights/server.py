"""The server and the current database: what its statistics add up to, and how far its transaction ids are used up."""

from __future__ import annotations

from dataclasses import dataclass

from ordinaut_ext_observability.db.insights.queries import Connection, read_rows

XID_LIMIT = 2**31 - 3_000_000
"""The age at which PostgreSQL 14 and newer assign no more transaction ids."""


@dataclass(frozen=True, slots=True)
class Server:
    """The server, and the statistics of the current database since they were last reset."""

    database: str
    version: str
    role: str
    """Ours."""
    sees_all: bool
    """Whether our role may see what other roles do (`pg_monitor`)."""
    in_recovery: bool
    """A replica, or a server that is being restored."""
    max_connections: int
    reserved_connections: int
    """Those of them that only superusers get."""
    commits: int
    rollbacks: int
    deadlocks: int
    temp_bytes: int
    """Written to temporary files by sorts and hashes that did not fit work_mem."""
    blocks_from_cache: int
    blocks_from_disk: int
    """Not found in PostgreSQL's buffers; the operating system may have had them."""
    statistics_age_seconds: float
    """Since the statistics were last reset or, when they never were, since the server started: they are older then."""

    @property
    def cache_hit_ratio(self) -> float | None:
        """The share of blocks found in PostgreSQL's buffers; None before the first block."""
        blocks = self.blocks_from_cache + self.blocks_from_disk
        return self.blocks_from_cache / blocks if blocks else None

    @property
    def usable_connections(self) -> int:
        """Connections that the server takes from others than superusers."""
        return self.max_connections - self.reserved_connections


@dataclass(frozen=True, slots=True)
class XidAge:
    """Ages in transactions."""

    database_age: int
    server_age: int
    """Of the oldest database: it stops them all."""
    oldest_database: str
    oldest_table: str
    """Of the current database."""
    oldest_table_age: int
    freeze_max_age: int
    """From here on autovacuum freezes a table whether it is switched on or not."""

    @property
    def used_ratio(self) -> float:
        """How much of the way to the stop is behind us, 0 to 1."""
        return min(1.0, self.server_age / XID_LIMIT)


async def read_server(connection: Connection) -> Server:
    """Read the server's settings that matter here, and the statistics of the current database."""
    (server,) = await read_rows(connection, Server, "server")
    return server


async def read_xid_age(connection: Connection) -> XidAge:
    """Read how old the oldest database and the oldest table of the current one are."""
    (age,) = await read_rows(connection, XidAge, "xid")
    return age
