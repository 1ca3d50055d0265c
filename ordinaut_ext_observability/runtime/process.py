"""The parts that one process has of us, and their start and end."""

from __future__ import annotations

import platform
import resource
import weakref
from contextlib import suppress
from pathlib import Path
from typing import Any

from ordinaut_ext_observability.background.clock import Clock, monotonic_seconds
from ordinaut_ext_observability.background.daemon_threads import STOP_SECONDS
from ordinaut_ext_observability.background.fork import reset_in_forked_child
from ordinaut_ext_observability.health.lifecycle import Lifecycle, LoopWatch
from ordinaut_ext_observability.health.monitor import HealthMonitor
from ordinaut_ext_observability.health.setup import make_monitor
from ordinaut_ext_observability.health.stalls import StallWatch
from ordinaut_ext_observability.metrics.budget import LabelBudgets
from ordinaut_ext_observability.metrics.declarations import Metrics
from ordinaut_ext_observability.metrics.declarations.http import REQUEST
from ordinaut_ext_observability.metrics.registry import Registry
from ordinaut_ext_observability.relay.log_levels import LogLevels
from ordinaut_ext_observability.releases.deployments import Deployments
from ordinaut_ext_observability.runtime.alerts import Alerts
from ordinaut_ext_observability.runtime.collectors import Collectors
from ordinaut_ext_observability.runtime.database_clients import DatabaseClients
from ordinaut_ext_observability.runtime.history import KeptHistory
from ordinaut_ext_observability.runtime.logs import ProcessLogs
from ordinaut_ext_observability.runtime.part import Part
from ordinaut_ext_observability.runtime.ports import Ports
from ordinaut_ext_observability.runtime.relay import MergedProcesses
from ordinaut_ext_observability.runtime.tracing import Tracing
from ordinaut_ext_observability.scrub.scrubber import Scrubber
from ordinaut_ext_observability.settings.load import Settings, effective_values
from ordinaut_ext_observability.trouble.recent import ErrorGroups, RecentTrouble
from ordinaut_ext_observability.version import __version__

_WRITING_SECONDS = 0.1
"""Time for lines to be written although everything else took as long as it may."""


