"""One JSON line through our own call, against structlog in its fast configuration with orjson.

Both write the same fields and the request's id from a context variable. Cost is processor time of the whole process:
what our writer's thread does is in it. Lines go to /dev/null.
"""

from __future__ import annotations

import orjson
import structlog

from benchmarks.harness import (
    Options,
    Result,
    cpu_seconds_of,
    dev_null,
    low,
    microseconds,
    take_turns,
    versions,
)
from ordinaut_ext_observability.correlation.context import request_ids
from ordinaut_ext_observability.logs.event_types import Event
from ordinaut_ext_observability.logs.events import EventLog
from ordinaut_ext_observability.logs.writer import LogWriter
from ordinaut_ext_observability.scrub.scrubber import Scrubber

LINES_PER_ROUND = 5000

STEP_FINISHED: Event[...] = Event("step", "INFO", "step finished")


def run(options: Options) -> list[Result]:
    descriptor = dev_null()
    writer = LogWriter(descriptor)
    writer.scrub = Scrubber().lines
    events = EventLog(writer, "orchestrator.worker")
    trace_id = "4bf92f3577b34da6a3ce929d0e0e4736"
    request_ids.set((trace_id, trace_id, "00f067aa0ba902b7", False))
    structlog.contextvars.bind_contextvars(correlation_id=trace_id, trace_id=trace_id, span_id="00f067aa0ba902b7")
    log = structlog.wrap_logger(
        structlog.BytesLogger(open(descriptor, "wb", closefd=False)),  # noqa: SIM115 - as long as the process
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.format_exc_info,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.JSONRenderer(serializer=orjson.dumps),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(20),
        cache_logger_on_first_use=True,
    ).bind(logger="orchestrator.worker")

    def ours() -> None:
        for number in range(LINES_PER_ROUND):
            events.emit(STEP_FINISHED, step="fetch", attempt=number, seconds=0.125, ok=True)
        if not writer.flush(10.0):
            raise RuntimeError("lines were not written")

    def peer() -> None:
        for number in range(LINES_PER_ROUND):
            log.info("step finished", event_type="step", step="fetch", attempt=number, seconds=0.125, ok=True)

    figures = take_turns({"ours": cpu_seconds_of(ours), "peer": cpu_seconds_of(peer)}, options.pick(25, 100))
    writer.close()
    ours_seconds, peer_seconds = low(figures["ours"]), low(figures["peer"])
    return [
        Result(
            "log_event",
            microseconds(ours_seconds / LINES_PER_ROUND),
            microseconds(peer_seconds / LINES_PER_ROUND),
            ours_seconds / peer_seconds,
            versions("structlog", "orjson"),
        )
    ]
