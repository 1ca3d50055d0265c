"""The demo's API, a worker and its subscriber, traced: a published event is one linked story."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from importlib.util import find_spec
from typing import Any

import httpx

from ordinaut_ext_observability.demo.workload import ORDER_PLACED, initial_rows
from tests.otlp import OtlpReceiver

API = """
import asyncio, socket, sys
from ordinaut_ext_observability.demo.api import serve
asyncio.run(serve(socket.create_server(("127.0.0.1", int(sys.argv[1]))).detach()))
"""
SUBSCRIBER = """
import asyncio, os
from ordinaut_ext_observability.demo import traffic
traffic._READ_SECONDS = 0.1
asyncio.run(traffic.subscribe(os.environ["REDIS_URL"], 7))
"""


def test_api_event_and_worker_are_one_linked_story(
    start_child: Callable[..., Any],
    postgres_server: Any,
    database_url: str,
    redis_url: str,
    otlp_receiver: OtlpReceiver,
    free_port: Callable[[], int],
    eventually: Callable[..., bool],
) -> None:
    postgres_server.run_sql(initial_rows(datetime.now(UTC)), database_url.rsplit("/", 1)[1])
    environ = {
        "DATABASE_URL": database_url,
        "REDIS_URL": redis_url,
        "OTEL_EXPORTER_OTLP_ENDPOINT": otlp_receiver.url,
        "ORDINAUT_OBS_RELAY_INTERVAL_SECONDS": "0.2",
        "ORDINAUT_OBS_STORE": "redis",
    }
    port = free_port()
    api = start_child("-c", API, str(port), environ=environ)
    children = [api, start_child("-c", SUBSCRIBER, environ=environ)]
    children.append(start_child("-m", "ordinaut_ext_observability.demo.worker", "7", "0.01", environ=environ))
    api.wait_for_port(port)
    # The worker has begun: it asks where later work comes from.
    assert eventually(lambda: "pipeline_step_started" in children[-1].err, 60.0), children[-1].err
    otlp_receiver.spans(1, name="execute_pipeline")
    answer = httpx.post(f"http://127.0.0.1:{port}/events/", json={"topic": ORDER_PLACED}, timeout=30, trust_env=False)
    assert answer.status_code == 200, api.err

    handled = otlp_receiver.span(name="handle_event")
    request = otlp_receiver.span(span_id=handled.parent_id)
    assert (request.name, request.kind, handled.kind) == ("POST /events/", "SERVER", "CONSUMER")
    assert handled.trace_id == request.trace_id
    traced = {"redis"}
    if find_spec("opentelemetry.instrumentation.asyncpg"):  # no extra has it
        traced.add("postgresql")
    of_request = otlp_receiver.spans(len(traced), trace_id=request.trace_id, kind="CLIENT")
    systems = {span.attributes.get("db.system", span.attributes.get("db.system.name")) for span in of_request}
    assert systems == traced

    charge = otlp_receiver.spans(1, name="execute_step_charge")[0]
    run = otlp_receiver.span(span_id=charge.parent_id)
    assert run.name == "execute_pipeline"
    assert [link[:2] for link in run.links] == [(request.trace_id, request.span_id)]
    tools = {span.attributes["tool.address"] for span in otlp_receiver.spans(1, parent_id=charge.span_id)}
    assert tools == {"payments.charge"}
    assert "Traceback" not in "".join(child.err for child in children)
