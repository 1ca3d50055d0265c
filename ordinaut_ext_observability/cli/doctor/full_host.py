"""The bugs of Ordinaut 2.2.2's full host that show to a GET."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

from ordinaut_ext_observability.cli.doctor.findings import Finding, Kind, advice, problem
from ordinaut_ext_observability.cli.http_client import Answer

_STARTED_IN_SECONDS = 1e9
"""An uptime this long is an instant since 1970."""


def full_host(get: Callable[..., Answer]) -> Iterator[Finding]:
    """Each bug that it has; `get` asks the host for a path."""
    yield from _of_health(get("/health"), get("/health/live"))
    tasks = get("/tasks/")
    if tasks.status_code == 500 and tasks.json() is None:
        yield problem(
            "/tasks/ without credentials answers a plain-text 500: the host's handler of HTTPException crashes, so "
            "401, 403, 404 and 503 all arrive as 500, and alerts on 401 never fire",
            "Alert on the 5xx ratio of endpoints you know to be sound; see exceptions by type.",
            "sum by (endpoint, exception_type) (rate(orchestrator_http_exceptions_total[5m]))",
        )
    by_name = get("/health", Host="api:8080")
    if by_name.status_code == 400 and re.search(rb"(?i)invalid host", by_name.body):
        yield problem(
            "a request for Host api:8080 answers 400 Invalid host header (ENVIRONMENT=production): a Prometheus "
            "that scrapes by service name gets that",
            "Scrape the management port, here that of the service api.",
            _SCRAPE,
        )
    yield advice(
        "this host answers 500 to requests without User-Agent, to queries like ?month=2 (a word after 'on', then '='), "
        "and to requests with both X-Real-IP and X-Forwarded-For. Five of them block the address for an hour, /health "
        "and /metrics included. (Not tried here, for that reason.)",
        "Let scrapers and probes use the management port, which none of that reaches.",
        "export ORDINAUT_OBS_MANAGEMENT_PORT=9464\nexport ORDINAUT_OBS_MANAGEMENT_HOST=0.0.0.0",
    )


def _of_health(health: Answer, live: Answer) -> Iterator[Finding]:
    body = health.json()
    if health.status_code == 200 and isinstance(body, dict):
        status = body.get("status")
        yield Finding(
            Kind.PROBLEM if status == "unhealthy" else Kind.ADVICE,
            f"the host's /health answers 200 and says {status!r}: it answers 200 whatever it says, so a container "
            "health check on it never fails, and its /health/ready repeats an answer for 30 s",
            "Probe the extension instead.",
            _PROBES,
        )
    body = live.json()
    uptime = body.get("uptime_seconds") if isinstance(body, dict) else None
    if isinstance(uptime, (int, float)) and uptime > _STARTED_IN_SECONDS:
        yield advice(
            f"the host's /health/live gives uptime_seconds {uptime:.0f}: that is when it started, not for how long",
            "Take the uptime from the metrics.",
            "time() - process_start_time_seconds",
        )


# The management port: a kubelet names the pod's address as host, and the full host in production answers 400 to that.
_PROBES = """\
# its default address, 127.0.0.1, is out of a kubelet's reach
env:
  - {name: ORDINAUT_OBS_MANAGEMENT_PORT, value: "9464"}
  - {name: ORDINAUT_OBS_MANAGEMENT_HOST, value: "0.0.0.0"}
livenessProbe: {httpGet: {path: /health/live, port: 9464}}
readinessProbe: {httpGet: {path: /health/ready, port: 9464}}
startupProbe: {httpGet: {path: /health/startup, port: 9464}, failureThreshold: 30}"""

_SCRAPE = """\
# with ORDINAUT_OBS_MANAGEMENT_PORT=9464
# and ORDINAUT_OBS_MANAGEMENT_HOST=0.0.0.0
scrape_configs:
  - job_name: ordinaut
    static_configs: [{targets: ["api:9464"]}]"""
