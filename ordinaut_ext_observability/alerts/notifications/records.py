"""Records about alerts in the installation's store, which any process reads and writes: each fact has its own key.

silences   by id
posted     alerts that were posted to one of our processes, by fingerprint
told       what was told of each group, by group and integration; of what fires, kept for as long as it does
outbox     what is to be sent
journal    what was sent, when, to whom and why, for 30 days
changes    alerts that began to fire or were resolved, by fingerprint
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import cache
from typing import Any, Final, TypeVar

import orjson
from pydantic import TypeAdapter

from ordinaut_ext_observability.cluster.base import Record

SILENCES: Final = "silences"
POSTED: Final = "posted"
TOLD: Final = "told"
OUTBOX: Final = "outbox"
JOURNAL: Final = "journal"
CHANGES: Final = "alert_changes"

ValueT = TypeVar("ValueT")

_adapter_of: Callable[[Any], TypeAdapter[Any]] = cache(TypeAdapter)
"""Made once: that takes longer than to read many records."""


def make_record(table: str, key: str, value: Any, ttl_seconds: float | None = None) -> Record:
    """The record of a dataclass, or of anything else that JSON has."""
    return Record(table, key, orjson.dumps(value), ttl_seconds)


def read_records(kind: type[ValueT], records: Mapping[str, bytes]) -> dict[str, ValueT]:
    """The values by key, where they can be read: another version of this package may have written others."""
    adapter, found = _adapter_of(kind), {}
    for key, content in records.items():
        with suppress(ValueError):
            found[key] = adapter.validate_json(content)
    return found
