"""The part of a process that evaluates rules over its history, and knows the alerts of the installation."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, Final

from ordinaut_ext_observability.alerts.conditions import Conditions, known_conditions
from ordinaut_ext_observability.alerts.evaluation import Engine, Readiness
from ordinaut_ext_observability.alerts.loading import LoadedRules
from ordinaut_ext_observability.alerts.report import AlertSeries, Report, build_report
from ordinaut_ext_observability.alerts.states import Change
from ordinaut_ext_observability.alerts.storage import SharedStates, decode, encode
from ordinaut_ext_observability.background.clock import Clock
from ordinaut_ext_observability.background.fork import reset_in_forked_child
from ordinaut_ext_observability.background.slicer import Slicer
from ordinaut_ext_observability.cluster.base import Cluster
from ordinaut_ext_observability.health.model import HealthStatus, Outcome
from ordinaut_ext_observability.health.monitor import HealthMonitor
from ordinaut_ext_observability.logs import event_types as events
from ordinaut_ext_observability.metrics.declarations import Metrics
from ordinaut_ext_observability.promql.labels import text_of
from ordinaut_ext_observability.runtime.history import KeptHistory
from ordinaut_ext_observability.runtime.part import Part
from ordinaut_ext_observability.settings.load import Settings

_SILENT_INTERVALS: Final = 3
"""So many intervals without an evaluation are worth saying."""

_NAMED: Final = 5
"""Failing rules that are named: a message is read in a line."""

_LEASE_INTERVALS: Final = 3
"""A leader that evaluated nothing for so many intervals is followed by another."""
_SHORTEST_LEASE_SECONDS: Final = 15.0
"""A call of the store may take two seconds, and there are two between two exchanges."""

_DEADLINE_SECONDS: Final = 60.0
"""Longest evaluation of all rules. What is left of it comes at the next tick."""

_OUTAGE_MS: Final = 3_600_000
"""States older than this are no states of now: Prometheus's own default."""
_WAITS_SECONDS: Final = 600.0
"""A restored alert waits no longer for a complete history: as long as Prometheus's grace for restored alerts."""

_SAMPLES: Final = "ALERTS"
"""The name under which the history keeps the series of alerts."""
_KEPT_SAMPLES: Final = 200
"""Series of alerts that it keeps: of 100 alerts. There is room for 500 series of rules in all."""


@dataclass(slots=True)
class _Progress:
    """What this process has come to. Times are of the monotonic clock, but for those in milliseconds."""

    engine: Engine
    shared: SharedStates
    conditions: Conditions = field(default_factory=Conditions)
    evaluation: asyncio.Task[None] | None = None
    """The one under way, or the last."""
    readings: int = 0
    """The reading of rule files that the engine has."""
    ticks: int = 0
    started_at: float = 0.0
    evaluated_at: float = 0.0
    states_at: float | None = None
    """When alerts were as they are known here."""
    shifted_ms: int = 0


