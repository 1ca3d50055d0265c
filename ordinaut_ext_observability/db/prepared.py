"""asyncpg prepared statements that count their executions."""

from __future__ import annotations

import functools
from collections.abc import Coroutine
from typing import Any

from ordinaut_ext_observability.db.cursor import InstrumentedCursorFactory
from ordinaut_ext_observability.db.definitions import StatementSeries
from ordinaut_ext_observability.db.measuring import Measuring


class InstrumentedStatement:
    """Behaves as the prepared statement it is given."""

    __slots__ = ("_measuring", "_series", "_statement")

    def __init__(self, statement: Any, series: StatementSeries | None, measuring: Measuring) -> None:
        self._statement = statement
        self._series = series
        self._measuring = measuring

    def fetch(self, *arguments: Any, **options: Any) -> Coroutine[Any, Any, Any]:
        """All rows."""
        return self._measuring.run(self._series, self._statement.fetch, *arguments, **options)

    def fetchrow(self, *arguments: Any, **options: Any) -> Coroutine[Any, Any, Any]:
        """The first row, or None."""
        return self._measuring.run(self._series, self._statement.fetchrow, *arguments, **options)

    def fetchval(self, *arguments: Any, **options: Any) -> Coroutine[Any, Any, Any]:
        """A value of the first row, or None."""
        return self._measuring.run(self._series, self._statement.fetchval, *arguments, **options)

    def executemany(self, *arguments: Any, **options: Any) -> Coroutine[Any, Any, Any]:
        """Execute for each sequence of arguments; counts as one execution."""
        return self._measuring.run(self._series, self._statement.executemany, *arguments, **options)

    def explain(self, *arguments: Any, **options: Any) -> Coroutine[Any, Any, Any]:
        """The plan."""
        explained = self._measuring.metrics.operation("explain", self._series.table if self._series else "")
        return self._measuring.run(explained, self._statement.explain, *arguments, **options)

    def cursor(self, *arguments: Any, **options: Any) -> InstrumentedCursorFactory:
        """To be iterated over or awaited."""
        return InstrumentedCursorFactory(self._statement.cursor(*arguments, **options), self._series, self._measuring)

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._statement, name)
        if name == "fetchmany":  # of asyncpg 0.30 and later
            return functools.partial(self._measuring.run, self._series, value)
        return value

    def __repr__(self) -> str:
        return f"<InstrumentedStatement {self._statement!r}>"
