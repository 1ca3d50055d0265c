"""The log lines of a process: their writer, the standard library's way to it, and our events' way."""

from __future__ import annotations

from dataclasses import replace

from ordinaut_ext_observability.audit.trail import AuditTrail
from ordinaut_ext_observability.health.model import HealthStatus, Outcome
from ordinaut_ext_observability.logs import event_types as events
from ordinaut_ext_observability.logs.access import AccessLog
from ordinaut_ext_observability.logs.destination import standard_stream
from ordinaut_ext_observability.logs.events import EventLog
from ordinaut_ext_observability.logs.log_file import LogFile
from ordinaut_ext_observability.logs.setup import LoggingSetup
from ordinaut_ext_observability.logs.writer import LEVEL_AT, LogWriter, WriterReports
from ordinaut_ext_observability.metrics.declarations import Metrics
from ordinaut_ext_observability.scrub.scrubber import Scrubber
from ordinaut_ext_observability.settings.load import Settings
from ordinaut_ext_observability.settings.parts import AuditSettings

LOGGER_NAME = "orchestrator.observability"
_AFTER_LOGGER = '","message":'


class ProcessLogs:
    """Lines of all kinds go through one writer; the host's loggers are left alone until they are configured."""

    def __init__(self, settings: Settings, metrics: Metrics, scrubber: Scrubber | None) -> None:
        logs = settings.logs
        self._settings = settings
        self._metrics = metrics
        self.file = logs.file and LogFile(
            logs.file, logs.file_max_bytes, logs.files_kept, lambda why: self.event(events.LOG_FILE_FAILED, reason=why)
        )
        self.writer = self._make_writer()
        self.writer.on_lines = self._count_records
        if scrubber is not None:
            self.writer.scrub = scrubber.lines
        self.access_log = AccessLog(self.writer, logs)
        self.setup = LoggingSetup(self.writer, logs.level, replaces_access_log=logs.access_log)
        log = EventLog(self.writer, LOGGER_NAME, logs.level)
        self.event: events.LogEvent = log.emit
        audit = AuditSettings() if settings.general.disabled else settings.audit
        self.audit = AuditTrail(audit, metrics, self.event)
        log.audit = self.audit.record

    def start(self) -> None:
        """Say which settings could not be used, and take over the host's logging where the settings ask for it."""
        if not self._settings.general.scrub:
            self.event(events.SCRUBBING_OFF)
        for problem in self._settings.problems:
            self.event(events.SETTING_NOT_USED, **problem._asdict())
        self.configure_if_asked()

    def configure_if_asked(self) -> None:
        """Take over the host's logging where the settings ask for it, also what was set up since."""
        if self._settings.logs.configure_logging:
            self.setup.configure()

    def check_file(self) -> Outcome:
        """The health check of the log file: unhealthy while its lines are dropped."""
        problem = self.file.problem if self.file else ""
        return Outcome(HealthStatus.UNHEALTHY if problem else HealthStatus.HEALTHY, problem)

    def _make_writer(self) -> LogWriter:
        stream = self._settings.logs.destination
        targets: dict[str, LogFile | int | None] = {"file": self.file} if self.file else {}
        if stream != "none" or not self.file:  # after the file, which at the end waits for no stream that is stuck
            targets[stream] = standard_stream(stream)
        writers = [LogWriter(target, self._make_reports(name)) for name, target in targets.items()]
        if len(writers) == 1:
            return writers[0]
        both = LogWriter(None, replace(self._make_reports("queue"), written=int))
        both.writers = writers
        return both

    def _make_reports(self, destination: str) -> WriterReports:
        metrics, lines = self._metrics, self._metrics.log_lines
        return WriterReports(
            lines.labels(destination, "written").inc,
            lines.labels(destination, "dropped").inc,
            metrics.overhead_seconds.labels("log_writer").inc,
            lambda _: metrics.count_internal_error("log_writer"),
        )

    def _count_records(self, lines: list[str]) -> None:
        head, number = "\n", 0  # that of the line before: most lines in a row have the same
        for line in (*lines, ""):
            if line.startswith(head, LEVEL_AT):
                number += 1
                continue
            if number:
                level, _, logger = head.removesuffix(_AFTER_LOGGER).partition('","logger":"')
                if head.count('"') != 7:  # a name with a quote in it, or one that is no text
                    level = logger = ""
                self._metrics.log_records.labels(level, logger).inc(number)
            end = line.find(_AFTER_LOGGER, LEVEL_AT)
            head, number = line[LEVEL_AT : end + len(_AFTER_LOGGER)] if end > 0 else "\n", 1
