"""The work of a process on alerts after each tick of its history."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Final

from ordinaut_ext_observability.alerts.conditions import Conditions, known_conditions
from ordinaut_ext_observability.alerts.evaluation import Engine, Readiness
from ordinaut_ext_observability.alerts.loading import BUILTIN, LoadedRules
from ordinaut_ext_observability.alerts.report import Report, build_report
from ordinaut_ext_observability.alerts.states import Change
from ordinaut_ext_observability.alerts.storage import SharedStates, decode, encode
from ordinaut_ext_observability.background.clock import Clock
from ordinaut_ext_observability.background.slicer import Slicer
from ordinaut_ext_observability.health.model import HealthReport
from ordinaut_ext_observability.history.history import History
from ordinaut_ext_observability.logs import event_types as events
from ordinaut_ext_observability.metrics.declarations import Metrics
from ordinaut_ext_observability.settings.load import Settings

_OUTAGE_MS: Final = 3_600_000
"""States older than this are no states of now: Prometheus's own default."""
_WAITS_SECONDS: Final = 600.0
"""A restored alert waits no longer for a complete history: as long as Prometheus's grace for restored alerts."""

_TABLE: Final = "ALERTS"
"""The name under which the history keeps the series of alerts."""
_KEPT_SERIES: Final = 200
"""Series of alerts that it keeps: of 100 alerts. There is room for 500 series of rules in all."""


@dataclass(slots=True)
class Progress:
    """Progress of a process. Times are of the monotonic clock, but for those in milliseconds."""

    ticks: int = 0
    began_at: float = 0.0
    evaluated_at: float = 0.0
    states_at: float | None = None
    """When alerts were as they are known here; None: nothing is known of them yet."""
    shifted_ms: int = 0
    readings: int = 0
    """The reading of rule files that is in effect."""


class Rounds:
    """Evaluates rules, and shares or learns the states of alerts. Used on the thread that writes the history."""

    def __init__(
        self,
        settings: Settings,
        rules: LoadedRules,
        history: History,
        shared: SharedStates,
        metrics: Metrics,
        clock: Clock,
        event: events.LogEvent,
    ) -> None:
        """Nothing is read or evaluated yet."""
        self._rules = rules
        self._history = history
        self.shared = shared
        self._metrics = metrics
        self._clock = clock
        self._event = event
        self._settle_seconds = settings.alerts.settle_seconds
        kept = settings.history
        interval_ms, retention_ms = round(kept.interval_seconds * 1000), round(kept.retention_seconds * 1000)
        url = settings.alerts.external_url
        self._engine = Engine(history, interval_ms=interval_ms, retention_ms=retention_ms, external_url=url)
        self._conditions = Conditions()
        self.progress = Progress()
        self.report = Report()
        """The report that is shown; another object after each round."""

    async def evaluate(self, time_ms: int, health: Callable[[], HealthReport]) -> None:
        """Evaluate the rules that are due at a tick of this time."""
        engine, shared, progress, slicer = self._engine, self.shared, self.progress, Slicer()
        self._follow_clock()
        await self._load_rules(time_ms)
        self._adopt(await asyncio.to_thread(shared.exchange), time_ms)
        leads = shared.leads
        progress.began_at = progress.began_at if progress.ticks else self._clock.monotonic()
        progress.ticks += 1
        async for _ in slicer.slices(engine.evaluate_due(time_ms, alerts=leads, readiness=self.readiness())):
            pass
        if leads:
            found = await self._conditions.ask(time_ms, self._history, health(), slicer)
            engine.take_conditions(found, time_ms, self.readiness())
        progress.evaluated_at = self._clock.monotonic()
        if leads and await asyncio.to_thread(shared.save, encode(engine.alerting_states(), time_ms)):
            progress.states_at = progress.evaluated_at
            for change in engine.changes:
                self._tell(change)
        engine.changes = []  # not before: where the save is cancelled, the next round tells them
        async for _ in slicer.slices(self._show(time_ms)):
            pass
        self._metrics.overhead_seconds.labels("alerts").inc(slicer.cpu_seconds)

    def begin_anew(self) -> None:
        """Have what follows be as after a start: there may be a gap in the history."""
        self.progress.ticks = 0
        self._engine.restore()

    def readiness(self) -> Readiness:
        """Weight of what the history lacks now."""
        seconds = self._clock.monotonic() - self.progress.began_at
        settled = self.progress.ticks > 1 and seconds >= self._settle_seconds
        return Readiness(settled, patient=seconds >= _WAITS_SECONDS)

    def _follow_clock(self) -> None:
        """Move all times with the history's samples, where the clock was set back."""
        by_ms = self._history.shifted_ms - self.progress.shifted_ms
        if by_ms:
            self._engine.shift(by_ms)
            self.progress.shifted_ms += by_ms

    async def _load_rules(self, time_ms: int) -> None:
        rules = self._rules
        if rules.have_changed():
            await asyncio.to_thread(rules.read_changed)
        if self.progress.readings != rules.readings:
            self.progress.readings, groups = rules.readings, rules.groups
            self._engine.load(groups, time_ms)
            for wrong in rules.problems.values():
                self._event(events.RULE_FILE_REFUSED, file=wrong.file, line_number=wrong.line, reason=wrong.reason)
            files = {group.file for group in groups}
            if files > {BUILTIN} or rules.readings > 1:  # those that are always there need no line at the start
                self._event(events.RULES_LOADED, rules=sum(len(group.rules) for group in groups), files=len(files))
        self._engine.load_conditions(known_conditions())

    def _adopt(self, content: bytes, time_ms: int) -> None:
        """Go on from the states that another process wrote, where it did."""
        if not content:
            return
        try:
            written_ms, states = decode(content)
        except ValueError:
            self._metrics.count_internal_error("alerts_document")
            return
        age_ms = time_ms - written_ms
        if age_ms <= _OUTAGE_MS:
            # Written in the future: before the clock was set back.
            self._engine.adopt(states, min(0, age_ms))
            self.progress.states_at = self._clock.monotonic() - max(0, age_ms) / 1000

    def _tell(self, change: Change) -> None:
        alert = change.alert
        self._event(
            events.ALERT_FIRING if change.fires else events.ALERT_RESOLVED,
            alert=change.rule,
            severity=dict(alert.labels).get("severity"),
            labels=", ".join(f'{name}="{value}"' for name, value in alert.labels),
            summary=alert.annotations.get("summary"),
        )

    def _show(self, time_ms: int) -> Iterator[None]:
        """Put what is known now where it is seen: the report, the history, the metrics."""
        metrics, engine = self._metrics, self._engine
        self.report = report = yield from build_report(engine, time_ms)
        self._history.record(_TABLE, time_ms, islice(report.samples.items(), _KEPT_SERIES))
        metrics.history_refused.labels().inc(engine.refused)
        engine.refused = 0
        metrics.alerts.replace(report.count_alerts())
        metrics.alert_rules.replace(report.count_rules())
        metrics.alert_leader.labels().set(self.shared.leads)
        metrics.alert_rule_files_refused.labels().set(len(self._rules.problems))
        metrics.alert_last_evaluation.labels().set(time_ms / 1000)
