"""The doctor's examination, and what a running host looks like from outside: everything is a GET, and few of them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from ordinaut_ext_observability.cli.check import Tokens, check_service
from ordinaut_ext_observability.cli.doctor import environment
from ordinaut_ext_observability.cli.doctor.findings import Finding, Kind, advice, fact, problem
from ordinaut_ext_observability.cli.doctor.telling import telling
from ordinaut_ext_observability.cli.http_client import Answer, NoAnswerError, ask
from ordinaut_ext_observability.manifest import EXTENSION_ID, MOUNT_PATH
from ordinaut_ext_observability.settings.load import load_settings, read_host_variables

_START = "Start the host, or give its address with --url. Without --url, ports 8000 and 8080 are tried."
_STARTED_IN_SECONDS = 1e9  # an uptime this long is an instant since 1970


def examine(urls: Sequence[str], tokens: Tokens, timeout_seconds: float) -> Iterator[tuple[str, Iterable[Finding]]]:
    """The sections of the report. The running host is at the first of the URLs that answers."""
    try:
        host, silence = find_host(urls, tokens, timeout_seconds), ""
    except NoAnswerError as error:
        host, silence = None, str(error)
    settings, variables = load_settings(), read_host_variables(environment.VARIABLES)
    is_served = host is not None and host.report is not None
    url = urlsplit(host.url if host is not None else urls[0])
    port = url.port or (443 if url.scheme == "https" else 80)
    has_token = bool(tokens.operator)
    yield "Installation", environment.installation()
    yield "Loading, by the environment here", environment.loading(variables, is_served=is_served)
    yield "Settings, by the environment here", environment.settings_in_effect(settings, has_token=has_token)
    yield "Telling of alerts, by the environment here", telling(settings)
    yield "Merging of processes, by the environment here", environment.merging(settings, port)
    yield "Running host", [problem(silence, _START)] if host is None else running_host(host)


class Host(NamedTuple):
    """A running host, and what it says of us."""

    url: str
    tokens: Tokens
    timeout_seconds: float
    extensions: list[Any] | None
    """Its own list; None: it is no Ordinaut."""
    report: dict[str, Any] | None
    """Our health report; None: we are not found there, and `absence` says so."""
    absence: str

    def get(self, path: str, **options: str) -> Answer:
        return ask(self.url + path, timeout_seconds=self.timeout_seconds, **options)


def find_host(urls: Sequence[str], tokens: Tokens, timeout_seconds: float) -> Host:
    """The host at the first URL that answers, our path taken off. Raises the first's NoAnswerError where none does."""
    silence: NoAnswerError | None = None
    for url in urls:
        base = url.rstrip("/").removesuffix(MOUNT_PATH)
        try:
            listed = ask(f"{base}/extensions", timeout_seconds=timeout_seconds).json()
        except NoAnswerError as error:
            silence = silence or error
            continue
        try:
            report, absence = check_service(base, tokens, timeout_seconds), ""
        except NoAnswerError as error:
            report, absence = None, str(error)
        return Host(base, tokens, timeout_seconds, listed if isinstance(listed, list) else None, report, absence)
    raise silence or NoAnswerError


def running_host(host: Host) -> Iterator[Finding]:
    """Find out what it is, whether it has us, what our checks say, and its own bugs."""
    # Of Ordinaut's two hosts only the full one has probes of its own.
    is_full = host.extensions is not None and host.get("/health/live").status_code == 200
    kind = "another application than Ordinaut's" if host.extensions is None else "the lean host of Ordinaut"
    info = host.get("/openapi.json").fields().get("info")
    name = f"{info.get('title')} {info.get('version')}" if isinstance(info, dict) else "it does not say its name"
    yield fact(f"{host.url} answers: {name}, {'the full host of Ordinaut' if is_full else kind}")
    if host.report is None:
        yield problem(host.absence)
    if host.extensions is not None:
        yield from _listed(host.extensions, is_ours=host.report is not None)
    if host.report is not None:
        yield from _told(host, host.report)
    if is_full:
        yield from _bugs(host)


