"""What a running host looks like from outside. Everything here is a GET, and few of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from ordinaut_ext_observability.cli.check import Tokens, check_service
from ordinaut_ext_observability.cli.doctor.findings import Finding, advice, fact, problem
from ordinaut_ext_observability.cli.doctor.full_host import full_host
from ordinaut_ext_observability.cli.doctor.installation import INSTALL
from ordinaut_ext_observability.cli.http_client import Answer, NoAnswerError, ask
from ordinaut_ext_observability.manifest import EXTENSION_ID, MOUNT_PATH


@dataclass(frozen=True, slots=True)
class Host:
    """A running host, and what it says of us."""

    url: str
    tokens: Tokens
    timeout_seconds: float
    extensions: list[Any] | None
    """Its own list; None: it is no Ordinaut."""
    report: dict[str, Any] | None
    """Our health report; None: we are not found there, and `absence` says so."""
    absence: str = ""

    def get(self, path: str, **options: str) -> Answer:
        return ask(self.url + path, timeout_seconds=self.timeout_seconds, **options)


def find_host(urls: Sequence[str], tokens: Tokens, timeout_seconds: float) -> Host:
    """The host at the first of these URLs that answers; a path of ours behind it is taken off.

    Raises:
        NoAnswerError: nobody answers at any; the error of the first.
    """
    silence: NoAnswerError | None = None
    for url in urls:
        base = url.rstrip("/").removesuffix(MOUNT_PATH)
        try:
            listed = ask(f"{base}/extensions", timeout_seconds=timeout_seconds).json()
        except NoAnswerError as error:
            silence = silence or error
            continue
        extensions = listed if isinstance(listed, list) else None
        try:
            report = check_service(base, tokens, timeout_seconds)
        except NoAnswerError as error:
            return Host(base, tokens, timeout_seconds, extensions, None, str(error))
        return Host(base, tokens, timeout_seconds, extensions, report)
    raise silence or NoAnswerError


def running_host(host: Host) -> Iterator[Finding]:
    """What it is, whether it has us, what our checks say, and its own bugs."""
    # Of Ordinaut's two hosts only the full one has probes of its own.
    is_full = host.extensions is not None and host.get("/health/live").status_code == 200
    kind = "another application than Ordinaut's" if host.extensions is None else "the lean host of Ordinaut"
    yield fact(f"{host.url} answers: {_name(host)}, {'the full host of Ordinaut' if is_full else kind}")
    if host.report is None:
        yield problem(host.absence)
    if host.extensions is not None:
        yield from _listed(host.extensions, is_ours=host.report is not None)
    if host.report is not None:
        yield from _health(host.report)
        if "note" not in host.report:
            yield from _index(host)
        elif host.tokens.operator:
            yield advice(host.report["note"])
    if is_full:
        yield from full_host(host.get)


def _name(host: Host) -> str:
    document = host.get("/openapi.json").json()
    info = document.get("info") if isinstance(document, dict) else None
    return f"{info.get('title')} {info.get('version')}" if isinstance(info, dict) else "it does not say its name"


def _listed(extensions: list[Any], *, is_ours: bool) -> Iterator[Finding]:
    """What Ordinaut's own list says of the extension."""
    entry = next((entry for entry in extensions if isinstance(entry, dict) and entry.get("id") == EXTENSION_ID), None)
    if entry is None:
        yield problem(f"/extensions does not list {EXTENSION_ID}", *INSTALL)
        return
    status = entry.get("status")
    state: dict[str, Any] = status if isinstance(status, dict) else {}
    where = f"{entry.get('module')} ({entry.get('source')}), state {state.get('state')}"
    if state.get("state") == "error":
        yield problem(f"the extension failed to load: {state.get('error') or 'no reason given'}")
    elif not is_ours:
        yield problem(f"the extension {EXTENSION_ID} is not ours but {where}", *INSTALL)
    else:
        yield fact(f"the extension is {where}")
    if is_ours and not entry.get("eager"):
        yield advice(
            "it is loaded lazily: requests before the first to it are not measured",
            "Load it with the host.",
            f"ORDINAUT_EXT_ENTRY_EAGER='{{\"{EXTENSION_ID}\": true}}'",
        )


def _health(report: dict[str, Any]) -> Iterator[Finding]:
    yield fact(f"health: {report['status']}")
    for check in report["checks"]:
        if check["status"] != "healthy":
            message = check.get("message") or report.get("note", "no recent result")
            yield advice(f"check {check['name']}: {check['status']}: {message}")


def _index(host: Host) -> Iterator[Finding]:
    answer = host.get(f"{MOUNT_PATH}/", token=host.tokens.operator)
    index = answer.json()
    if answer.status_code != 200 or not isinstance(index, dict):
        yield advice(f"{MOUNT_PATH}/ answers {answer.status_code}")
        return
    for name in ("root_metrics", "management_port", "processes_merged", "collectors"):
        note = str(index.get(name))
        if "//127.0.0.1:" in note:
            note += ", this machine only; ORDINAUT_OBS_MANAGEMENT_HOST=0.0.0.0 opens it to others"
        yield fact(f"{name.replace('_', ' ')}: {note}")
    for one in index.get("settings_problems", []):
        yield problem(f"{one['variable']}={one['value']}: not used", one["problem"])
