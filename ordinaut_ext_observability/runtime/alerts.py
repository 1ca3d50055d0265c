"""The part of a process that evaluates rules over its history, and knows the alerts of the installation."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from ordinaut_ext_observability.alerts.context import context_at
from ordinaut_ext_observability.alerts.evaluation import Engine, Readiness
from ordinaut_ext_observability.alerts.loading import LoadedRules
from ordinaut_ext_observability.alerts.manager import managers
from ordinaut_ext_observability.alerts.report import (
    ALERT_SERIES,
    AlertSeries,
    Report,
    show_alert_in_full,
    show_group,
    show_rule,
)
from ordinaut_ext_observability.alerts.states import Change, samples_of
from ordinaut_ext_observability.alerts.storage import SharedStates, decode, encode
from ordinaut_ext_observability.background.clock import Clock
from ordinaut_ext_observability.background.fork import reset_in_forked_child
from ordinaut_ext_observability.background.slicer import Slicer
from ordinaut_ext_observability.cluster.base import Cluster
from ordinaut_ext_observability.health.model import HealthStatus, Outcome
from ordinaut_ext_observability.health.monitor import HealthMonitor
from ordinaut_ext_observability.history.series import NAME, Labels
from ordinaut_ext_observability.logs import event_types as events
from ordinaut_ext_observability.metrics.declarations import Metrics
from ordinaut_ext_observability.promql.labels import text_of
from ordinaut_ext_observability.runtime.history import KeptHistory
from ordinaut_ext_observability.runtime.part import Part
from ordinaut_ext_observability.settings.load import Settings

_SILENT_INTERVALS: Final = 3
"""So many intervals without an evaluation are worth saying."""

_LEASE_INTERVALS: Final = 3
"""A leader that evaluated nothing for so many intervals is followed by another."""
_SHORTEST_LEASE_SECONDS: Final = 15.0
"""A call of the store may take two seconds, and there are two between two exchanges."""

_DEADLINE_SECONDS: Final = 60.0
"""Longest evaluation of all rules. What is left of it comes at the next tick."""

_CONDITIONS_SECONDS: Final = 2.0
"""Longest wait for the host's conditions; one that hangs is not asked again before it answers."""

_OUTAGE_MS: Final = 3_600_000
"""States older than this are no states of now: Prometheus's own default."""
_WAITS_SECONDS: Final = 600.0
"""A restored alert waits no longer for a complete history: as long as Prometheus's grace for restored alerts."""

_COUNTED: Final = ("pending", "firing")

_SAMPLES: Final = "ALERTS"
"""The name under which the history keeps the series of alerts."""


_Answers = dict[tuple[str, str], tuple[bool | None, str]]
"""By name and severity of a condition: whether it holds, None where it failed, and what is to be said."""


