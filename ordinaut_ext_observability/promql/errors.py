"""Reasons why a query has no answer, with the field `errorType` that Prometheus's API gives each."""

from __future__ import annotations

from typing import ClassVar

from ordinaut_ext_observability.errors import ObservabilityError


class QueryError(ObservabilityError):
    """A query without an answer. Its text says what is wrong and what would be accepted."""

    error_type: ClassVar[str]


class BadQueryError(QueryError):
    """The query cannot be understood, has types that do not fit, or asks for what is not supported."""

    error_type = "bad_data"


class ExecutionError(QueryError):
    """Evaluating failed, as where two series match one, or where a limit was reached."""

    error_type = "execution"


class QueryTimeoutError(QueryError):
    """Evaluating took longer than it may."""

    error_type = "timeout"
