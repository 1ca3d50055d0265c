"""The log lines of a process: their writer, the standard library's way to it, and our events' way."""

from __future__ import annotations

from dataclasses import asdict

from ordinaut_ext_observability.logs import event_types as events
from ordinaut_ext_observability.logs.access import AccessLog
from ordinaut_ext_observability.logs.destination import standard_stream
from ordinaut_ext_observability.logs.events import EventLog
from ordinaut_ext_observability.logs.setup import LoggingSetup
from ordinaut_ext_observability.logs.writer import LogWriter, WriterReports
from ordinaut_ext_observability.metrics.declarations import Metrics
from ordinaut_ext_observability.scrub.scrubber import Scrubber
from ordinaut_ext_observability.settings.load import Settings

LOGGER_NAME = "orchestrator.observability"


class ProcessLogs:
    """Lines of all kinds go through one writer; the host's loggers are left alone until they are configured."""

    def __init__(self, settings: Settings, metrics: Metrics, scrubber: Scrubber | None) -> None:
        lines, logs = metrics.log_lines, settings.logs
        reports = WriterReports(
            lines.labels("written").inc,
            lines.labels("dropped").inc,
            metrics.overhead_seconds.labels("log_writer").inc,
            lambda _: metrics.count_internal_error("log_writer"),
        )
        self._settings = settings
        self.writer = LogWriter(standard_stream(logs.destination), reports)
        if scrubber is not None:
            self.writer.scrub = scrubber.lines
        self.setup = LoggingSetup(self.writer, logs.level, replaces_access_log=logs.access_log)
        self.event: events.LogEvent = EventLog(self.writer, LOGGER_NAME, logs.level).emit

    def start(self) -> None:
        """Say which settings could not be used, and take over the host's logging where the settings ask for it."""
        if not self._settings.general.scrub:
            self.event(events.SCRUBBING_OFF)
        for problem in self._settings.problems:
            self.event(events.SETTING_NOT_USED, **asdict(problem))
        self.configure_if_asked()

    def configure_if_asked(self) -> None:
        """Take over the host's logging where the settings ask for it, also what was set up since."""
        if self._settings.logs.configure_logging:
            self.setup.configure()

    def make_access_log(self) -> AccessLog:
        """The access log that the settings describe."""
        return AccessLog(self.writer, self._settings.logs)
