"""What a running host looks like from outside. Everything here is a GET, and few of them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import urlsplit

from ordinaut_ext_observability.cli.check import Tokens, check_service
from ordinaut_ext_observability.cli.doctor.findings import Finding, Kind, fact
from ordinaut_ext_observability.cli.http_client import Answer, NoAnswerError, ask
from ordinaut_ext_observability.manifest import EXTENSION_ID, MOUNT_PATH

_STARTED_IN_SECONDS = 1e9  # an uptime this long is an instant since 1970


class Service:
    """One running host."""

    def __init__(self, url: str, tokens: Tokens, timeout_seconds: float) -> None:
        """`url` is where the host listens; a path of ours behind it is taken off."""
        self._base = url.rstrip("/").removesuffix(MOUNT_PATH)
        self._tokens = tokens
        self._timeout_seconds = timeout_seconds
        self.serves_us = False
        """Whether our health report was found there, once `findings` has been through."""

    @property
    def port(self) -> int:
        """Where the host listens."""
        parts = urlsplit(self._base)
        return parts.port or (443 if parts.scheme == "https" else 80)

    def answers(self) -> bool:
        """Whether anybody answers there."""
        try:
            self._get("/health")
        except NoAnswerError:
            return False
        return True

    def findings(self) -> Iterator[Finding]:
        """What was found; when nobody answers, that alone."""
        try:
            health, live = self._get("/health"), self._get("/health/live")
        except NoAnswerError as error:
            yield Finding(Kind.PROBLEM, str(error), "Start the host, or give its address with --url.")
            return
        # Of Ordinaut's two hosts only the full one has probes of its own.
        full = live.status_code == 200
        yield fact(f"{self._base} answers: {self._name()}, {'the full host' if full else 'the lean host'}")
        try:
            report = check_service(self._base, self._tokens, self._timeout_seconds)
        except NoAnswerError as error:
            yield Finding(Kind.PROBLEM, str(error))
            yield from self._listed(is_ours=False)
        else:
            self.serves_us = True
            yield from self._listed(is_ours=True)
            yield from self._told(report)
        if full:
            yield from self._full_host(health, live)

    def _get(self, path: str, **options: Any) -> Answer:
        return ask(self._base + path, timeout_seconds=self._timeout_seconds, **options)

    def _name(self) -> str:
        document = self._get("/openapi.json").json()
        info = document.get("info") if isinstance(document, dict) else None
        return (
            f"{info.get('title')} {info.get('version')}" if isinstance(info, dict) else "a host that does not say which"
        )

    def _listed(self, *, is_ours: bool) -> Iterator[Finding]:
        """What the host's own list says of the extension; other hosts have none."""
        listed = self._get("/extensions").json()
        if not isinstance(listed, list):
            return
        entry = next((entry for entry in listed if isinstance(entry, dict) and entry.get("id") == EXTENSION_ID), None)
        if entry is None:
            yield Finding(Kind.PROBLEM, f"/extensions does not list {EXTENSION_ID}", _INSTALL, _INSTALL_LINE)
            return
        status = entry.get("status")
        state: dict[str, Any] = status if isinstance(status, dict) else {}
        where = f"{entry.get('module')} ({entry.get('source')}), state {state.get('state')}"
        if state.get("state") == "error":
            yield Finding(Kind.PROBLEM, f"the extension failed to load: {state.get('error') or 'no reason given'}")
        elif not is_ours:
            yield Finding(
                Kind.PROBLEM, f"the extension {EXTENSION_ID} is not ours but {where}", _INSTALL, _INSTALL_LINE
            )
        else:
            yield fact(f"the extension is {where}")
        if is_ours and not entry.get("eager"):
            yield Finding(
                Kind.ADVICE,
                "it is loaded lazily: requests before the first to it are not measured",
                "Load it with the host.",
                f"ORDINAUT_EXT_ENTRY_EAGER='{{\"{EXTENSION_ID}\": true}}'",
            )

    def _told(self, report: Mapping[str, Any]) -> Iterator[Finding]:
        yield fact(f"health: {report['status']}")
        for check in report["checks"]:
            if check["status"] != "healthy":
                message = check.get("message") or "give the operator token (--token) to see why"
                yield Finding(Kind.ADVICE, f"check {check['name']}: {check['status']}: {message}")
        if self._tokens.operator:
            yield from self._index()

    def _index(self) -> Iterator[Finding]:
        answer = self._get(f"{MOUNT_PATH}/", token=self._tokens.operator)
        index = answer.json()
        if answer.status_code != 200 or not isinstance(index, dict):
            yield Finding(Kind.ADVICE, f"{MOUNT_PATH}/: {answer.text()}")
            return
        for name in ("root_metrics", "management_port", "processes_merged", "collectors"):
            yield fact(f"{name}: {index.get(name)}")
        for problem in index.get("settings_problems", []):
            yield Finding(Kind.PROBLEM, f"{problem['variable']}={problem['value']}: not used", problem["problem"])

    def _full_host(self, health: Answer, live: Answer) -> Iterator[Finding]:
        """The bugs of Ordinaut 2.2.2's full host that show to a GET."""
        yield from _health_always_200(health)
        yield from _uptime(live)
        yield from self._errors_become_500()
        yield from self._trusted_host()
        yield Finding(
            Kind.ADVICE,
            "not tried, since five tries block an address for an hour: this host answers 500 to requests without "
            "User-Agent, to queries like ?month=2 (a word after 'on', then '='), and with both X-Real-IP and "
            "X-Forwarded-For; a blocked address gets no /health and no /metrics either",
            "Let scrapers and probes use the management port, which none of that reaches.",
            "ORDINAUT_OBS_MANAGEMENT_PORT=9464 ORDINAUT_OBS_MANAGEMENT_HOST=0.0.0.0",
        )

    def _errors_become_500(self) -> Iterator[Finding]:
        answer = self._get("/tasks/")
        if answer.status_code == 500 and answer.json() is None:
            yield Finding(
                Kind.PROBLEM,
                "/tasks/ without credentials answers a plain-text 500: the host's handler of HTTPException crashes, so "
                "401, 403, 404 and 503 all arrive as 500, and alerts on 401 never fire",
                "Alert on the 5xx ratio of endpoints you know to be sound; see exceptions by type.",
                "sum by (endpoint, exception_type) (rate(orchestrator_http_exceptions_total[5m]))",
            )

    def _trusted_host(self) -> Iterator[Finding]:
        answer = self._get("/health", headers={"Host": "api:8080"})
        if answer.status_code == 400 and re.search(rb"(?i)invalid host", answer.body):
            yield Finding(
                Kind.PROBLEM,
                "a request for Host api:8080 answers 400 Invalid host header (ENVIRONMENT=production): a Prometheus "
                "that scrapes by service name gets that",
                "Scrape the management port.",
                _SCRAPE,
            )


