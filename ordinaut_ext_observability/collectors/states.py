"""How it stands with each collector: its last facts, its problem, and the metrics and log lines about that."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeVar

from ordinaut_ext_observability.background.clock import Clock
from ordinaut_ext_observability.collectors.connection import Reading
from ordinaut_ext_observability.collectors.facts import UNREAD, Collected, Problem
from ordinaut_ext_observability.collectors.problems import concerns_statement, problem_of
from ordinaut_ext_observability.logs import event_types as events
from ordinaut_ext_observability.metrics.declarations.system import SystemMetrics

ResultT = TypeVar("ResultT")


class States:
    """The collectors by name."""

    def __init__(
        self,
        families: SystemMetrics,
        clock: Clock,
        event: events.LogEvent,
        count_internal_error: Callable[[str], None],
    ) -> None:
        self._families = families
        self._clock = clock
        self._event = event
        self._count_internal_error = count_internal_error
        self._states: dict[str, Collected[Any]] = {}
        self._parts: dict[str, dict[str, str]] = {}

    def of(self, name: str) -> Collected[Any]:
        """The state of this collector."""
        return self._states.get(name, UNREAD)

    async def attempt(self, name: str, reading: Reading, read: Callable[[], Awaitable[ResultT]]) -> ResultT | None:
        """What the collector reads, noted; None where it failed and others need not.

        Raises:
            Exception: the connection failed.
        """
        begun = self._clock.monotonic()
        try:
            async with reading.part():
                result = await read()
        except Exception as error:
            if not concerns_statement(error):
                raise
            self.failed(name, error)
            for gauge in self._families.gauges_of.get(name, ()):
                gauge.clear()
            return None
        self._families.collector_seconds.labels(name).set(self._clock.monotonic() - begun)
        self.succeeded(name, result)
        return result

    def succeeded(self, name: str, facts: object) -> None:
        """It read what it should."""
        before = self.of(name).problem
        self._states[name] = Collected(facts, self._clock.monotonic(), None)
        self._families.collector_success.labels(name).set(self._clock.wall())
        if before is not None:
            self._event(events.DATABASE_RECOVERED, collector=name)

    def failed(self, name: str, error: BaseException) -> Problem:
        """It did not."""
        problem = problem_of(error)
        if problem is Problem.FAILED:
            self._count_internal_error(f"{name}_collector")
        if self.of(name).problem is not problem:
            self._event(
                events.DATABASE_PROBLEM,
                collector=name,
                reason=problem.value,
                exception_type=type(error).__name__,
                detail="; ".join(getattr(error, "__notes__", ())) or None,
            )
        self.note(name, problem)
        return problem

    def note(self, name: str, problem: Problem) -> None:
        """It did not, for this reason, which was told already."""
        before = self.of(name)
        self._states[name] = Collected(before.facts, before.collected_at, problem)
        self._families.errors.labels(name, problem.value).inc()

    def note_parts(self, name: str, problems: Mapping[str, str]) -> None:
        """These parts of what the collector reads could not be read, each for its reason; the others could."""
        before = self._parts.get(name, {})
        self._parts[name] = dict(problems)
        for part, reason in problems.items():
            self._families.errors.labels(name, reason).inc()
            if before.get(part) != reason:
                self._event(events.DATABASE_PART_PROBLEM, collector=name, part=part, reason=reason)
        for part in before.keys() - problems.keys():
            self._event(events.DATABASE_PART_RECOVERED, collector=name, part=part)

    def forget(self, *kept: str) -> None:
        """What others than these collectors read is not ours any more."""
        for name in [name for name in self._states if name not in kept]:
            del self._states[name]
            for gauge in (
                self._families.collector_age,
                self._families.collector_success,
                self._families.collector_seconds,
                self._families.collector_rows,
            ):
                gauge.remove(name)

    def names(self) -> list[str]:
        """Those that have a state."""
        return list(self._states)

    def show_ages(self) -> None:
        """How old the facts are."""
        now = self._clock.monotonic()
        for name, state in self._states.items():
            if state.collected_at is not None:
                self._families.collector_age.labels(name).set(now - state.collected_at)
