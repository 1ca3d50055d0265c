"""A relay store in Redis or Valkey, for processes on any number of machines: each operation is one script.

Six keys: `state` (hash: the store's identity and the server's), `series` (list), `total` (text of 64-bit numbers),
`publishers` (hash: id and sequence), `seen` (sorted by the time a publisher was heard of) and `entries` (hash).
"""

from __future__ import annotations

import os
import sys
from array import array
from collections.abc import Sequence
from typing import Any

from ordinaut_ext_observability.cluster.redis import RedisCluster
from ordinaut_ext_observability.relay.store import REMEMBERED_SECONDS, WATCHED, Entry, Outcome, Publication, Reading

_KEYS = [f"relay:{name}" for name in ("state", "series", "total", "publishers", "seen", "entries")]
_NUMBER_BYTES = 8


class RedisRelayStore(RedisCluster):
    """The total is one string, to which `BITFIELD` adds, and which a reader takes with one `GET`."""

    name = "redis"
    watched_version = 0

    def __init__(self, url: str, installation: str) -> None:
        super().__init__(url, installation)
        self.add_scripts(__package__, ("join", "append", "publish", "leave", "read"), common="common")

    def join(self, publisher: str) -> str:
        return str(self._run("join", publisher, round(REMEMBERED_SECONDS * 1000)).decode())

    def append(self, store: str, expected: int, series: Sequence[bytes]) -> bool:
        # The first element of the list is there so that the list is.
        return bool(self._run("append", store, expected + 1, *series))

    def publish(self, store: str, publication: Publication) -> Outcome:
        publisher, sequence, deltas, put, said = publication
        added = " ".join(f"{place} {delta}" for place, delta in deltas.items())
        entry = ("", "") if said is None else (said[0], round(said[1] * 1000))
        document = () if put is None else (put.version, put.content)
        keys = [f"document:{name}" for name in (WATCHED, *(() if put is None else (put.name,)))]
        outcome, *version = self._run(
            "publish", store, publisher, sequence, added, *entry, *document, further_keys=keys
        )
        self.watched_version = int(version[0]) if version else self.watched_version
        return Outcome(outcome.decode())

    def leave(self, store: str, publisher: str) -> None:
        self._run("leave", store, publisher)

    def read(self, store: str, known_series: int) -> Reading:
        identity, series, total, entries = self._run("read", store, known_series + 1)
        if identity.decode() != store:
            series = series[1:]
        numbers = array("q", total[: len(total) // _NUMBER_BYTES * _NUMBER_BYTES])
        if sys.byteorder == "little":
            numbers.byteswap()
        said = zip(entries[::3], entries[1::3], entries[2::3], strict=True)
        return Reading(
            identity.decode(), series, numbers, [Entry(who.decode(), age / 1000, content) for who, age, content in said]
        )

    def _run(self, name: str, *arguments: Any, further_keys: Sequence[str] = ()) -> Any:
        # A new identity goes with every call, for the case that the store is found to be empty.
        return self.run_script(name, [*_KEYS, *further_keys], os.urandom(16).hex(), *arguments)
