"""Deployments of the host, of all processes through a document that they share: who posts one, and who starts with one.

A process that starts with a `VERSION` that its environment has not had before is a deployment, too, once per
installation. It is not one where processes share nothing: then nobody knows what there was before.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import closing
from dataclasses import dataclass
from typing import Final

import orjson
from pydantic import TypeAdapter

from ordinaut_ext_observability.background.clock import Clock
from ordinaut_ext_observability.cluster.base import Cluster, ClusterUnavailableError, Put
from ordinaut_ext_observability.logs import event_types as events
from ordinaut_ext_observability.metrics.declarations import Metrics
from ordinaut_ext_observability.settings.parts import GeneralSettings

DOCUMENT: Final = "deployments-1"
"""Name of the document, with the number of its format."""
MAX_DEPLOYMENTS: Final = 100
"""Deployments kept, 20 kB of JSON: three months of one a day. Past it the oldest go."""
_TRIES: Final = 5
"""Others may write first. Each time one of them succeeds, and deployments are rare."""


@dataclass(frozen=True, slots=True)
class Deployment:
    """One version that came into an environment, or failed to."""

    version: str
    environment: str
    time: float
    """Seconds since 1970."""
    success: bool = True
    commit: str = ""
    duration_seconds: float | None = None
    test_coverage: float | None = None
    """Percent, 0 to 100."""
    seen: bool = False
    """True where a process started with it, and nobody has posted it."""

    @property
    def outcome(self) -> str:
        return "success" if self.success else "failed"


_read = TypeAdapter(tuple[Deployment, ...]).validate_json


class Deployments:
    """The deployments as one process knows them. Any thread may call."""

    def __init__(
        self,
        settings: GeneralSettings,
        metrics: Metrics,
        clock: Clock,
        event: events.LogEvent,
        open_store: Callable[[], Cluster] | None,
    ) -> None:
        """Nothing is opened. Without a store deployments are known in this process alone."""
        self.environment = settings.environment
        self._metrics = metrics
        self._clock = clock
        self._event = event
        self._open_store = open_store
        self._own_version = settings.version
        """The version that this process runs; empty once the others know of it."""
        self._content = b""
        self.known: tuple[Deployment, ...] = ()
        """The newest last."""

    def add(self, deployment: Deployment) -> None:
        """Keep a deployment. Waits for the store, some two seconds; raises ClusterUnavailableError."""
        if self._open_store is None:
            self._add(deployment, lambda _: True)
            return
        with closing(self._open_store()) as store:
            if not any(self._add_to(store, deployment) for _ in range(_TRIES)):
                raise ClusterUnavailableError("other processes write at the same time")

    def _add_to(self, store: Cluster, deployment: Deployment) -> bool:
        held = store.get(DOCUMENT)
        self._follow(held.content)
        return self._add(deployment, lambda content: store.write([Put(DOCUMENT, held.version, content)]))

    def exchange(self, shared: bytes, write: Callable[[bytes], bool]) -> None:
        """Read the document of all processes, and add the version that this one runs where it is new there."""
        self._follow(shared)
        version, environment = self._own_version, self.environment
        is_known = any((each.version, each.environment) == (version, environment) for each in self.known)
        if version and (is_known or self._add(Deployment(version, environment, self._clock.wall(), seen=True), write)):
            self._own_version = ""

    def _follow(self, content: bytes) -> None:
        """Know what the document has. Where the store lost it, what is known here is written with the next one."""
        if content and content != self._content:
            try:
                self._show(content, _read(content))
            except ValueError:  # damaged: the next deployment takes its place
                self._metrics.count_internal_error("releases")
                self._content = content

    def _add(self, new: Deployment, write: Callable[[bytes], bool]) -> bool:
        """Write the deployments with a new one, which takes the place of the same one that was only seen."""
        last = next((each for each in reversed(self.known) if each.environment == new.environment), None)
        announced = last is not None and last.seen and new.success and last.version == new.version
        kept = (*(each for each in self.known if not announced or each is not last), new)[-MAX_DEPLOYMENTS:]
        content = orjson.dumps(kept)
        if not write(content):
            return False
        self._show(content, kept)
        if not announced:
            self._metrics.deployments.labels(new.environment, new.outcome).inc()
        self._event(
            events.DEPLOYMENT,
            version=new.version,
            environment=new.environment,
            success=new.success,
            commit=new.commit or None,
            duration_seconds=new.duration_seconds,
            test_coverage=new.test_coverage,
            seen=new.seen,
        )
        return True

    def _show(self, content: bytes, known: Iterable[Deployment]) -> None:
        self._content, self.known = content, tuple(known)
        last = {each.environment: each for each in self.known}
        runs = {each.environment: each for each in self.known if each.success}
        metrics = self._metrics
        metrics.deployment_time.replace({(name,): each.time for name, each in last.items()})
        metrics.deployment_seconds.replace(
            {(name,): each.duration_seconds for name, each in last.items() if each.duration_seconds is not None}
        )
        metrics.deployment_coverage.replace(
            {(name,): each.test_coverage / 100 for name, each in last.items() if each.test_coverage is not None}
        )
        metrics.deployment_info.replace({(name, each.version, each.commit): 1 for name, each in runs.items()})