def _listed(extensions: list[Any], *, is_ours: bool) -> Iterator[Finding]:
    """Find what Ordinaut's own list says of the extension."""
    entry = next((entry for entry in extensions if isinstance(entry, dict) and entry.get("id") == EXTENSION_ID), None)
    if entry is None:
        yield problem(f"/extensions does not list {EXTENSION_ID}", *environment.INSTALL)
        return
    state = entry.get("status") or {}
    where = f"{entry.get('module')} ({entry.get('source')}), state {state.get('state')}"
    if state.get("state") == "error":
        yield problem(f"the extension failed to load: {state.get('error') or 'no reason given'}")
    elif not is_ours:
        yield problem(f"the extension {EXTENSION_ID} is not ours but {where}", *environment.INSTALL)
    else:
        yield fact(f"the extension is {where}")
    if is_ours and not entry.get("eager"):
        told = "it is loaded lazily: requests before the first to it are not measured"
        yield advice(told, "Load it with the host.", environment.EAGER_LINE)


def _told(host: Host, report: dict[str, Any]) -> Iterator[Finding]:
    """Find what our checks say and, to an operator, our index."""
    yield fact(f"health: {report['status']}")
    for check in report["checks"]:
        if check["status"] != "healthy":
            message = check.get("message") or report.get("note", "no recent result")
            yield advice(f"check {check['name']}: {check['status']}: {message}")
    if "note" in report:
        if host.tokens.operator:
            yield advice(report["note"])
        return
    answer = host.get(f"{MOUNT_PATH}/", token=host.tokens.operator)
    index = answer.fields()
    if answer.status_code != 200 or not index:
        yield advice(f"{MOUNT_PATH}/ answers {answer.status_code}")
        return
    for name in ("root_metrics", "management_port", "processes_merged", "collectors", "history", "alerts"):
        note = str(index.get(name))
        if "//127.0.0.1:" in note:
            note += ", this machine only; ORDINAUT_OBS_MANAGEMENT_HOST=0.0.0.0 opens it to others"
        yield fact(f"{name.replace('_', ' ')}: {note}")
    for one in index.get("settings_problems", []):
        yield problem(f"{one['variable']}={one['value']}: not used", one["problem"])


def _bugs(host: Host) -> Iterator[Finding]:
    """The bugs of Ordinaut 2.2.2's full host that show to a GET."""
    health = host.get("/health")
    status = health.fields().get("status")
    if health.status_code == 200 and status is not None:
        told = (
            f"the host's /health says {status!r} and answers 200 whatever it says, so a container health check on it "
            "never fails; its /health/ready repeats an answer for 30 s"
        )
        kind = Kind.PROBLEM if status == "unhealthy" else Kind.ADVICE
        yield Finding(kind, told, "Probe the extension instead.", _PROBES)
    uptime = host.get("/health/live").fields().get("uptime_seconds")
    if isinstance(uptime, (int, float)) and uptime > _STARTED_IN_SECONDS:
        told = f"the host's /health/live gives uptime_seconds {uptime:.0f}: that is when it started, not for how long"
        yield advice(told, "Take the uptime from the metrics.", "time() - process_start_time_seconds")
    tasks = host.get("/tasks/")
    if tasks.status_code == 500 and tasks.json() is None:
        yield problem(
            "/tasks/ without credentials answers a plain-text 500: the host's handler of HTTPException crashes, so "
            "401, 403, 404 and 503 all arrive as 500, and alerts on 401 never fire",
            "Alert on the 5xx ratio of endpoints you know to be sound; see exceptions by type.",
            "sum by (endpoint, exception_type) (rate(orchestrator_http_exceptions_total[5m]))",
        )
    by_name = host.get("/health", Host="api:8080")
    if by_name.status_code == 400 and b"invalid host" in by_name.body.lower():
        told = "a request for Host api:8080 answers 400 Invalid host header, as a scraper by service name gets it"
        yield problem(told, "Scrape the management port, here that of the service api.", _SCRAPE)
    yield advice(
        "this host answers 500 to requests without User-Agent, or with both X-Real-IP and X-Forwarded-For, or a query "
        "like ?month=2 (a word after 'on', then '='). Five of them block the address for an hour. (Not tried here.)",
        "Let scrapers and probes use the management port, which none of that reaches.",
        "export ORDINAUT_OBS_MANAGEMENT_PORT=9464\nexport ORDINAUT_OBS_MANAGEMENT_HOST=0.0.0.0",
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
# with ORDINAUT_OBS_MANAGEMENT_PORT=9464 and ORDINAUT_OBS_MANAGEMENT_HOST=0.0.0.0
scrape_configs:
  - job_name: ordinaut
    static_configs: [{targets: ["api:9464"]}]"""
