"""A real OTLP receiver: an HTTP server that decodes what is posted to it with OpenTelemetry's own protobuf classes."""

from __future__ import annotations

import gzip
import os
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

_TIMEOUT_SECONDS = 30.0


@dataclass(frozen=True)
class ReceivedSpan:
    """A span as it came over the wire; ids are hex digits, the parent's is empty where there is none."""

    name: str
    trace_id: str
    span_id: str
    parent_id: str
    kind: str
    """`SERVER`, `CLIENT`, `PRODUCER`, `CONSUMER` or `INTERNAL`."""
    status: str
    """`UNSET`, `OK` or `ERROR`."""
    status_message: str
    seconds: float
    attributes: dict[str, Any]
    events: list[tuple[str, dict[str, Any]]]
    links: list[tuple[str, str, dict[str, Any]]]
    """Trace id, span id and attributes of each."""
    scope: str
    resource: dict[str, Any]


def _value(value: Any) -> Any:
    kind = value.WhichOneof("value")
    if kind == "array_value":
        return [_value(item) for item in value.array_value.values]
    return None if kind is None else getattr(value, kind)


def _attributes(pairs: Any) -> dict[str, Any]:
    return {pair.key: _value(pair.value) for pair in pairs}


def decode_spans(body: bytes) -> list[ReceivedSpan]:
    """The spans of an ExportTraceServiceRequest."""
    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
    from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

    return [
        ReceivedSpan(
            name=span.name,
            trace_id=span.trace_id.hex(),
            span_id=span.span_id.hex(),
            parent_id=span.parent_span_id.hex(),
            kind=Span.SpanKind.Name(span.kind).removeprefix("SPAN_KIND_"),
            status=Status.StatusCode.Name(span.status.code).removeprefix("STATUS_CODE_"),
            status_message=span.status.message,
            seconds=(span.end_time_unix_nano - span.start_time_unix_nano) / 1e9,
            attributes=_attributes(span.attributes),
            events=[(event.name, _attributes(event.attributes)) for event in span.events],
            links=[(link.trace_id.hex(), link.span_id.hex(), _attributes(link.attributes)) for link in span.links],
            scope=in_scope.scope.name,
            resource=_attributes(of_resource.resource.attributes),
        )
        for of_resource in ExportTraceServiceRequest.FromString(body).resource_spans
        for in_scope in of_resource.scope_spans
        for span in in_scope.spans
    ]


class OtlpReceiver:
    """Takes spans at `url`; with a `status` other than 200 it refuses them, with `hanging` set it never answers."""

    def __init__(self) -> None:
        self.status = 200
        self.hanging = False
        self.asked = threading.Event()
        """Set once something was posted."""
        self._spans: list[ReceivedSpan] = []
        self._ends = threading.Event()
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                receiver.asked.set()
                if receiver.hanging:
                    receiver._ends.wait(_TIMEOUT_SECONDS)
                    self.close_connection = True
                    return
                if receiver.status == 200:
                    assert (self.path, self.headers["Content-Type"]) == ("/v1/traces", "application/x-protobuf")
                    zipped = self.headers.get("Content-Encoding") == "gzip"
                    receiver._spans += decode_spans(gzip.decompress(body) if zipped else body)
                self.send_response(receiver.status)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._server.block_on_close = False
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        """The value for `OTEL_EXPORTER_OTLP_ENDPOINT`."""
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True)
        self._thread.start()

    def spans(self, count: int = 1, **fields: Any) -> list[ReceivedSpan]:
        """The spans with these fields in the order of their arrival, once there are so many."""
        deadline = time.monotonic() + _TIMEOUT_SECONDS
        while True:
            received = list(self._spans)
            found = [span for span in received if all(getattr(span, name) == fields[name] for name in fields)]
            if len(found) >= count:
                return found
            assert time.monotonic() < deadline, f"no {count} spans with {fields} among {received}"
            time.sleep(0.01)

    def span(self, **fields: Any) -> ReceivedSpan:
        """The only span with these fields."""
        (span,) = self.spans(1, **fields)
        return span

    def close(self) -> None:
        """Let go of all that wait, and take no more."""
        self._ends.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@pytest.fixture
def otlp_receiver() -> Iterator[OtlpReceiver]:
    """A receiver of spans of one test."""
    receiver = OtlpReceiver()
    yield receiver
    receiver.close()


@pytest.fixture
def no_tracer_provider(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No `OTEL_*` variables, and a process whose tracer provider nobody has set, as OpenTelemetry allows it once."""
    from opentelemetry import trace
    from opentelemetry.util._once import Once

    for variable in os.environ:
        if variable.startswith("OTEL_"):
            monkeypatch.delenv(variable)
    monkeypatch.setattr(trace, "_TRACER_PROVIDER", None)
    monkeypatch.setattr(trace, "_TRACER_PROVIDER_SET_ONCE", Once())
    yield
