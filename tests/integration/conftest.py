"""What the tests on a real PostgreSQL share: the metrics of database clients, read as plain numbers."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from ordinaut_ext_observability.db.definitions import DatabaseMetrics
from ordinaut_ext_observability.metrics.definitions import Metrics
from ordinaut_ext_observability.metrics.registry import Registry

SECRET = "s3cr3t-argument"
"""An argument of statements, which must not show in any metric."""


class Measured:
    """Metrics of a test, read as plain numbers."""

    def __init__(self) -> None:
        self.metrics = Metrics(Registry())
        self.database = DatabaseMetrics(self.metrics)

    def statements(self) -> dict[tuple[str, ...], int]:
        return {child.label_values: sum(child.counts) for child in self.database.query_seconds.children()}

    def seconds(self, operation: str, table: str) -> float:
        return self.database.query_seconds.labels(operation, table).sum

    def errors(self) -> dict[tuple[str, ...], float]:
        return {child.label_values: child.value for child in self.database.query_errors.children()}

    def transactions(self) -> tuple[float, float]:
        """Commits and rollbacks."""
        return self.database.transactions.labels("commit").value, self.database.transactions.labels("rollback").value

    def pools(self) -> dict[tuple[str, ...], float]:
        self.metrics.registry.refresh()
        return {child.label_values: child.value for child in self.metrics.database_connections.children()}

    def internal_errors(self) -> float:
        return self.metrics.internal_errors.labels("database").value

    def rendered(self) -> str:
        return "".join(self.metrics.registry.pieces(openmetrics=False))


@pytest.fixture
def measured() -> Iterator[Measured]:
    measured = Measured()
    yield measured
    assert SECRET not in measured.rendered()


@pytest.fixture
def other_measured() -> Measured:
    """Metrics beside the first."""
    return Measured()
