"""The part that traces. OpenTelemetry is imported when it begins, not before the host has started."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ordinaut_ext_observability.health.lifecycle import Lifecycle
from ordinaut_ext_observability.logs import event_types as events
from ordinaut_ext_observability.metrics.declarations import Metrics
from ordinaut_ext_observability.runtime.part import Part
from ordinaut_ext_observability.scrub.scrubber import Scrubber
from ordinaut_ext_observability.settings.load import Settings

if TYPE_CHECKING:
    from ordinaut_ext_observability.tracing.sender import SpanSender
    from ordinaut_ext_observability.web.recorder import RequestRecorder


class Tracing(Part):
    """Spans of the process's requests, and of what they ask of databases and services."""

    def __init__(
        self, settings: Settings, metrics: Metrics, scrubber: Scrubber | None, event: events.LogEvent, life: Lifecycle
    ) -> None:
        self._settings = settings
        self._sent_with = metrics, scrubber, event
        self._event = event
        self._lifecycle = life
        self.recorder: Callable[[], RequestRecorder | None] = lambda: None
        """Finds the recorder of the application whose requests are traced, while that exists."""
        self._provider: Any = None
        self._sender: SpanSender | None = None
        self._instrumentors: list[Any] = []
        self._note = "off: neither ORDINAUT_OBS_TRACING nor OTEL_EXPORTER_OTLP_ENDPOINT asks for it"

    def start(self, *, serves: bool) -> None:
        """Begin, once a host that serves has started: it may set a tracer provider until then."""
        asked = self._settings.tracing.wanted and self._provider is None
        if asked and (self._lifecycle.started or not serves):
            try:
                self._begin()
            except ImportError as error:
                self._note = "off: install ordinaut-ext-observability[tracing]"
                self._event(events.TRACING_NOT_INSTALLED, missing=str(error.name))

    def _begin(self) -> None:
        from ordinaut_ext_observability.tracing.clients import instrument_clients
        from ordinaut_ext_observability.tracing.provider import OwnProvider, obtain_provider
        from ordinaut_ext_observability.tracing.requests import RequestTracer
        from ordinaut_ext_observability.tracing.sender import SpanSender

        self._provider = provider = obtain_provider(self._settings.general)
        if isinstance(provider, OwnProvider):
            self._sender = provider.outlet.sender = SpanSender(*self._sent_with, self._record_waiting)
            self._sender.start()
            self._note = f"on: spans go to {self._settings.tracing.target}"
        else:
            self._note = "on: the process has a tracer provider of its own, which sends its spans"
        self._instrumentors = instrument_clients()
        if (recorder := self.recorder()) is not None:
            quiet = (*recorder.quiet_endpoints, *recorder.settings.exclude_endpoints)
            recorder.tracer = RequestTracer(quiet, recorder.is_own)

    def _record_waiting(self) -> None:
        if (recorder := self.recorder()) is not None:
            recorder.record_waiting()

    def begin_stop(self) -> None:
        if self._sender is not None:
            self._sender.begin_stop()

    def stop(self, ends_at: float) -> None:
        while self._instrumentors:
            self._instrumentors.pop().uninstrument()
        if (recorder := self.recorder()) is not None:
            recorder.tracer = None
        if self._sender is not None:
            self._sender.stop(ends_at)
            if self._provider.outlet.sender is self._sender:
                self._provider.outlet.sender = None
        self._provider = self._sender = None

    def notes(self) -> dict[str, str]:
        """The place that spans go to, or why there are none."""
        return {"tracing": self._note}
