"""The log lines of a process: their writer, the standard library's way to it, and our events' way."""

from __future__ import annotations

from dataclasses import asdict

from ordinaut_ext_observability.audit.trail import AuditTrail
from ordinaut_ext_observability.logs import event_types as events
from ordinaut_ext_observability.logs.access import AccessLog
from ordinaut_ext_observability.logs.destination import standard_stream
from ordinaut_ext_observability.logs.events import EventLog
from ordinaut_ext_observability.logs.setup import LoggingSetup
from ordinaut_ext_observability.logs.writer import LogWriter, WriterReports
from ordinaut_ext_observability.metrics.declarations import Metrics
from ordinaut_ext_observability.settings.load import Settings
from ordinaut_ext_observability.settings.parts import AuditSettings

LOGGER_NAME = "orchestrator.observability"


class ProcessLogs:
    """Lines of all kinds go through one writer; the host's loggers are left alone until they are configured."""

    def __init__(self, settings: Settings, metrics: Metrics) -> None:
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
        log = EventLog(self.writer, LOGGER_NAME, logs.level)
        self.event: events.LogEvent = log.emit
        audit = AuditSettings() if settings.general.disabled else settings.audit
        self.audit = AuditTrail(audit, metrics, self.event)
        log.audit = self.audit.record

    def start(self) -> None:
        """Say which settings could not be used, and take over the host's logging where the settings ask for it."""
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
