"""The part of a process that evaluates rules over its history, and knows the alerts of the installation."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Final

from ordinaut_ext_observability.alerts.loading import LoadedRules
from ordinaut_ext_observability.alerts.report import AlertSeries
from ordinaut_ext_observability.alerts.rounds import Rounds
from ordinaut_ext_observability.alerts.storage import SharedStates
from ordinaut_ext_observability.background.clock import Clock
from ordinaut_ext_observability.background.fork import reset_in_forked_child
from ordinaut_ext_observability.cluster.base import Cluster
from ordinaut_ext_observability.health.model import HealthStatus, Outcome
from ordinaut_ext_observability.health.monitor import HealthMonitor
from ordinaut_ext_observability.logs import event_types as events
from ordinaut_ext_observability.metrics.declarations import Metrics
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
        self._of_parent: list[object] = []
        self._begin()
        reset_in_forked_child(self)

    def reset_after_fork(self) -> None:
        """Begin anew: what is thrown away would close the parent's connection."""
        self._of_parent.append((self.rounds, self._evaluation))
        self._begin()

    def _begin(self) -> None:
        settings, history = self._settings, self._kept.history
        self._rules = LoadedRules(settings.file.rule_files, settings.file.rules)
        # After a leader's end, another leads as soon as the lease has ended, and a tick has come.
        interval = settings.history.interval_seconds
        self.lease_seconds = max(_SHORTEST_LEASE_SECONDS, _LEASE_INTERVALS * interval)
        """Age from which on another process has become the leader, or nobody has."""
        shared = SharedStates(self._open_store, self.lease_seconds)
        self.rounds = Rounds(settings, self._rules, history, shared, self._metrics, self._clock, self._event)
        self._evaluation: asyncio.Task[None] | None = None
        """The one under way, or the last."""

    @property
    def enabled(self) -> bool:
        """True where rules are evaluated once there is an application to serve."""
        return self._settings.alerts.enabled and self._settings.history.enabled

    @property
    def _is_called(self) -> bool:
        """True once the history calls after each tick."""
        return self._kept.after_tick == self.begin_evaluation

    def start(self, *, serves: bool) -> None:
        """Have rules evaluated after each tick of the history, where there is one."""
        if serves and self.enabled and not self._is_called:
            self._kept.after_tick, self._kept.at_end = self.begin_evaluation, self._end
            self._monitor.register_check(
                "alerts", self._outcome, required=False, failures_to_worsen=1, only_trouble=True
            )

    def notes(self) -> dict[str, str]:
        """Words for people: how many rules and alerts, and who evaluates them."""
        if not self.enabled:
            return {"alerts": "off: ORDINAUT_OBS_ALERTS or ORDINAUT_OBS_HISTORY is false"}
        report = self.rounds.report
        firing = [alert["state"] for alert in report.alerts].count("firing")
        rules = sum(len(group["rules"]) for group in report.groups)
        who = "by this process" if self.rounds.shared.leads else "by another process"
        return {"alerts": f"{rules} rules; alerts firing, of any severity: {firing}; evaluated {who}"}

    def reload(self) -> list[str]:
        """Read all rule files again, from any thread; they take effect at the next tick. Returns what is refused."""
        self._rules.read_changed(all_files=True)
        return self._refused()

    def state(self) -> dict[str, Any]:
        """Rules and alerts as they are shown, who evaluates them, and how old all of it is."""
        rounds = self.rounds
        known_at = rounds.progress.states_at
        return {
            "groups": rounds.report.groups,
            "alerts": rounds.report.alerts,
            "evaluated_here": rounds.shared.leads,
            "age_seconds": None if known_at is None else self._clock.monotonic() - known_at,
            "settled": rounds.readiness().settled,
            "problems": self._problems(),
            "store_problem": rounds.shared.problem,
        }

    def series(self) -> AlertSeries:
        """The series of alerts, for a scrape; none where no rules are evaluated."""
        report = self.rounds.report
        return report.series() if report.groups or self._is_called else {}

    def begin_evaluation(self, time_ms: int) -> None:
        """Evaluate what is due beside the history's own work; nothing where the last evaluation has not ended."""
        if self._evaluation is not None and not self._evaluation.done():
            self._metrics.alert_ticks_missed.labels().inc()
        else:
            self._evaluation = asyncio.get_running_loop().create_task(self._evaluate_within_deadline(time_ms))

    async def _evaluate_within_deadline(self, time_ms: int) -> None:
        try:
            async with asyncio.timeout(_DEADLINE_SECONDS):
                await self.evaluate(time_ms)
        except Exception:  # noqa: BLE001 - counted; the next tick comes all the same
            self._metrics.count_internal_error("alerts")

    async def evaluate(self, time_ms: int) -> None:
        """Evaluate what is due at a tick of the history at this time."""
        await self.rounds.evaluate(time_ms, self._monitor.report)

    async def _end(self) -> None:
        """Let another process lead at once."""
        if self._evaluation is not None:
            self._evaluation.cancel()
        self.rounds.begin_anew()
        await asyncio.to_thread(self.rounds.shared.close)

    def _outcome(self) -> Outcome:
        problems, progress = self._problems(), self.rounds.progress
        groups = self.rounds.report.groups
        failing = [rule["name"] for group in groups for rule in group["rules"] if rule["health"] == "err"]
        if failing:
            problems.append(f"rules that fail: {', '.join(failing[:_NAMED])}; GET /rules gives the reasons")
        now, patience = self._clock.monotonic(), _SILENT_INTERVALS * self._settings.history.interval_seconds
        evaluated_at, states_at = max(progress.evaluated_at, progress.began_at), progress.states_at
        if progress.ticks and now - evaluated_at > patience:
            problems.append(f"no rules have been evaluated for {now - evaluated_at:.0f} s")
        elif progress.ticks and states_at is None and now - progress.began_at > patience + self.lease_seconds:
            problems.append("another process evaluates alerts, and its states cannot be read")
        elif states_at is not None and now - states_at > patience + self.lease_seconds:
            problems.append(f"alerts are shown as they were {now - states_at:.0f} s ago")
        return Outcome(HealthStatus.DEGRADED if problems else HealthStatus.HEALTHY, "; ".join(problems))

    def _problems(self) -> list[str]:
        overrides = self._rules.override_problems.items()
        return self._refused() + [f"rules.{name} in the configuration file: {problem}" for name, problem in overrides]

    def _refused(self) -> list[str]:
        return [f"rule file not used: {problem}" for problem in self._rules.problems.values()]
