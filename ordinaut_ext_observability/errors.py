"""The errors this package raises, one class per decision a caller can take, and why servers fail."""

from __future__ import annotations

from enum import Enum
from typing import Self


class ObservabilityError(Exception):
    """The observability extension could not do what was asked."""

    def __init__(self, message: str = "") -> None:
        super().__init__(message or type(self).__doc__)


class MetricDefinitionError(ObservabilityError):
    """A metric is defined or used against the rules of its type."""


class AddressInUseError(ObservabilityError):
    """The requested address and port cannot be listened on."""


class ServedByAnotherWorkerError(AddressInUseError):
    """Another worker process of this service serves this port, or has said why it cannot be served."""


class Problem(Enum):
    """Why a server cannot be read or written: the metric label `reason`, and words that go on from its name."""

    words: str

    def __new__(cls, reason: str, words: str) -> Self:
        problem = object.__new__(cls)
        problem._value_ = reason
        problem.words = words
        return problem

    UNREACHABLE = "unreachable", "cannot be reached"
    """Nobody listens, the name does not resolve, or the connection broke."""
    TIMEOUT = "timeout", "does not answer in time"
    """The server hangs, starts or is overloaded, or a lock is in the way."""
    REFUSED = "refused", "refuses the connection; check host, user and password"
    """The password, database name, TLS or host rules are not as the server wants them."""
    TOO_MANY_CONNECTIONS = "too_many_connections", "has no connection left"
    NO_PERMISSION = "no_permission", "does not give this user the permission"
    MISSING_TABLE = "missing_table", "lacks a table of Ordinaut's"
    """Or a column."""
    OUT_OF_MEMORY = "out_of_memory", "is out of memory"
    READ_ONLY = "read_only", "is read-only, a replica"
    FAILED = "failed", "answers with an error"
