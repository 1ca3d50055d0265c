"""The cost that tracing adds to a request, sampled and sampled out, and where it is not asked for.

OpenTelemetry's FastAPIInstrumentor with its defaults is measured in the bare host, with the SDK's batch processor; ours
as what it adds to our layer, all of it with its sending thread. Both send to a receiver in another process. A tracer
provider is the process's, so each configuration has a process, and they take turns.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from contextlib import AsyncExitStack
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from benchmarks.harness import Options, Result, dev_null, low, microseconds, process_cpu_seconds, take_turns, versions

REQUESTS_PER_ROUND = 300
_TRACED = {"OTEL_EXPORTER_OTLP_ENDPOINT": "", "OTEL_TRACES_SAMPLER": "always_on"}
_SAMPLED_OUT = {**_TRACED, "OTEL_TRACES_SAMPLER": "always_off"}
_CONFIGURATIONS: dict[str, tuple[str, dict[str, str]]] = {
    "bare": ("bare", {}),
    "ours": ("ours", {}),
    "ours, again": ("ours", {}),
    "ours, sampled out": ("ours", _SAMPLED_OUT),
    "ours, on": ("ours", _TRACED),
    "peer, sampled out": ("peer", _SAMPLED_OUT),
    "peer, on": ("peer", _TRACED),
}


def run(options: Options) -> list[Result]:
    receiver = _start("receiver", {})
    url = f"http://127.0.0.1:{json.loads(_line_of(receiver))}"
    started = {
        name: _start(kind, {key: value or url for key, value in environment.items()})
        for name, (kind, environment) in _CONFIGURATIONS.items()
    }
    try:
        for process in started.values():
            _line_of(process)
        turns = {name: (lambda process=process: _measure(process)) for name, process in started.items()}
        figures = take_turns(turns, options.pick(25, 150), warm_up=2)
    finally:
        for process in (receiver, *started.values()):
            process.kill()
            process.communicate()
    cost = {name: low(values) for name, values in figures.items()}
    peer_name = versions("opentelemetry-instrumentation-fastapi", "opentelemetry-sdk")
    layer, bare = cost["ours"], cost["bare"]
    rows = [
        Result(
            f"tracing_{budget}",
            microseconds(cost[f"ours, {what}"] - layer),
            microseconds(cost[f"peer, {what}"] - bare),
            (cost[f"ours, {what}"] - layer) / (cost[f"peer, {what}"] - bare),
            peer_name,
            [f"our layer with everything on and tracing: {microseconds(cost[f'ours, {what}'] - bare)}"],
        )
        for budget, what in (("sampled_out", "sampled out"), ("on", "on"))
    ]
    again = cost["ours, again"]
    off = Result("tracing_off", microseconds(layer), microseconds(again), layer / again, "the same in another process")
    return [off, *rows]


def _start(kind: str, environment: dict[str, str]) -> subprocess.Popen[str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("OTEL_", "ORDINAUT_"))}
    command = [sys.executable, "-m", "benchmarks.tracing", kind]
    return subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env={**kept, **environment}
    )


def _line_of(process: subprocess.Popen[str]) -> str:
    return process.stdout.readline() if process.stdout is not None else ""


def _measure(process: subprocess.Popen[str]) -> float:
    if process.stdin is not None:
        process.stdin.write("\n")
        process.stdin.flush()
    return float(_line_of(process))


def _receive() -> None:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: Any) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    print(server.server_port, flush=True)
    server.serve_forever()


def _serve(kind: str) -> None:
    """Measure a round for each line that comes in."""
    from benchmarks.asgi import add_ours, lifespan, make_app, request, settle
    from ordinaut_ext_observability.settings.load import load_settings

    app = make_app()
    finish_work: Any = None
    if kind == "ours":
        runtime = add_ours(app, dev_null(), settings=load_settings())
        settled = settle(app)

        def finish_work() -> None:
            settled()
            if runtime.tracing._outlet is not None and runtime.tracing._outlet.sender is not None:
                runtime.tracing._outlet.sender._send()

    elif kind == "peer":
        finish_work = _add_peer(app)
    with asyncio.Runner() as runner:
        started = AsyncExitStack()
        runner.run(started.enter_async_context(lifespan(app)))

        async def measure() -> float:
            begun = process_cpu_seconds()
            for _ in range(REQUESTS_PER_ROUND):
                await request(app, "/resources0/42")
            if finish_work is not None:
                finish_work()
            return (process_cpu_seconds() - begun) / REQUESTS_PER_ROUND

        runner.run(measure())
        print("ready", flush=True)
        for _ in sys.stdin:
            print(runner.run(measure()), flush=True)


def _add_peer(app: Any) -> Any:
    from opentelemetry import trace
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.instrumentation.fastapi import FastAPIInstrumentor
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    provider = TracerProvider()
    processor = BatchSpanProcessor(OTLPSpanExporter())
    provider.add_span_processor(processor)
    trace.set_tracer_provider(provider)
    FastAPIInstrumentor.instrument_app(app)
    return processor.force_flush


if __name__ == "__main__":
    if sys.argv[1] == "receiver":
        _receive()
    else:
        _serve(sys.argv[1])
