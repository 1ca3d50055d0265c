"""The part of a process that evaluates rules over its history, and knows the alerts of the installation."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Final

from ordinaut_ext_observability.alerts.channels.base import ChannelContext
from ordinaut_ext_observability.alerts.notifications.alert import NotifiedAlert, notified_alert
from ordinaut_ext_observability.alerts.notifications.desk import AlertDesk
from ordinaut_ext_observability.alerts.notifications.explanation import explain_alerts
from ordinaut_ext_observability.alerts.notifications.links import Links
from ordinaut_ext_observability.alerts.report import AlertSeries
from ordinaut_ext_observability.alerts.rounds import Rounds
from ordinaut_ext_observability.background.clock import Clock
from ordinaut_ext_observability.background.fork import reset_in_forked_child
from ordinaut_ext_observability.cluster.base import Cluster
from ordinaut_ext_observability.health.model import HealthStatus, Outcome
from ordinaut_ext_observability.health.monitor import HealthMonitor
from ordinaut_ext_observability.logs import event_types as events
from ordinaut_ext_observability.logs.events import timestamp
from ordinaut_ext_observability.metrics.declarations import Metrics
from ordinaut_ext_observability.runtime.history import KeptHistory
from ordinaut_ext_observability.runtime.notifications import Notifications
from ordinaut_ext_observability.runtime.part import Part
from ordinaut_ext_observability.settings.load import Settings
from ordinaut_ext_observability.trouble.recent import RecentTrouble

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
        trouble: RecentTrouble,
    ) -> None:
        """Nothing is started, read or connected to. Without a store the process knows its own alerts alone."""
        self.enabled = settings.alerts.enabled and settings.history.enabled
        """True where rules are evaluated once there is an application to serve."""
        self._metrics = metrics
        self._monitor = monitor
        self._kept = kept
        runs = f"VERSION {settings.general.version or 'unknown'}, running since {timestamp(clock.wall()):.16} UTC"
        explain = partial(explain_alerts, runs, kept.history, trouble, lambda: self.rounds.report)
        links = _make_links(settings)
        context = ChannelContext(event, settings.alerts.external_url, links.of_delivery if links else None, explain)
        self.notifications = Notifications(settings, metrics, clock, open_store, context)
        """Started and stopped with the other parts."""
        self._make_rounds = partial(Rounds, settings, metrics, clock, monitor.report, kept.history, open_store, event)
        telling = self.notifications
        self.desk = AlertDesk(telling.store, telling.configured, self._own_alerts, event, links)
        self.desk.on_change, self.desk.send_test = telling.look_now, telling.send_test
        self._of_parent: list[object] = []
        self._begin()
        reset_in_forked_child(self)

    def reset_after_fork(self) -> None:
        """Begin anew: what is thrown away would close the parent's connection."""
        self._of_parent.append((self.rounds, self._evaluation))
        self._begin()

    def _begin(self) -> None:
        self.rounds: Rounds = self._make_rounds()
        self.rounds.tell = self.notifications.take_alerts
        self._evaluation: asyncio.Task[None] | None = None
        """The one under way, or the last."""

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
            if self.notifications.enabled:
                told = self.notifications.outcome
                self._monitor.register_check("notifications", told, required=False, only_trouble=True)

    def notes(self) -> dict[str, str]:
        """Words for people: how many rules and alerts, and who evaluates them."""
        if not self.enabled:
            return {"alerts": "off: ORDINAUT_OBS_ALERTS or ORDINAUT_OBS_HISTORY is false"}
        report = self.rounds.report
        firing = [alert.state for alert in report.alerts()].count("firing")
        who = "by this process" if self.rounds.shared.leads else "by another process"
        return {"alerts": f"{len([*report.rules()])} rules; alerts firing, of any severity: {firing}; evaluated {who}"}

    def series(self) -> AlertSeries:
        """The series of alerts, for a scrape; none where no rules are evaluated."""
        report = self.rounds.report
        return report.series() if report.groups or self._is_called else {}

    def _own_alerts(self) -> list[NotifiedAlert]:
        return [notified_alert(alert) for alert in self.rounds.report.alerts() if alert.fired_at_ms is not None]

    def begin_evaluation(self, time_ms: int) -> None:
        """Evaluate what is due beside the history's own work; nothing where the last evaluation has not ended."""
        if self._evaluation is not None and not self._evaluation.done():
            self._metrics.alert_ticks_missed.labels().inc()
        else:
            self._evaluation = asyncio.get_running_loop().create_task(self._evaluate_within_deadline(time_ms))

    async def _evaluate_within_deadline(self, time_ms: int) -> None:
        try:
            async with asyncio.timeout(_DEADLINE_SECONDS):
                await self.rounds.evaluate(time_ms)
        except Exception:  # noqa: BLE001 - counted; the next tick comes all the same
            self._metrics.count_internal_error("alerts")

    async def _end(self) -> None:
        """Let another process lead at once."""
        if self._evaluation is not None:
            self._evaluation.cancel()
        self.rounds.begin_anew()
        await asyncio.to_thread(self.rounds.shared.close)

    def _outcome(self) -> Outcome:
        troubles = self.rounds.troubles()
        return Outcome(HealthStatus.DEGRADED if troubles else HealthStatus.HEALTHY, "; ".join(troubles))


def _make_links(settings: Settings) -> Links | None:
    """Makes and reads the links in messages; None: there are none."""
    token, url = settings.access.operator_token, settings.alerts.external_url
    return Links(token.get_secret_value(), url) if token is not None and url else None
