"""The states of alerts in the installation's store: one document, written by whoever holds the lease.

::

    shared = SharedStates(open_store, ttl_seconds=40.0)
    written = shared.exchange()             # takes the lease, or sees who leads; what somebody else wrote since
    if shared.leads: shared.save(b"".join(encode(states, now_ms)))

While the store does not answer, who led leads on, and whoever never heard of it leads for itself: an alert told twice
is better than one told by nobody.
"""

from __future__ import annotations

import threading
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any, Final

import orjson

from ordinaut_ext_observability.alerts.states import AlertState, RuleState
from ordinaut_ext_observability.cluster.base import Cluster, ClusterUnavailableError, Put, Record

_NAME: Final = "alerts"
"""The document, and the lease."""
_FORMAT: Final = 2
"""Number of the document's format; what another version of this package wrote otherwise is not read."""
MAX_BYTES: Final = 4 * 1024 * 1024
"""Longest document. What is past its half goes without annotations: 1,000 alerts with usual texts take a quarter."""


class SharedStates:
    """The document and the lease, in a store that is opened at the first call. Calls but `close` come one at a time."""

    def __init__(self, open_store: Callable[[], Cluster] | None, ttl_seconds: float) -> None:
        """The lease is held for `ttl_seconds` after each exchange; without a store the process always leads."""
        self._open_store = open_store
        self.ttl_seconds = ttl_seconds
        self._owner = uuid.uuid4().hex
        self._store: Cluster | None = None
        self._in_use = threading.Lock()
        """Held while a lease is taken or given up: one that is being taken is not left behind."""
        self._version = 0
        """The version of the document that this process knows."""
        self._sent = b""
        """The document it wrote last, or tried to: the store may have taken it without an answer."""
        self.leads = True
        """True: this process evaluates alerting rules."""
        self.problem = ""
        """Words for the store's not answering; empty while it does."""

    def exchange(self) -> bytes:
        """Take the lease, or keep it, or see that another process has it.

        Returns what another process has written since the last exchange; empty where nobody has, or nobody can say.
        """
        if self._open_store is None:
            return b""
        try:
            with self._in_use:
                self._store = self._store or self._open_store()
                # After an outage who led comes first: what it told meanwhile is in its memory alone.
                waits = self.problem and not self.leads
                leads = not waits and self._store.hold_lease(_NAME, self._owner, self.ttl_seconds)
                held = self._store.get(_NAME)
        except ClusterUnavailableError as error:
            self.problem = str(error)
            return b""
        self.leads, self.problem = leads, ""
        # An older version: the store lost what was written last, or everything. What is known here is newer.
        newer, self._version = held.version > self._version, held.version
        return held.content if newer and held.content != self._sent else b""

    def save(self, content: bytes, records: Sequence[Record] = ()) -> bool:
        """Write the document, and the records that follow from it, together or not at all.

        False where another process has written since the exchange: it leads now. True also where the store does not
        answer.
        """
        if self._store is None or self.problem:
            return True
        self._sent = content
        try:
            if not self._store.write([Put(_NAME, self._version, content)], (), records):
                self.leads = False
                return False
        except ClusterUnavailableError as error:
            self.problem = str(error)
            return True
        self._version += 1
        return True

    def close(self) -> None:
        """Give up the lease, so that another process leads at once, and the connection. Safe more than once."""
        with self._in_use:
            store, self._store = self._store, None
            if store is not None:
                try:
                    store.release_lease(_NAME, self._owner)
                except ClusterUnavailableError as error:
                    self.problem = str(error)  # the lease ends by itself
                store.close()


def encode(states: Iterable[tuple[str, RuleState]], written_ms: int) -> Iterator[bytes]:
    """The document with the states of rules, by their keys, in pieces to be joined."""
    yield b"[%d,%d,{" % (_FORMAT, written_ms)
    size = 0
    for key, state in states:
        alerts = list(state.alerts.values())
        values = [repr(alert.value) for alert in alerts]  # as text: JSON has no infinities
        rule = [alerts, values, state.health, state.error, state.seconds, state.evaluated_at_ms]
        content = orjson.dumps(rule)
        if size + len(content) > MAX_BYTES // 2:
            content = orjson.dumps([[replace(alert, annotations={}) for alert in alerts], *rule[1:]])
        piece = b"%b%b:%b" % (b"," if size else b"", orjson.dumps(key), content)
        size += len(piece)
        yield piece
    yield b"}]"


def decode(content: bytes) -> tuple[int, dict[str, RuleState]]:
    """When a document was written, and its states. Raises ValueError where it is none of this format."""
    try:
        number, written_ms, rules = orjson.loads(content)
        if number != _FORMAT:
            raise ValueError(f"it has the format {number!r}, not {_FORMAT}")
        states = {}
        for key, (written, values, health, error, seconds, evaluated_at_ms) in rules.items():
            alerts = {alert.labels: alert for alert in map(_restored, written, values)}
            states[key] = RuleState(health, error, seconds, evaluated_at_ms, alerts)
        return int(written_ms), states
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"it has other fields: {error!r}") from None


def _restored(written: dict[str, Any], value: str) -> AlertState:
    labels = tuple((name, value) for name, value in written["labels"])
    return AlertState(**written | {"labels": labels, "value": float(value), "restored": True})
