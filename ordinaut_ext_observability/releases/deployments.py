"""Deployments of the host, known to all processes through a document that they share.

They are posted. Where processes share a store, a `VERSION` that is new to its environment is one, too.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from typing import Annotated, Final

from pydantic import BaseModel, Field, TypeAdapter

from ordinaut_ext_observability.background.clock import wall_seconds
from ordinaut_ext_observability.logs import event_types as events
from ordinaut_ext_observability.metrics.declarations import Metrics
from ordinaut_ext_observability.settings.parts import GeneralSettings

MAX_DEPLOYMENTS: Final = 100  # kept, the newest: 20 kB of JSON, three months of one a day
OUTCOMES: Final = ("failed", "success")
Text = Annotated[str, Field(max_length=100)]
Seconds = Annotated[float | None, Field(ge=0, le=7 * 86_400)]


class Deployment(BaseModel, frozen=True, defer_build=True):
    """One version that came into an environment, or failed to."""

    version: Annotated[Text, Field(min_length=1)]
    environment: Text = ""
    time: float = Field(default_factory=wall_seconds, ge=0, le=2**32)  # seconds since 1970
    success: bool = True
    commit: Text = ""
    duration_seconds: Seconds = None
    test_coverage: float | None = Field(default=None, ge=0, le=100)  # percent


_document = cache(lambda: TypeAdapter(tuple[Deployment, ...]))  # not while the host starts


class Deployments:
    """The deployments as one process knows them."""

    def __init__(self, settings: GeneralSettings, metrics: Metrics, event: events.LogEvent, *, shared: bool) -> None:
        """Not `shared`, they are known in this process alone, at once; else once `exchange` is called."""
        self._metrics, self._event, self._shared, self._read = metrics, event, shared, b""
        self._own = Deployment(version=settings.version[:100] or "-", environment=settings.environment[:100])
        self._waiting = deque([self._own] if shared and settings.version else [], MAX_DEPLOYMENTS)
        self.known: tuple[Deployment, ...] = ()  # the newest last

    def add(self, new: Deployment) -> Deployment:
        """Keep a deployment, and return it with its environment: this process's where it has none."""
        new = new.model_copy(update={"environment": new.environment or self._own.environment})
        self._waiting.append(new)
        if not self._shared:
            self.exchange(b"", lambda _: True)
        return new

    @property
    def waits(self) -> bool:
        """True while something is not in the document of all processes."""
        return bool(self._waiting)

    def exchange(self, shared: bytes, write: Callable[[bytes], bool]) -> None:
        """Read the document of all processes, and add what waits; what `write` does not take is added the next time."""
        if shared != self._read:
            self._read = shared
            with suppress(ValueError):  # lost or damaged: the next one has what is known here
                self._show(_document().validate_json(shared))
        while self._waiting and self._add(self._waiting[0], write):
            self._waiting.popleft()

    def _add(self, new: Deployment, write: Callable[[bytes], bool]) -> bool:
        """Add one. The last one of its environment once more, now with its facts, takes that one's place."""
        identity = new.version, new.environment, new.success
        same = [each for each in self.known if (each.version, each.environment, each.success) == identity]
        if new is self._own and same:
            return True
        last = [each for each in self.known if each.environment == new.environment][-1:]
        again = [each for each in same if each in last and each.commit in ("", new.commit)]
        kept = (*(each for each in self.known if each not in again), new)[-MAX_DEPLOYMENTS:]
        if not write(_document().dump_json(kept)):
            return False
        self._show(kept)
        self._metrics.deployments.labels(new.environment, OUTCOMES[new.success]).inc(not again)
        self._event(events.DEPLOYMENT, **new.model_dump(exclude={"time"}))
        return True

    def _show(self, known: tuple[Deployment, ...]) -> None:
        self.known, metrics = known, self._metrics
        gauges = (metrics.deployment_time, metrics.deployment_seconds, metrics.deployment_coverage)
        for gauge, name, units in zip(gauges, ("time", "duration_seconds", "test_coverage"), (1, 1, 100), strict=True):
            last = {(each.environment,): getattr(each, name) for each in known}
            gauge.replace({environment: value / units for environment, value in last.items() if value is not None})
        runs = {each.environment: (each.environment, each.version, each.commit) for each in known if each.success}
        metrics.deployment_info.replace(dict.fromkeys(runs.values(), 1))