def _health_always_200(health: Answer) -> Iterator[Finding]:
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


def _uptime(live: Answer) -> Iterator[Finding]:
    body = live.json()
    uptime = body.get("uptime_seconds") if isinstance(body, dict) else None
    if isinstance(uptime, (int, float)) and uptime > _STARTED_IN_SECONDS:
        yield Finding(
            Kind.ADVICE,
            f"the host's /health/live gives uptime_seconds {uptime:.0f}: that is when it started, not for how long",
            "Take the uptime from the metrics.",
            "time() - process_start_time_seconds",
        )


_INSTALL = "Install this package into the environment that runs the host; its entry point takes the built-in's place."
_INSTALL_LINE = "pip install ordinaut-ext-observability  # or its folder, or a wheel of it"

_PROBES = f"""\
livenessProbe:
  httpGet: {{path: {MOUNT_PATH}/health/live, port: 8080}}
readinessProbe:
  httpGet: {{path: {MOUNT_PATH}/health/ready, port: 8080}}
startupProbe:
  httpGet: {{path: {MOUNT_PATH}/health/startup, port: 8080}}
  failureThreshold: 30"""

_SCRAPE = """\
# environment: ORDINAUT_OBS_MANAGEMENT_PORT=9464 ORDINAUT_OBS_MANAGEMENT_HOST=0.0.0.0
scrape_configs:
  - job_name: ordinaut
    static_configs: [{targets: ["api:9464"]}]"""
