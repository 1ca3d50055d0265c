"""A connection for one look at the database: it can change nothing, waits for little, and never shows the password."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from ordinaut_ext_observability.db.insights.queries import Connection, breaks_connection
from ordinaut_ext_observability.errors import ObservabilityError
from ordinaut_ext_observability.postgresql.connection import FAILURES, connect
from ordinaut_ext_observability.postgresql.url import read_url

LOCK_TIMEOUT_SECONDS = 0.5
"""Nothing here needs a lock that anybody holds for long, but for a table that is being altered."""


class NoConnectionError(ObservabilityError):
    """The database cannot be connected to."""


@asynccontextmanager
async def read_only_session(url: str, timeout_seconds: float) -> AsyncIterator[Connection]:
    """A connection inside a read-only transaction, each statement of which may take `timeout_seconds`.

    Limits are set for the transaction, so that a pooler in between may give the server's connection to others after it.

    Raises:
        NoConnectionError: the URL is not usable, the server refuses the connection, or the connection breaks; one
            line, without secrets.
    """
    try:
        target = read_url(url).shown()
        connection = await connect(url, timeout_seconds=timeout_seconds, answer_seconds=timeout_seconds + 1.0)
    except FAILURES as error:
        unusable = f"{error}: expected postgresql://user:password@host:port/database"
        raise NoConnectionError("; ".join(getattr(error, "__notes__", [unusable]))) from None
    try:
        async with connection.transaction(readonly=True):
            try:
                await connection.execute(
                    f"SET LOCAL statement_timeout = {int(timeout_seconds * 1000)};"
                    f"SET LOCAL lock_timeout = {int(LOCK_TIMEOUT_SECONDS * 1000)}"
                )
                yield connection
            except OSError:
                connection.terminate()  # else a server that hangs would be waited for to undo what it did not do
                raise
    except Exception as error:
        if breaks_connection(error):
            raise NoConnectionError(f"{target}: the connection broke") from error
        raise
    finally:
        with suppress(*FAILURES):
            await connection.close(timeout=timeout_seconds)
