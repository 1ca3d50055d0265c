"""What a running host looks like from outside. Everything here is a GET, and few of them."""

from __future__ import annotations

import contextlib
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
        self._silence: NoAnswerError | None = None
        self.serves_us = False
        """Whether our health report was found there, once `findings` has been through."""

    @property
    def port(self) -> int:
        """The port of its URL; 0 where that cannot be read."""
        with contextlib.suppress(ValueError):
            parts = urlsplit(self._base)
            return parts.port or (443 if parts.scheme == "https" else 80)
        return 0

    def answers(self) -> bool:
        """Whether anybody answers there."""
        try:
            self._get("/health")
        except NoAnswerError as error:
            self._silence = error
        return self._silence is None

    def findings(self) -> Iterator[Finding]:
        """What was found; when nobody answers, that alone."""
        try:
            if self._silence is not None:
                raise self._silence  # it was waited for once
            health, live = self._get("/health"), self._get("/health/live")
        except NoAnswerError as error:
            yield Finding(
                Kind.PROBLEM,
                str(error),
                "Start the host, or give its address with --url. Without --url, ports 8000 and 8080 are tried.",
            )
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
            f"{info.get('title')} {info.get('version')}"
            if isinstance(info, dict)
            else "a host that does not say its name"
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
                message = check.get("message") or report.get("note", "no recent result")
                yield Finding(Kind.ADVICE, f"check {check['name']}: {check['status']}: {message}")
        if "note" not in report:
            yield from self._index()
        elif self._tokens.operator:
            yield Finding(Kind.ADVICE, report["note"])

    def _index(self) -> Iterator[Finding]:
        answer = self._get(f"{MOUNT_PATH}/", token=self._tokens.operator)
        index = answer.json()
        if answer.status_code != 200 or not isinstance(index, dict):
            yield Finding(Kind.ADVICE, f"{MOUNT_PATH}/: {answer.text()}")
            return
        for name in ("root_metrics", "management_port", "processes_merged", "collectors"):
            note = str(index.get(name))
            if "//127.0.0.1:" in note:
                note += ", this machine only; ORDINAUT_OBS_MANAGEMENT_HOST=0.0.0.0 opens it to others"
            yield fact(f"{name.replace('_', ' ')}: {note}")
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
            "this host answers 500 to requests without User-Agent, to queries like ?month=2 (a word after 'on', then "
            "'='), and to requests with both X-Real-IP and X-Forwarded-For. Five of them block the address for an "
            "hour, /health and /metrics included. (Not tried here, for that reason.)",
            "Let scrapers and probes use the management port, which none of that reaches.",
            _MANAGEMENT_PORT,
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
                "Scrape the management port, here that of the service api.",
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

_MANAGEMENT_PORT = "export ORDINAUT_OBS_MANAGEMENT_PORT=9464\nexport ORDINAUT_OBS_MANAGEMENT_HOST=0.0.0.0"

# The management port: a kubelet names the pod's address as host, and the full host in production answers 400 to that.
_PROBES = """\
# its default address, 127.0.0.1, is out of a kubelet's reach
env:
  - {name: ORDINAUT_OBS_MANAGEMENT_PORT, value: "9464"}
  - {name: ORDINAUT_OBS_MANAGEMENT_HOST, value: "0.0.0.0"}
livenessProbe:
  httpGet: {path: /health/live, port: 9464}
readinessProbe:
  httpGet: {path: /health/ready, port: 9464}
startupProbe:
  httpGet: {path: /health/startup, port: 9464}
  failureThreshold: 30"""

_SCRAPE = """\
# with ORDINAUT_OBS_MANAGEMENT_PORT=9464
# and ORDINAUT_OBS_MANAGEMENT_HOST=0.0.0.0
scrape_configs:
  - job_name: ordinaut
    static_configs: [{targets: ["api:9464"]}]"""
