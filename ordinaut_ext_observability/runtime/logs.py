"""The log lines of a process: their writer, the standard library's way to it, and our events' way."""

from __future__ import annotations

from dataclasses import asdict

from ordinaut_ext_observability.background.clock import Clock
from ordinaut_ext_observability.logs import access
from ordinaut_ext_observability.logs import event_types as events
from ordinaut_ext_observability.logs.destination import standard_stream
from ordinaut_ext_observability.logs.events import EventLog
from ordinaut_ext_observability.logs.levels import LoggerLevels
from ordinaut_ext_observability.logs.setup import LoggingSetup
from ordinaut_ext_observability.logs.writer import LogWriter, WriterReports
from ordinaut_ext_observability.metrics.declarations import Metrics
from ordinaut_ext_observability.settings.load import Settings

LOGGER_NAME = "orchestrator.observability"


class ProcessLogs:
    """Lines of all kinds go through one writer; the host's loggers are left alone until they are configured."""

    def __init__(self, settings: Settings, metrics: Metrics, clock: Clock) -> None:
        lines, logs = metrics.log_lines, settings.logs
        reports = WriterReports(
            lines.labels("written").inc,
            lines.labels("dropped").inc,
            metrics.overhead_seconds.labels("log_writer").inc,
            lambda _: metrics.count_internal_error("log_writer"),
        )
        self._settings = settings
        self.writer = LogWriter(standard_stream(logs.destination), reports)
        self.setup = LoggingSetup(self.writer, logs.level, replaces_access_log=logs.access_log)
        event_log = EventLog(self.writer, LOGGER_NAME, logs.level)
        self.event: events.LogEvent = event_log.emit
        self.levels = LoggerLevels(clock, self.event)
        self.levels.own[LOGGER_NAME] = logs.level, event_log.set_level
        self.setup.lifted = self.levels.lifted

    def start(self) -> None:
        """Say which settings could not be used, and take over the host's logging where the settings ask for it."""
        for problem in self._settings.problems:
            self.event(events.SETTING_NOT_USED, **asdict(problem))
        self.configure_if_asked()

    def configure_if_asked(self) -> None:
        """Take over the host's logging where the settings ask for it, also what was set up since."""
        if self._settings.logs.configure_logging:
            self.setup.configure()

    def make_access_log(self) -> access.AccessLog:
        """The access log that the settings describe."""
        log = access.AccessLog(self.writer, self._settings.logs)
        self.levels.own[access.LOGGER_NAME] = self._settings.logs.level, log.set_level
        return log
