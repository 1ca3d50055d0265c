"""The work of a process on alerts after each tick of its history, and what is known of it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, Final

from ordinaut_ext_observability.alerts import NO_TROUBLE
from ordinaut_ext_observability.alerts.builtin import BUILTIN
from ordinaut_ext_observability.alerts.conditions import Conditions, known_conditions
from ordinaut_ext_observability.alerts.evaluation import Engine, Readiness
from ordinaut_ext_observability.alerts.loading import LoadedRules
from ordinaut_ext_observability.alerts.notifications.ledger import change_record
from ordinaut_ext_observability.alerts.report import Report, build_report
from ordinaut_ext_observability.alerts.states import AlertState
from ordinaut_ext_observability.alerts.storage import SharedStates, decode, encode
from ordinaut_ext_observability.background.clock import Clock
from ordinaut_ext_observability.background.slicer import Slicer
from ordinaut_ext_observability.cluster.base import Cluster
from ordinaut_ext_observability.health.model import HealthReport
from ordinaut_ext_observability.history.history import History
from ordinaut_ext_observability.logs import event_types as events
from ordinaut_ext_observability.metrics.declarations import Metrics
from ordinaut_ext_observability.settings.load import Settings

_OUTAGE_MS: Final = 3_600_000
"""States older than this are no states of now: Prometheus's own default."""
_WAITS_SECONDS: Final = 600.0
"""A restored alert waits no longer for a complete history: as long as Prometheus's grace for restored alerts."""
_SILENT_INTERVALS: Final = 3
"""After so many intervals without an evaluation another process leads, and it is worth saying."""
_SHORTEST_LEASE_SECONDS: Final = 15.0
"""A call of the store may take two seconds, and there are two between two exchanges."""
_NAMED: Final = 5
"""Failing rules that are named: a message is read in a line."""

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
    """Evaluates rules, and shares or learns the states of alerts, on the thread that writes the history."""

    def __init__(
        self,
        settings: Settings,
        metrics: Metrics,
        clock: Clock,
        health: Callable[[], HealthReport],
        history: History,
        open_store: Callable[[], Cluster] | None,
        event: events.LogEvent,
    ) -> None:
        """Nothing is read, evaluated or connected to yet. Without a store the process knows its own alerts alone."""
        self._settings = settings
        self._metrics = metrics
        self._clock = clock
        self._history = history
        self._event = event
        self._engine = Engine(history, settings.history, settings.alerts.external_url)
        self._conditions = Conditions(history, health)
        self.rules = LoadedRules(settings.file.rule_files, settings.file.rules, settings.alerts.external_url)
        # After a leader's end, another leads as soon as the lease has ended, and a tick has come.
        self.shared = SharedStates(open_store, max(_SHORTEST_LEASE_SECONDS, self._patience_seconds))
        self.progress = Progress()
        self.tell: Callable[[Iterable[AlertState] | None, bool], None] = lambda _alerts, _settled: None
        """Called after each evaluation with all that fires or is resolved, and whether nothing may be missing of it.

        None instead where another process leads.
        """
        self.report = Report()
        """What is shown of rules and alerts; another object after each round. Any thread may read it."""

    @property
    def _patience_seconds(self) -> float:
        return _SILENT_INTERVALS * self._settings.history.interval_seconds

    async def evaluate(self, time_ms: int) -> None:
        """Evaluate the rules that are due at a tick of this time."""
        engine, progress, slicer = self._engine, self.progress, Slicer()
        self._follow_clock()
        await self._load_rules(time_ms)
        self._adopt(await asyncio.to_thread(self.shared.exchange), time_ms)
        leads = self.shared.leads
        progress.began_at = progress.began_at if progress.ticks else self._clock.monotonic()
        progress.ticks += 1
        engine.readiness = self._readiness()
        async for _ in slicer.slices(engine.evaluate_due(time_ms, alerts=leads)):
            pass
        if leads:
            engine.take_conditions(await self._conditions.ask(time_ms, slicer), time_ms)
        progress.evaluated_at = self._clock.monotonic()
        if leads:
            await self._commit(engine.transitions, time_ms, slicer)
        engine.transitions = []  # not before: where the write is cancelled, the next round commits them
        found = slicer.slices(engine.alerting_states())
        alerts = [alert async for some in found for _, rule in some for alert in rule.alerts.values()]
        fired = [alert for alert in alerts if alert.fired_at_ms is not None]
        self.tell(fired if self.shared.leads else None, engine.readiness.settled)
        async for _ in slicer.slices(self._show(time_ms)):
            pass
        self._metrics.overhead_seconds.labels("alerts").inc(slicer.cpu_seconds)

    async def _commit(self, transitions: Sequence[AlertState], time_ms: int, slicer: Slicer) -> None:
        """Write the states, then tell what fires or is resolved by them: every transition comes here, once.

        So that nobody's page or resolve is lost, each is a record of its own in the same write. Nothing is told where
        another process has written: it leads, and finds the same.
        """
        pieces = slicer.slices(encode(self._engine.alerting_states(), time_ms))
        content = b"".join([piece async for some in pieces for piece in some])
        if not await asyncio.to_thread(self.shared.save, content, [change_record(alert) for alert in transitions]):
            return
        self.progress.states_at = self.progress.evaluated_at
        for alert in transitions:
            self._event(
                events.ALERT_FIRING if alert.state == "firing" else events.ALERT_RESOLVED,
                alert=alert.label("alertname"),
                severity=alert.label("severity") or None,
                labels=", ".join(f'{name}="{value}"' for name, value in alert.labels),
                summary=alert.annotations.get("summary"),
            )

    def begin_anew(self) -> None:
        """Have what follows be as after a start: there may be a gap in the history."""
        self.progress.ticks = 0
        self._engine.restore()

    def overview(self) -> dict[str, Any]:
        """One word for all alerts (firing, ok, unknown), who evaluates them, how old that is, and what is wrong."""
        known_at, shared = self.progress.states_at, self.shared
        age = None if known_at is None else self._clock.monotonic() - known_at
        firing = {alert.label("severity") for alert in self.report.alerts() if alert.state == "firing"}
        status = "firing" if firing.difference(NO_TROUBLE) else "ok"
        return {
            "status": "unknown" if age is None or age > self.shared.ttl_seconds else status,
            "age_seconds": age,
            "evaluated_here": shared.leads,
            "settled": self._readiness().settled,
            "problems": self.problems(),
            "store_problem": shared.problem,
        }

    def problems(self) -> list[str]:
        """Sentences about rule files that are not used, and overrides of built-in rules."""
        overrides = self.rules.override_problems.items()
        wrong = [f"rules.{name} in the configuration file: {problem}" for name, problem in overrides]
        return self.rules.refused() + wrong

    def troubles(self) -> list[str]:
        """All that is wrong with rules and their evaluation, in sentences."""
        problems, progress = self.problems(), self.progress
        failing = [each.rule.name for each in self.report.rules() if each.state.health == "err"]
        if failing:
            problems.append(f"rules that fail: {', '.join(failing[:_NAMED])}; GET /rules gives the reasons")
        now, patience, states_at = self._clock.monotonic(), self._patience_seconds, progress.states_at
        silent = now - max(progress.evaluated_at, progress.began_at)
        if progress.ticks and silent > patience:
            problems.append(f"no rules have been evaluated for {silent:.0f} s")
        elif progress.ticks and states_at is None and now - progress.began_at > patience + self.shared.ttl_seconds:
            problems.append("another process evaluates alerts, and its states cannot be read")
        elif states_at is not None and now - states_at > patience + self.shared.ttl_seconds:
            problems.append(f"alerts are shown as they were {now - states_at:.0f} s ago")
        return problems

    def _readiness(self) -> Readiness:
        """Weight of what the history lacks now."""
        seconds = self._clock.monotonic() - self.progress.began_at
        settled = self.progress.ticks > 1 and seconds >= self._settings.alerts.settle_seconds
        return Readiness(settled, patient=seconds >= _WAITS_SECONDS)

    def _follow_clock(self) -> None:
        """Move all times with the history's samples, where the clock was set back."""
        by_ms = self._history.shifted_ms - self.progress.shifted_ms
        if by_ms:
            self._engine.shift(by_ms)
            self.progress.shifted_ms += by_ms

    async def _load_rules(self, time_ms: int) -> None:
        rules = self.rules
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

    def _show(self, time_ms: int) -> Iterator[None]:
        """Put what is known now where it is seen: the report, the history, the metrics."""
        metrics, engine = self._metrics, self._engine
        self.report = report = yield from build_report(engine, time_ms)
        yield from self._history.record(_TABLE, time_ms, islice(report.samples.items(), _KEPT_SERIES))
        metrics.history_refused.labels().inc(engine.refused)
        engine.refused = 0
        metrics.alerts.replace(report.count_alerts())
        metrics.alert_rules.replace(report.count_rules())
        metrics.alert_leader.labels().set(self.shared.leads)
        metrics.alert_rule_files_refused.labels().set(len(self.rules.problems))
        metrics.alert_last_evaluation.labels().set(time_ms / 1000)