class Alerts(Part):
    """Evaluates rules after each tick of the history, in a process that serves."""

    def __init__(
        self,
        settings: Settings,
        metrics: Metrics,
        clock: Clock,
        monitor: HealthMonitor,
        kept: KeptHistory,
        open_store: Callable[[], Cluster] | None,
        event: events.LogEvent,
    ) -> None:
        """Nothing is started, read or connected to. Without a store the process knows its own alerts alone."""
        self._settings = settings
        self._metrics = metrics
        self._clock = clock
        self._monitor = monitor
        self._kept = kept
        self._open_store = open_store
        self._event = event
        self.rules = LoadedRules(settings.file.rule_files, settings.file.rules)
        self._of_parent: list[object] = []
        self._begin()
        reset_in_forked_child(self)

    def reset_after_fork(self) -> None:
        """Begin anew: what is thrown away would close the parent's connection."""
        self._of_parent.append(self._progress)
        self._begin()

    def _begin(self) -> None:
        ttl = max(_SHORTEST_LEASE_SECONDS, _LEASE_INTERVALS * self._settings.history.interval_seconds)
        self._progress = _Progress(
            Engine(self._kept.history, external_url=self._settings.alerts.external_url),
            SharedStates(self._open_store, ttl),
        )
        self.report = Report()
        """What is shown; another object after each evaluation."""

    @property
    def enabled(self) -> bool:
        """True where rules are evaluated once there is an application to serve."""
        return self._settings.alerts.enabled and self._settings.history.enabled

    def start(self, *, serves: bool) -> None:
        """Have rules evaluated after each tick of the history, where there is one."""
        if serves and self.enabled and self._kept.after_tick != self.begin_evaluation:
            self._kept.after_tick, self._kept.at_end = self.begin_evaluation, self._end
            self._monitor.register_check(
                "alerts", self._outcome, required=False, failures_to_worsen=1, only_trouble=True
            )

    def notes(self) -> dict[str, str]:
        """Words for people: how many rules and alerts, and who evaluates them."""
        if not self.enabled:
            return {"alerts": "off: ORDINAUT_OBS_ALERTS or ORDINAUT_OBS_HISTORY is false"}
        states = [alert["state"] for alert in self.report.alerts]
        rules = sum(len(group["rules"]) for group in self.report.groups)
        who = "by this process" if self._progress.shared.leads else "by another process"
        return {"alerts": f"{rules} rules, {states.count('firing')} alerts firing, evaluated {who}"}

    def reload(self) -> list[str]:
        """Read all rule files again, from any thread; they take effect at the next tick. Returns what is wrong."""
        self.rules.read_changed(all_files=True)
        return self._problems()

    def state(self) -> dict[str, Any]:
        """Rules and alerts as they are shown, who evaluates them, and how old all of it is."""
        progress = self._progress
        return {
            "groups": self.report.groups,
            "alerts": self.report.alerts,
            "evaluated_here": progress.shared.leads,
            "age_seconds": self._clock.monotonic() - progress.states_at if progress.states_at is not None else None,
            "settled": self._readiness().settled,
            "problems": self._problems(),
        }

    def series(self) -> AlertSeries:
        """The series of alerts, for a scrape."""
        return self.report.series() if self.report.groups else {}

    def begin_evaluation(self, time_ms: int) -> None:
        """Evaluate what is due beside the history's own work; nothing where the last evaluation has not ended."""
        progress = self._progress
        if progress.evaluation is not None and not progress.evaluation.done():
            self._metrics.alert_ticks_missed.labels().inc()
        else:
            progress.evaluation = asyncio.get_running_loop().create_task(self._evaluate_within_deadline(time_ms))

    async def _evaluate_within_deadline(self, time_ms: int) -> None:
        try:
            async with asyncio.timeout(_DEADLINE_SECONDS):
                await self.evaluate(time_ms)
        except Exception:  # noqa: BLE001 - counted; the next tick comes all the same
            self._metrics.count_internal_error("alerts")

    async def evaluate(self, time_ms: int) -> None:
        """Evaluate the rules that are due at a tick of this time, and share or learn the states of alerts."""
        progress = self._progress
        engine, shared, slicer = progress.engine, progress.shared, Slicer()
        self._follow_clock()
        await self._load_rules(time_ms)
        engine.load_conditions(known_conditions())
        self._adopt(await asyncio.to_thread(shared.exchange), time_ms)
        leads = shared.leads
        progress.started_at = progress.started_at if progress.ticks else self._clock.monotonic()
        progress.ticks += 1
        async for _ in slicer.slices(engine.evaluate_due(time_ms, alerts=leads, readiness=self._readiness())):
            pass
        if leads:
            found = await progress.conditions.ask(time_ms, self._kept.history, self._monitor.report(), slicer)
            engine.take_conditions(found, time_ms, self._readiness())
        progress.evaluated_at = self._clock.monotonic()
        changes, engine.changes = engine.changes, []
        if leads and await asyncio.to_thread(shared.save, encode(engine.alerting_states(), time_ms)):
            progress.states_at = progress.evaluated_at
            for change in changes:
                self._tell(change)
        async for _ in slicer.slices(self._show(time_ms)):
            pass
        self._metrics.overhead_seconds.labels("alerts").inc(slicer.cpu_seconds)

    def _follow_clock(self) -> None:
        """Move all times with the history's samples, where the clock was set back."""
        progress, shifted_ms = self._progress, self._kept.history.shifted_ms
        if shifted_ms != progress.shifted_ms:
            progress.engine.shift(shifted_ms - progress.shifted_ms)
            progress.shifted_ms = shifted_ms

    async def _load_rules(self, time_ms: int) -> None:
        rules, progress = self.rules, self._progress
        if rules.have_changed():
            await asyncio.to_thread(rules.read_changed)
        if progress.readings == rules.readings:
            return
        progress.readings, groups = rules.readings, rules.groups
        progress.engine.load(groups, time_ms)
        for problem in rules.problems.values():
            self._event(events.RULE_FILE_REFUSED, file=problem.file, line_number=problem.line, reason=problem.reason)
        number = sum(len(group.rules) for group in groups)
        self._event(events.RULES_LOADED, rules=number, files=len({group.file for group in groups}))

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
            self._progress.engine.adopt(states, min(0, age_ms))
            self._progress.states_at = self._clock.monotonic() - max(0, age_ms) / 1000

    def _readiness(self) -> Readiness:
        progress = self._progress
        seconds = self._clock.monotonic() - progress.started_at
        settled = progress.ticks > 1 and seconds >= self._settings.alerts.settle_seconds
        return Readiness(settled, patient=seconds >= _WAITS_SECONDS)

    def _tell(self, change: Change) -> None:
        alert = change.alert
        self._event(
            events.ALERT_FIRING if change.fires else events.ALERT_RESOLVED,
            alert=change.rule,
            severity=dict(alert.labels).get("severity"),
            labels=text_of(alert.labels),
            summary=alert.annotations.get("summary"),
        )

    def _show(self, time_ms: int) -> Iterator[None]:
        """Put what is known now where it is seen: the report, the history, the metrics."""
        metrics, progress = self._metrics, self._progress
        report = yield from build_report(progress.engine, self._kept.history.interval_ms, time_ms)
        self._kept.history.record(_SAMPLES, time_ms, islice(report.samples.items(), _KEPT_SAMPLES))
        self.report = report
        metrics.history_refused.labels().inc(progress.engine.refused)
        progress.engine.refused = 0
        metrics.alerts.replace(report.count_alerts())
        metrics.alert_rules.replace(report.count_rules())
        metrics.alert_leader.labels().set(progress.shared.leads)
        metrics.alert_rule_files_refused.labels().set(len(self.rules.problems))
        metrics.alert_last_evaluation.labels().set(time_ms / 1000)

    def _outcome(self) -> Outcome:
        problems = self._problems()
        failing = [rule["name"] for group in self.report.groups for rule in group["rules"] if rule["health"] == "err"]
        if failing:
            problems.append(f"rules that fail, see api/v1/rules: {', '.join(failing[:_NAMED])}")
        silent = self._clock.monotonic() - self._progress.evaluated_at
        if self._progress.ticks and silent > _SILENT_INTERVALS * self._settings.history.interval_seconds:
            problems.append(f"no rules have been evaluated for {silent:.0f} s")
        return Outcome(HealthStatus.DEGRADED if problems else HealthStatus.HEALTHY, "; ".join(problems))

    def _problems(self) -> list[str]:
        refused = [f"rule file not used: {problem}" for problem in self.rules.problems.values()]
        overrides = self.rules.override_problems.items()
        return refused + [f"rules.{name} in the configuration file: {problem}" for name, problem in overrides]

    async def _end(self) -> None:
        """Let another process lead at once."""
        if self._progress.evaluation is not None:
            self._progress.evaluation.cancel()
        await asyncio.to_thread(self._progress.shared.close)
