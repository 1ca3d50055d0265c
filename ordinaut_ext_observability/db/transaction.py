"""An asyncpg transaction that counts how it ends."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Any

from ordinaut_ext_observability.db.measuring import Measuring

OPERATION = "transaction"


class InstrumentedTransaction:
    """Behaves as the transaction it is given; a nested one, a savepoint, is not counted as a transaction."""

    __slots__ = ("_begun", "_connection", "_measuring", "_transaction")

    def __init__(self, transaction: Any, connection: Any, measuring: Measuring) -> None:
        """`connection` is the one the transaction is on."""
        self._transaction = transaction
        self._connection = connection
        self._measuring = measuring
        self._begun = False
        """Whether this is a transaction, no savepoint, and under way."""

    async def __aenter__(self) -> Any:
        return await self._begin(self._transaction.__aenter__)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> Any:
        return await self._end(self._transaction.__aexit__, kind, error, traceback, committing=kind is None)

    async def start(self) -> None:
        """Enter the transaction or savepoint."""
        await self._begin(self._transaction.start)

    async def commit(self) -> None:
        """Leave the transaction or savepoint and keep its changes."""
        await self._end(self._transaction.commit, committing=True)

    async def rollback(self) -> None:
        """Leave the transaction or savepoint and drop its changes."""
        await self._end(self._transaction.rollback, committing=False)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transaction, name)

    def __repr__(self) -> str:
        return f"<InstrumentedTransaction {self._transaction!r}>"

    async def _begin(self, call: Callable[..., Awaitable[Any]]) -> Any:
        nested = self._in_transaction()
        result = await self._measuring.run(self._measuring.metrics.operation(OPERATION), call)
        self._begun = not nested
        return result

    async def _end(self, call: Callable[..., Awaitable[Any]], /, *arguments: Any, committing: bool) -> Any:
        # The server answers COMMIT with ROLLBACK where a statement failed, and asyncpg says nothing of it.
        committed = committing and not self._measuring.aborted
        try:
            return await self._measuring.run(self._measuring.metrics.operation(OPERATION), call, *arguments)
        except BaseException:
            committed = False
            raise
        finally:
            if self._begun and not self._in_transaction():
                self._begun = False
                self._measuring.metrics.record_transaction(committed=committed)

    def _in_transaction(self) -> bool:
        try:
            return bool(self._connection.is_in_transaction()) and not self._connection.is_closed()
        except Exception:  # noqa: BLE001 - the connection was given back to its pool
            return False
