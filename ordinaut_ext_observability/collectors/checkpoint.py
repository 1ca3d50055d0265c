"""The point where the next leader goes on: how far the database was read, saved in one step with its counts."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ordinaut_ext_observability.cluster.base import Put
from ordinaut_ext_observability.metrics.definitions import Metrics
from ordinaut_ext_observability.metrics.family import AnyFamily
from ordinaut_ext_observability.relay.publisher import Publisher
from ordinaut_ext_observability.relay.series_list import SeriesList
from ordinaut_ext_observability.relay.store import Outcome, RelayStore

_NAME = "collectors"
"""The document of the state, and the lease of whoever leads where PostgreSQL's lock does not serve."""

_TRIES = 3
"""A store that lost its contents, or forgot the publisher, takes the publication at the next try."""


class Checkpoints:
    """The state of whoever reads for all, in the installation's store. Calls come from one thread at a time.

    The state is a document, and is published together with the counts that belong to it: each without the other would
    count twice, or not at all. Its version tells a leader that another has followed it. All methods raise
    `ClusterUnavailableError`.
    """

    def __init__(self, open_stores: Callable[[], RelayStore], families: Sequence[AnyFamily], metrics: Metrics) -> None:
        """`families` hold what this process counted for all, since it began."""
        self._open_stores = open_stores
        self._stores: RelayStore | None = None
        self._publisher = Publisher(lambda: families, metrics.relay_failures.labels("number").inc)
        self._series = SeriesList(metrics.registry.budgets)
        self._version = 0
        """The version of the document that this process knows."""

    def load(self) -> bytes | None:
        """The state to go on from; None where this process has saved the newest, empty where there is none."""
        store = self._opened()
        self._resend(store)
        held = store.get(_NAME)
        if held.version == self._version:
            return None
        self._version = held.version
        self._publisher.skip()  # what was counted from an older state, others have counted too
        return held.content

    def save(self, state: bytes) -> bool:
        """Publish what was counted, and the state; False where another leader has saved one since."""
        store = self._opened()
        for _ in range(_TRIES):
            outcome = self._resend(store)
            if outcome is Outcome.ADDED:
                outcome = self._publisher.publish(store, self._series, Put(_NAME, self._version, state))
                if outcome is Outcome.ADDED:
                    self._version += 1
                    return True
            if outcome is Outcome.OUTDATED:
                return False
            # The store lost something: the document with it, or not.
            version = store.get(_NAME).version
            if version not in (0, self._version):
                return False
            self._version = version
        return False

    def hold_lease(self, owner: str, ttl_seconds: float) -> bool:
        """Take the lease of the leader, or keep it; False while another owner has it."""
        return self._opened().hold_lease(_NAME, owner, ttl_seconds)

    def close(self) -> None:
        """Give back the connection. Safe more than once."""
        if self._stores is not None:
            self._stores.close()
            self._stores = None

    def _resend(self, store: RelayStore) -> Outcome:
        """Send what waits from the last time; each had a state with it."""
        waiting = self._publisher.waiting_count
        outcome = self._publisher.resend(store)
        if outcome is Outcome.ADDED:
            self._version += waiting
        return outcome

    def _opened(self) -> RelayStore:
        if self._stores is None:
            self._stores = self._open_stores()
        return self._stores
