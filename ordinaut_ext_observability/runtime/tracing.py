"""The part that traces. OpenTelemetry is imported when it begins, not before the host has started."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ordinaut_ext_observability.health.lifecycle import Lifecycle
from ordinaut_ext_observability.logs import event_types as events
from ordinaut_ext_observability.metrics.declarations import Metrics
from ordinaut_ext_observability.runtime.part import Part
from ordinaut_ext_observability.scrub.scrubber import Scrubber
from ordinaut_ext_observability.settings.load import Settings

if TYPE_CHECKING:
    from ordinaut_ext_observability.tracing.provider import Outlet
    from ordinaut_ext_observability.web.recorder import RequestRecorder


@dataclass(eq=False)
class Tracing(Part):
    """Spans of the process's requests, and of what they ask of databases and services."""

    settings: Settings
    metrics: Metrics
    scrubber: Scrubber | None
    event: events.LogEvent
    lifecycle: Lifecycle
    recorder: Callable[[], RequestRecorder | None] = field(default_factory=lambda: lambda: None, init=False)
    """Finds the recorder of the application whose requests are traced, while that exists."""
    _began: bool = field(default=False, init=False)
    _outlet: Outlet | None = field(default=None, init=False)
    _instrumentors: list[Any] = field(default_factory=list, init=False)
    _note: str = field(default="off: ORDINAUT_OBS_TRACING and OTEL_EXPORTER_OTLP_ENDPOINT are unset", init=False)

    def start(self, *, serves: bool) -> None:
        """Begin, once a host that serves has started: it may set a tracer provider until then."""
        if self.settings.tracing.wanted and not self._began and (self.lifecycle.started or not serves):
            self._began = True
            try:
                self._begin()
            except ImportError as error:
                self._note = "off: install ordinaut-ext-observability[tracing]"
                self.event(events.TRACING_NOT_INSTALLED, missing=str(error.name))

    def _begin(self) -> None:
        from ordinaut_ext_observability.tracing.provider import instrument_clients, obtain_outlet
        from ordinaut_ext_observability.tracing.requests import RequestTracer
        from ordinaut_ext_observability.tracing.sender import SpanSender

        outlet, recorder = obtain_outlet(self.settings.general), self.recorder()
        if outlet is not None and outlet.sender is None:
            self._outlet = outlet
            outlet.sender = SpanSender(self.metrics, self.scrubber, self.event)
            outlet.sender.start()
            tracing = self.settings.tracing
            self._note = f"on: spans go to {tracing.traces_endpoint or tracing.endpoint or 'http://localhost:4318'}"
        else:
            self._note = "on: spans go where the tracer provider of the process sends them"
        self._instrumentors = instrument_clients()
        if recorder is not None:
            if outlet is not None:  # newer FastAPIs make spans, too, as soon as there is a provider, which is ours
                getattr(recorder.endpoints.app, "_telemetry", {})["tracing"] = False
            quiet = (*recorder.quiet_endpoints, *recorder.settings.exclude_endpoints)
            recorder.tracer = RequestTracer(quiet, recorder.is_own)

    def stop(self, ends_at: float) -> None:
        while self._instrumentors:
            self._instrumentors.pop().uninstrument()
        if (recorder := self.recorder()) is not None:
            recorder.tracer = None
        if self._outlet is not None and self._outlet.sender is not None:
            sender, self._outlet.sender = self._outlet.sender, None
            sender.stop(ends_at)
        self._began, self._outlet = False, None

    def notes(self) -> dict[str, str]:
        """The place that spans go to, or why there are none."""
        return {"tracing": self._note}
