"""The part that traces: it imports OpenTelemetry when it is asked to, and not before the host has started."""

from __future__ import annotations

import weakref
from typing import TYPE_CHECKING, Any

from ordinaut_ext_observability.health.lifecycle import Lifecycle
from ordinaut_ext_observability.logs import event_types as events
from ordinaut_ext_observability.metrics.declarations import Metrics
from ordinaut_ext_observability.runtime.part import Part
from ordinaut_ext_observability.scrub.scrubber import Scrubber
from ordinaut_ext_observability.settings.load import Settings
from ordinaut_ext_observability.web.recorder import RequestRecorder

if TYPE_CHECKING:
    from ordinaut_ext_observability.tracing.sender import SpanSender

_OFF = "off: set ORDINAUT_OBS_TRACING=true, or OTEL_EXPORTER_OTLP_ENDPOINT"
_NOT_INSTALLED = "off: install ordinaut-ext-observability[tracing]"


class Tracing(Part):
    """Spans of the process's requests, and of what they ask of databases and services."""

    def __init__(
        self,
        settings: Settings,
        metrics: Metrics,
        scrubber: Scrubber | None,
        event: events.LogEvent,
        lifecycle: Lifecycle,
    ) -> None:
        self._settings = settings
        self._metrics = metrics
        self._scrubber = scrubber
        self._event = event
        self._lifecycle = lifecycle
        self._recorder: weakref.ref[RequestRecorder] | None = None
        self._own_paths = ""
        self._provider: Any = None
        self._sender: SpanSender | None = None
        self._instrumentors: dict[str, Any] = {}
        self._note = _OFF

    def trace_requests(self, recorder: RequestRecorder, mount_path: str) -> None:
        """Have the requests of an application traced from the start on, but those of our own endpoints."""
        self._recorder = weakref.ref(recorder)  # it leads to the application
        self._own_paths = f"{mount_path}/*"

    def start(self, *, serves: bool) -> None:
        """Begin, once the host has started: it may set a tracer provider meanwhile, and a process can do so once."""
        if not self._settings.tracing.wanted or self._provider is not None:
            return
        if serves and not self._lifecycle.started:
            return
        try:
            self._begin()
        except ImportError as error:
            if self._note is not _NOT_INSTALLED:
                self._note = _NOT_INSTALLED
                self._event(events.TRACING_NOT_INSTALLED, missing=str(error.name))

    def _begin(self) -> None:
        from ordinaut_ext_observability.tracing.clients import instrument_clients
        from ordinaut_ext_observability.tracing.provider import OwnProvider, obtain_provider
        from ordinaut_ext_observability.tracing.requests import RequestTracer
        from ordinaut_ext_observability.tracing.sender import SpanSender

        self._provider = provider = obtain_provider(self._settings)
        recorder = self._recorder() if self._recorder is not None else None
        if isinstance(provider, OwnProvider):
            self._sender = self._sender or SpanSender(self._metrics, self._scrubber, self._event)
            if recorder is not None:
                self._sender.before_sending = recorder.record_soon()
            provider.outlet.sender = self._sender
            self._sender.start()
            self._note = f"on: spans go to {self._settings.tracing.target}"
        else:
            self._note = "on: spans go where the tracer provider of the process sends them"
        self._instrumentors = instrument_clients(provider)
        if recorder is not None:
            quiet = (self._own_paths, *recorder.quiet_endpoints, *recorder.settings.exclude_endpoints)
            recorder.tracer = RequestTracer(provider, quiet)

    def begin_stop(self) -> None:
        if self._sender is not None:
            self._sender.begin_stop()

    def stop(self, ends_at: float) -> None:
        if self._provider is None:
            return
        for instrumentor in self._instrumentors.values():
            instrumentor.uninstrument()
        recorder = self._recorder() if self._recorder is not None else None
        if recorder is not None:
            recorder.tracer = None
        if self._sender is not None:
            self._sender.stop(ends_at)
            if self._provider.outlet.sender is self._sender:
                self._provider.outlet.sender = None
        self._provider = None

    def notes(self) -> dict[str, str]:
        """Where spans go, or why there are none."""
        return {"tracing": self._note}
