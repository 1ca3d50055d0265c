"""The parts every process has of us, with or without an HTTP server, and their start and end."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import platform
import weakref
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from ordinaut_ext_observability.background.clock import Clock, SystemClock, monotonic_seconds
from ordinaut_ext_observability.background.daemon_threads import STOP_SECONDS
from ordinaut_ext_observability.background.fork import reset_in_forked_child
from ordinaut_ext_observability.errors import AddressInUseError, ServedByAnotherWorkerError
from ordinaut_ext_observability.health.lifecycle import Lifecycle, LoopWatch
from ordinaut_ext_observability.health.setup import Parts, make_monitor
from ordinaut_ext_observability.logs import event_types as events
from ordinaut_ext_observability.logs.access import AccessLog
from ordinaut_ext_observability.logs.destination import standard_stream
from ordinaut_ext_observability.logs.events import EventLog
from ordinaut_ext_observability.logs.setup import LoggingSetup
from ordinaut_ext_observability.logs.writer import LogWriter, WriterReports
from ordinaut_ext_observability.metrics.budget import LabelBudgets
from ordinaut_ext_observability.metrics.declarations.http import REQUEST
from ordinaut_ext_observability.metrics.definitions import Metrics
from ordinaut_ext_observability.metrics.foreign import ForeignMetrics
from ordinaut_ext_observability.metrics.registry import Registry
from ordinaut_ext_observability.runtime.sources import Sources
from ordinaut_ext_observability.settings.load import Settings, effective_values
from ordinaut_ext_observability.version import __version__

if TYPE_CHECKING:
    from ordinaut_ext_observability.web.management import ManagementServer

LOGGER_NAME = "orchestrator.observability"
_WRITING_SECONDS = 0.1
"""How long lines may take to be written although everything else took as long as it may."""


class Runtime:
    """What one process has of us: registry, log writer, threads. At most one host application has it mounted."""

    def __init__(self, settings: Settings, clock: Clock | None = None) -> None:
        self.settings = settings
        self.clock = clock or SystemClock()
        budgets = LabelBudgets(
            default=settings.metrics.label_budget,
            by_label=settings.metrics.label_budgets,
            max_series=settings.metrics.series_limit,
        )
        self.registry = Registry(budgets, {REQUEST: settings.http.buckets})
        self.metrics = Metrics(self.registry)
        self.log_writer = self._make_log_writer()
        self.logging = LoggingSetup(self.log_writer, settings.logs.level, replaces_access_log=settings.logs.access_log)
        self.event = EventLog(self.log_writer, LOGGER_NAME, settings.logs.level).emit
        """Logs something that happened to us."""
        self.loop_watch = LoopWatch(self.clock)
        self.health_monitor = make_monitor(Parts(settings, self.metrics, self.loop_watch, self.clock), self.event)
        self.lifecycle = Lifecycle(self.loop_watch, settings.management.loop_blocked_seconds, self.health_monitor)
        self.foreign = ForeignMetrics(
            reserved_names=self.registry.names,
            on_clash=lambda name: self.metrics.metric_clashes.labels(name).inc(),
            on_error=lambda _: self.metrics.count_internal_error("foreign_metrics"),
            multiprocess_dir=settings.metrics.multiprocess_dir,
        )
        self.mounted = False
        self.sources = Sources(
            settings,
            self.metrics,
            self.clock,
            self.health_monitor,
            serves=lambda: self.mounted,
            event=self.event,
        )
        self._management: ManagementServer | None = None
        self._management_tried = False
        self._exporter: ManagementServer | None = None
        self._management_note = "off: ORDINAUT_OBS_MANAGEMENT_PORT is not set"
        self._executor: ThreadPoolExecutor | None = None
        self._exporter_claims = itertools.count()
        self._started = False
        self._describe_build()
        self.registry.refresh_with(self._refresh)
        reset_in_forked_child(self)
        weakref.finalize(self, _stop_alive, weakref.ref(self))  # at exit

    def executor(self) -> ThreadPoolExecutor:
        """Threads of ours, so that the host's pool is neither starved nor able to starve us."""
        if self._executor is None:
            self._executor = ThreadPoolExecutor(max_workers=2, thread_name_prefix="observability")
        return self._executor

    def reset_after_fork(self) -> None:
        """In a forked child nothing of the parent's runs: begin anew with the first start."""
        self._started = False
        self._executor = None
        self._management_tried = False
        self._exporter_claims = itertools.count()
        self.health_monitor.reset_after_fork()
        for server in (self._management, self._exporter):
            if server is not None:
                server.reset_after_fork()

    def start(self) -> None:
        """Begin watching the running event loop and open the management port. Starting again does nothing."""
        with contextlib.suppress(RuntimeError):  # no running loop: it is watched from the first request on
            self.loop_watch.start(asyncio.get_running_loop())
            self.health_monitor.start()
        if self._started:
            self.sources.start()
            self._start_management()
            return
        self._started = True
        for problem in self.settings.problems:
            self.event(events.SETTING_NOT_USED, **asdict(problem))
        if self.settings.logs.configure_logging:
            self.logging.configure()
        self.sources.start()
        self._start_management()

    def stop(self) -> None:
        """End every thread and write what is queued, in half a second. Safe without `start`, and more than once.

        Loggers keep our handler: a line logged later starts the log writer again.
        """
        if not self._started:
            return
        self._started = self._management_tried = False
        self.stop_on_loop()
        ends_at = monotonic_seconds() + STOP_SECONDS
        parts = [part for part in (self._management, self._exporter, self.sources) if part is not None]
        for part in parts:
            part.begin_stop()
        for part in parts:
            part.stop(ends_at)
        if self._executor is not None:
            self._executor.shutdown(wait=False, cancel_futures=True)
            self._executor = None
        self.log_writer.close(max(_WRITING_SECONDS, ends_at - monotonic_seconds()))

    def stop_on_loop(self) -> None:
        """End what runs on the host's loop; call it there, or once the loop is closed."""
        self.loop_watch.stop()
        self.health_monitor.stop()

    async def own_registry(self) -> Registry:
        """The registry of the process alone, for its own exporter."""
        return self.registry

    def claim_exporter(self) -> bool:
        """True for the first caller, who opens the exporter's port."""
        return next(self._exporter_claims) == 0

    def serve_exporter(self, server: ManagementServer) -> None:
        """Start this server now: it is this process's own exporter. Not where an application was mounted meanwhile."""
        if self.mounted:
            return
        self._exporter = server
        self._open(server, "exporter")

    def close_exporter(self) -> None:
        """An application serves the metrics from now on."""
        next(self._exporter_claims)
        if self._exporter is not None:
            self._exporter.stop()

    def serve_management(self, server: ManagementServer) -> None:
        """Have this server started and stopped with the runtime."""
        self._management = server

    def management_note(self) -> str:
        """Whether the management port is open, and where or why not."""
        server = self._management
        return _url_of(server) if server is not None and server.address is not None else self._management_note

    def config(self) -> dict[str, Any]:
        """The settings in effect and what was wrong with those that are not."""
        return {
            "settings": effective_values(self.settings),
            "problems": [asdict(problem) for problem in self.settings.problems],
        }

    def _make_log_writer(self) -> LogWriter:
        lines = self.metrics.log_lines
        written, dropped = lines.labels("written"), lines.labels("dropped")
        cpu = self.metrics.overhead_seconds.labels("log_writer")
        return LogWriter(
            standard_stream(self.settings.logs.destination),
            WriterReports(written.inc, dropped.inc, cpu.inc, lambda _: self.metrics.count_internal_error("log_writer")),
        )

    def make_access_log(self) -> AccessLog:
        """The access log that the settings describe."""
        logs = self.settings.logs
        return AccessLog(
            self.log_writer,
            enabled=logs.access_log,
            sample_ratio=logs.access_log_sample_ratio,
            slow_seconds=logs.slow_request_seconds,
            least_level=logs.level,
        )

    def _start_management(self) -> None:
        if self._management is not None and not self._management_tried:
            self._management_tried = True
            problem = self._open(self._management, "management port")
            if problem is not None:
                self._management_note = f"off: {problem}"

    def _open(self, server: ManagementServer, what: str) -> str | None:
        """Start a server of ours; why it could not be started, or None."""
        try:
            server.start()
        except AddressInUseError as error:
            elsewhere = isinstance(error, ServedByAnotherWorkerError)
            self.event(
                (events.PORT_OF_ANOTHER_WORKER if elsewhere else events.PORT_NOT_OPENED)[what], reason=str(error)
            )
            return str(error)
        self.event(events.PORT_OPEN[what], url=_url_of(server))
        return None

    def _describe_build(self) -> None:
        general = self.settings.general
        self.metrics.build_info.labels(
            __version__, platform.python_version(), general.environment, general.version
        ).set(1)
        self.metrics.settings_problems.labels().set(len(self.settings.problems))

    def _refresh(self) -> None:
        if self.loop_watch.watching:
            self.metrics.event_loop_lag.labels("api").set(self.loop_watch.lag_seconds())


def _stop_alive(runtime: weakref.ref[Runtime]) -> None:
    alive = runtime()
    if alive is not None:
        alive.stop()


def _url_of(server: ManagementServer) -> str:
    host, port = server.address or ("", 0)
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