@dataclass(slots=True)
class _Progress:
    """How far this process has come. Times of the monotonic clock, but those that end in `_ms`."""

    ticks: int = 0
    started_at: float = 0.0
    evaluated_at: float = 0.0
    states_at: float = 0.0
    """When the states were those that are known here."""
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
        """Nothing is started, read or connected to."""
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
        """Know no alerts: the store does. The parent's connection is the parent's."""
        self._of_parent.append(self._shared)
        self._begin()

    def _begin(self) -> None:
        interval = self._settings.history.interval_seconds
        self._engine = Engine(self._kept.history)
        self._shared = SharedStates(self._open_store, max(_SHORTEST_LEASE_SECONDS, _LEASE_INTERVALS * interval))
        self._progress = _Progress()
        self._running: asyncio.Task[None] | None = None
        self._asked: asyncio.Future[_Answers] | None = None
        self._loaded = 0
        self.report = Report()
        """What is shown; another object after each evaluation."""
        self.series: AlertSeries = {}
        """Labels and values of the series of alerts, by name."""

    @property
    def enabled(self) -> bool:
        """True where rules are evaluated once there is an application to serve."""
        return self._settings.alerts.enabled and self._settings.history.enabled

    def start(self, *, serves: bool) -> None:
        """Have rules evaluated after each tick of the history, where there is one."""
        if serves and self.enabled:
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
        who = "by this process" if self._shared.leads else "by another process"
        return {"alerts": f"{rules} rules, {states.count('firing')} alerts firing, evaluated {who}"}

    def reload(self) -> list[str]:
        """Read all rule files again, from any thread; they take effect at the next tick. Returns what is wrong."""
        self.rules.read_changed(all_files=True)
        return [str(problem) for problem in self.rules.problems.values()]

    def state(self) -> dict[str, Any]:
        """Rules and alerts as they are shown, who evaluates them, and how old all of it is."""
        progress = self._progress
        return {
            "groups": self.report.groups,
            "alerts": self.report.alerts,
            "evaluated_here": self._shared.leads,
            "age_seconds": self._clock.monotonic() - progress.states_at if progress.ticks else None,
            "settled": self._readiness().settled,
            "problems": self._problems(),
        }

    def begin_evaluation(self, time_ms: int) -> None:
        """Evaluate what is due beside the history's own work; nothing where the last evaluation has not ended."""
        if self._running is not None and not self._running.done():
            self._metrics.alert_ticks_missed.labels().inc()
            return
        self._running = asyncio.get_running_loop().create_task(self._evaluate_within_deadline(time_ms))

    async def _evaluate_within_deadline(self, time_ms: int) -> None:
        try:
            async with asyncio.timeout(_DEADLINE_SECONDS):
                await self.evaluate(time_ms)
        except Exception:  # noqa: BLE001 - counted; the next tick comes all the same
            self._metrics.count_internal_error("alerts")

    async def evaluate(self, time_ms: int) -> None:
        """Evaluate the rules that are due at a tick of this time, and share or learn the states of alerts."""
        engine, shared, progress = self._engine, self._shared, self._progress
        self._follow_clock()
        await self._load_rules(time_ms)
        engine.load_conditions((rule.name, rule.severity.value) for manager in list(managers) for rule in manager.rules)
        if content := await asyncio.to_thread(shared.exchange):
            self._adopt(content, time_ms)
        progress.started_at = progress.started_at if progress.ticks else self._clock.monotonic()
        progress.ticks += 1
        leads, slicer = shared.leads, Slicer()
        async for _ in slicer.slices(engine.evaluate_due(time_ms, alerts=leads, readiness=self._readiness())):
            pass
        if leads:
            await self._ask_conditions(time_ms, slicer)
        changes, engine.changes = engine.changes, []
        progress.evaluated_at = self._clock.monotonic()
        if leads and await asyncio.to_thread(shared.save, encode(engine.alerting_states(), time_ms)):
            progress.states_at = progress.evaluated_at
            for change in changes:
                self._tell(change)
        async for _ in slicer.slices(self._show(time_ms)):
            pass
        self._metrics.overhead_seconds.labels("alerts").inc(slicer.cpu_seconds)

    async def _ask_conditions(self, time_ms: int, slicer: Slicer) -> None:
        """Ask the rules that the host wrote as functions, in a thread: what they do is not known."""
        if not self._engine.conditions.rules or (self._asked is not None and not self._asked.done()):
            return
        context: dict[str, Any] = {}
        async for _ in slicer.slices(context_at(time_ms, self._kept.history, self._monitor.report(), context)):
            pass
        self._asked = asyncio.ensure_future(asyncio.to_thread(_ask, context))
        done, _ = await asyncio.wait([self._asked], timeout=_CONDITIONS_SECONDS)
        if done:
            self._engine.take_conditions(self._asked.result(), time_ms, self._readiness())

    def _follow_clock(self) -> None:
        """Move all times with the history's samples, where the clock was set back."""
        shifted = self._kept.history.shifted_ms
        if shifted != self._progress.shifted_ms:
            self._engine.shift(shifted - self._progress.shifted_ms)
            self._progress.shifted_ms = shifted

    async def _load_rules(self, time_ms: int) -> None:
        rules = self.rules
        if rules.have_changed():
            await asyncio.to_thread(rules.read_changed)
        if self._loaded == rules.readings:
            return
        self._loaded = rules.readings
        groups = rules.groups
        self._engine.load(groups, time_ms)
        for problem in rules.problems.values():
            self._event(events.RULE_FILE_REFUSED, file=problem.file, line_number=problem.line, reason=problem.reason)
        number = sum(len(group.rules) for group in groups)
        self._event(events.RULES_LOADED, rules=number, files=len({group.file for group in groups}))

    def _adopt(self, content: bytes, time_ms: int) -> None:
        """Go on from the states that another process wrote."""
        try:
            written_ms, states = decode(content)
        except ValueError:
            self._metrics.count_internal_error("alerts_document")
            return
        age_ms = max(0, time_ms - written_ms)
        if age_ms <= _OUTAGE_MS:
            self._engine.adopt(states, min(0, time_ms - written_ms))
            self._progress.states_at = self._clock.monotonic() - age_ms / 1000

    def _readiness(self) -> Readiness:
        progress = self._progress
        seconds = self._clock.monotonic() - progress.started_at
        settled = progress.ticks > 1 and seconds >= self._settings.alerts.settle_seconds
        return Readiness(settled, patient=seconds >= _WAITS_SECONDS)

    def _tell(self, change: Change) -> None:
        alert = change.alert
        labels = dict(alert.labels)
        self._event(
            events.ALERT_FIRING if change.fires else events.ALERT_RESOLVED,
            alert=change.rule,
            severity=labels.get("severity"),
            labels=text_of(alert.labels),
            summary=alert.annotations.get("summary"),
        )

    def _show(self, time_ms: int) -> Iterator[None]:
        """Put what is known now where it is seen: the report, the history, the metrics."""
        engine, metrics = self._engine, self._metrics
        groups: list[dict[str, Any]] = []
        alerts: list[dict[str, Any]] = []
        samples: dict[Labels, float] = {}
        healths = dict.fromkeys(("ok", "err", "unknown"), 0.0)
        for group in engine.groups():
            states = [engine.state_of(group, rule) for rule in group.rules]
            shown = []
            for rule, state in zip(group.rules, states, strict=True):
                shown.append(show_rule(rule, state, engine.notes_on(rule, time_ms)))
                alerts += [show_alert_in_full(rule.name, alert) for alert in state.alerts.values()]
                samples |= {labels: value for alert in state.active for labels, value in samples_of(alert)}
                healths[state.health] += 1
                yield
            groups.append(show_group(group, self._kept.history.interval_ms, shown, states))
        self.report = Report(tuple(groups), tuple(alerts))
        self._kept.history.record(_SAMPLES, time_ms, samples.items())
        self.series = _by_name(samples)
        metrics.alerts.replace(_count(groups, alerts))
        metrics.alert_rules.replace({(health,): number for health, number in healths.items()})
        metrics.alert_leader.labels().set(self._shared.leads)
        metrics.alert_rule_files_refused.labels().set(len(self.rules.problems))
        metrics.alert_last_evaluation.labels().set(time_ms / 1000)

    def _outcome(self) -> Outcome:
        problems = self._problems()
        failing = [rule["name"] for group in self.report.groups for rule in group["rules"] if rule["health"] == "err"]
        if failing:
            problems.append(f"{len(failing)} rules fail, such as {failing[0]}")
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
        if self._running is not None:
            self._running.cancel()
        await asyncio.to_thread(self._shared.close)


def _ask(context: dict[str, Any]) -> _Answers:
    answers = [answer for manager in list(managers) for answer in manager.evaluate(context)]
    return {(rule.name, rule.severity.value): (holds, message) for rule, holds, message in answers}


def _by_name(samples: Mapping[Labels, float]) -> AlertSeries:
    named: dict[str, list[tuple[Mapping[str, str], float]]] = {name: [] for name in ALERT_SERIES}
    for labels, value in samples.items():
        others = dict(labels)
        named[others.pop(NAME)].append((others, value))
    return named


def _count(groups: list[dict[str, Any]], alerts: list[dict[str, Any]]) -> dict[tuple[str, ...], float]:
    """Alerts by severity and state; 0 for severities that rules have and alerts do not."""
    texts = {rule["labels"].get("severity", "") for group in groups for rule in group["rules"] if "alerts" in rule}
    severities = {text for text in texts if "{{" not in text}
    counts: dict[tuple[str, ...], float] = {(severity, state): 0.0 for severity in severities for state in _COUNTED}
    for alert in alerts:
        if alert["state"] in _COUNTED:
            key = (alert["severity"], alert["state"])
            counts[key] = counts.get(key, 0.0) + 1
    return counts
