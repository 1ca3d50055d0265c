"""All that the metrics need, in one call whose parts fail one by one."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeVar

import asyncpg

from ordinaut_ext_observability.db.insights.activity import Connections, Longest, read_connections, read_longest
from ordinaut_ext_observability.db.insights.locks import Locks, read_locks
from ordinaut_ext_observability.db.insights.server import Server, XidAge, read_server, read_xid_age
from ordinaut_ext_observability.db.insights.statements import Statements, read_statements
from ordinaut_ext_observability.db.insights.tables import Tables, read_tables

if TYPE_CHECKING:
    from ordinaut_ext_observability.db.insights.queries import Connection

Reason = Literal["timeout", "no_permission", "missing", "failed"]
PartT = TypeVar("PartT")


@dataclass(frozen=True, slots=True)
class PartProblem:
    """A part that could not be read."""

    part: str
    reason: Reason
    """`timeout` also when a lock is in the way."""
    message: str
    """PostgreSQL's, without the statement."""


@dataclass(frozen=True, slots=True)
class Insights:
    """What PostgreSQL says of itself now. A part that could not be read is None, and `problems` says why."""

    server: Server | None
    connections: Connections | None
    longest: Longest | None
    locks: Locks | None
    xid_age: XidAge | None
    tables: Tables | None
    statements: Statements | None
    problems: tuple[PartProblem, ...]


async def collect_insights(connection: Connection) -> Insights:
    """Read the system views, a query each; no table of the host's is read.

    The caller sets `statement_timeout` and `lock_timeout`. Inside a transaction each part has its own savepoint.

    Raises:
        OSError, asyncpg.InterfaceError, asyncpg.PostgresConnectionError: the connection is gone.
    """
    parts = Parts(connection)
    return Insights(
        server=await parts.read("server", read_server),
        connections=await parts.read("connections", read_connections),
        longest=await parts.read("transactions", read_longest),
        locks=await parts.read("locks", read_locks),
        xid_age=await parts.read("xid", read_xid_age),
        tables=await parts.read("tables", read_tables),
        statements=await parts.read("statements", read_statements),
        problems=tuple(parts.problems),
    )


class Parts:
    """Reads one part after the other on one connection, and keeps what went wrong."""

    def __init__(self, connection: Connection) -> None:
        self.problems: list[PartProblem] = []
        self._connection = connection

    async def read(self, name: str, read: Callable[[Connection], Awaitable[PartT]]) -> PartT | None:
        """What `read` returns, None when PostgreSQL refuses; the connection stays usable."""
        try:
            async with self._connection.transaction(readonly=True):
                return await read(self._connection)
        except (asyncpg.PostgresConnectionError, asyncpg.OperatorInterventionError) as error:
            if not isinstance(error, asyncpg.QueryCanceledError):
                raise
            self._note(name, error)
        except (asyncpg.PostgresError, UnicodeError) as error:  # texts of other databases have their encoding
            self._note(name, error)
        except asyncpg.InternalClientError as error:  # how asyncpg now and then says that the connection is gone
            raise asyncpg.InterfaceError("the connection broke") from error
        return None

    def _note(self, name: str, error: Exception) -> None:
        self.problems.append(PartProblem(name, _reason(error), str(error).partition("\n")[0][:200]))


def _reason(error: Exception) -> Reason:
    if isinstance(error, (asyncpg.QueryCanceledError, asyncpg.LockNotAvailableError)):
        return "timeout"
    if isinstance(error, asyncpg.InsufficientPrivilegeError):
        return "no_permission"
    if isinstance(error, (asyncpg.UndefinedTableError, asyncpg.UndefinedColumnError, asyncpg.UndefinedFunctionError)):
        return "missing"
    return "failed"