class Runtime:
    """The parts of one process. At most one host application has it mounted."""

    def __init__(self, settings: Settings, clock: Clock | None = None) -> None:
        """Nothing is started, connected to or changed in the host."""
        self.settings = settings
        self.clock = clock or Clock()
        self.metrics = metrics = Metrics(_make_registry(settings))
        self.scrubber = _make_scrubber(settings, metrics)
        self.logs = ProcessLogs(settings, metrics, self.scrubber)
        errors = ErrorGroups(settings.general.version, metrics, self.clock, self.logs.event)
        self.trouble = RecentTrouble(errors, settings.logs.slow_request_seconds)
        self.logs.setup.handler.note_error = errors.note
        loop_watch = LoopWatch(self.clock)
        monitor = make_monitor(settings, metrics, loop_watch, self.clock, self.logs.event)
        if self.logs.file is not None:
            monitor.register_check("log_file", self.logs.check_file, required=False)
        self.lifecycle = Lifecycle(loop_watch, settings.management.loop_blocked_seconds, monitor)
        self.tracing = Tracing(settings, metrics, self.scrubber, self.logs.event, self.lifecycle)
        self.merged = MergedProcesses(settings, metrics, self.clock, monitor, self.logs.event)
        self.deployments = Deployments(settings.general, metrics, self.logs.event, shared=self.merged.relay is not None)
        if self.merged.relay is not None:
            self.merged.relay.documents["errors-1"] = errors  # with the number of its format
            self.merged.relay.documents["deployments-1"] = self.deployments
        self.collectors = Collectors(settings, metrics, self.clock, monitor, self.merged, self.logs.event)
        self.clients = DatabaseClients(
            metrics, self.merged.note_queued, watch_engines=settings.collectors.instrument_database
        )
        self.history = KeptHistory(settings.history, metrics, self.clock, self.merged.shown_registry)
        self.stalls = StallWatch(loop_watch, metrics, self.clock, self.logs.event)
        self.alerts = Alerts(
            settings, metrics, self.clock, monitor, self.history, self.merged.open_store, self.logs.event, self.trouble
        )
        self.levels = LogLevels(self.clock, self.logs.event, settings.logs.level, self.merged.open_store)
        self.logs.setup.lifted = self.levels.lifted
        if self.merged.relay is not None:
            self.merged.relay.exchange.on_watched = self.levels.follow
            self.merged.relay.documents["notifications-1"] = self.alerts.desk.store
        self.ports = Ports(self.logs.event)
        self._started = False
        _describe_build(settings, metrics)
        monitor.not_configured = tuple(self.collectors.not_configured())
        metrics.registry.refresh_with(lambda: _show_process(metrics, loop_watch))
        reset_in_forked_child(self)
        weakref.finalize(self, _stop_alive, weakref.ref(self))  # at exit

    @property
    def health_monitor(self) -> HealthMonitor:
        """The health checks of the process."""
        return self.lifecycle.monitor

    def parts(self) -> tuple[Part, ...]:
        """Everything that runs beside the host but its log, in the order in which it is started and stopped."""
        return (
            self.tracing,
            self.clients,
            self.collectors,
            self.merged,
            self.alerts.notifications,
            self.alerts,
            self.history,
            self.ports,
        )

    def reset_after_fork(self) -> None:
        """Nothing of the parent's runs here: begin with the first start."""
        self._started = False

    def start(self) -> None:
        """Start every part, and watch the running event loop. Starting again starts what is not running yet."""
        self.lifecycle.start_watching()
        self.stalls.start()
        if not self._started:
            self._started = True
            self.logs.start()
        for part in self.parts():
            part.start(serves=self.lifecycle.mounted)

    def stop(self) -> None:
        """End every part and write what is queued, in half a second. Safe without `start`, and more than once.

        Loggers keep our handler: a line logged later starts the log writer again.
        """
        if not self._started:
            return
        self._started = False
        self.lifecycle.stop_watching()
        ends_at = monotonic_seconds() + STOP_SECONDS
        for part in self.parts():
            part.begin_stop()
        for part in self.parts():
            part.stop(ends_at)
        self.levels.apply({}, "stopped")
        for log in (self.logs.audit, self.logs.writer):
            log.close(max(_WRITING_SECONDS, ends_at - monotonic_seconds()))

    def notes(self) -> dict[str, str]:
        """Words for people about how every part stands."""
        return {name: note for part in self.parts() for name, note in part.notes().items()}

    def config(self) -> dict[str, Any]:
        """The settings in effect and what was wrong with those that are not."""
        return {
            "settings": effective_values(self.settings),
            "problems": [problem._asdict() for problem in self.settings.problems],
        }


def _make_registry(settings: Settings) -> Registry:
    budgets = LabelBudgets(
        default=settings.metrics.label_budget,
        by_label=settings.metrics.label_budgets,
        max_series=settings.metrics.series_limit,
    )
    return Registry(budgets, {REQUEST: settings.http.buckets})


def _make_scrubber(settings: Settings, metrics: Metrics) -> Scrubber | None:
    """The scrubber of what leaves the process; None where the settings turn it off."""
    if not settings.general.scrub:
        return None
    key = settings.general.scrub_key
    return Scrubber(
        settings.file.scrub.allow,
        key.get_secret_value().encode() if key is not None else None,
        lambda kind: metrics.redactions.labels(kind).inc(),
        lambda _: metrics.count_internal_error("scrubber"),
    )


def _describe_build(settings: Settings, metrics: Metrics) -> None:
    general = settings.general
    labels = (__version__, platform.python_version(), general.environment, general.version)
    metrics.build_info.labels(*labels).set(1)
    metrics.settings_problems.labels().set(len(settings.problems))


def _show_process(metrics: Metrics, loop_watch: LoopWatch) -> None:
    if loop_watch.watching:
        metrics.event_loop_lag.labels("api").set(loop_watch.lag_seconds())
        with suppress(OSError):  # Linux alone tells it so
            pages = int(Path("/proc/self/statm").read_text().split()[1])
            metrics.process_memory.labels("api", "rss").set(pages * resource.getpagesize())


def _stop_alive(runtime: weakref.ref[Runtime]) -> None:
    alive = runtime()
    if alive is not None:
        alive.stop()
