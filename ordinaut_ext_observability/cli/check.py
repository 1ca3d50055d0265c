"""`check`: the health report of a running service, and how any report becomes a table and an exit status."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from ordinaut_ext_observability.cli.http_client import Answer, NoAnswerError, ask
from ordinaut_ext_observability.manifest import MOUNT_PATH

SERVES = 0
UNHEALTHY = 1
NOT_ASKED = 2

_COLOURS = {"healthy": "green", "degraded": "yellow", "unknown": "yellow", "unhealthy": "red"}


@dataclass(frozen=True, slots=True)
class Tokens:
    """What the service may ask for; empty where there is none."""

    operator: str
    scrape: str


def check_service(url: str, tokens: Tokens, timeout_seconds: float) -> dict[str, Any]:
    """The health report of the service at this URL: its base, its mount path or its management port.

    With an operator token the report has messages, else names and states; where neither may be seen, it says what the
    readiness probe says.

    Raises:
        NoAnswerError: nothing there answers as we do.
    """
    base = url.rstrip("/")
    for mount in (MOUNT_PATH, ""):
        if mount and base.endswith(mount):
            continue
        report = _report_at(base + mount, tokens, timeout_seconds)
        if report is not None:
            return report
    raise NoAnswerError(
        f"{url} answers, but not with a health report of this extension.\n"
        f"Asked were {MOUNT_PATH}/health and /health. To see why: ordinaut-observability doctor --url {url}"
    )


def _report_at(mount: str, tokens: Tokens, timeout_seconds: float) -> dict[str, Any] | None:
    """The report, with a note where it could say more; None where something else answers."""
    note = "Give the operator token with --token to see what each check says."
    if tokens.operator:
        answer = ask(f"{mount}/health/checks", tokens.operator, timeout_seconds)
        if (report := _report_of(answer)) is not None:
            return report
        note = _refusal(answer, "--token", "ORDINAUT_OBS_OPERATOR_TOKEN", tokens.operator)
    answer = ask(f"{mount}/health", tokens.scrape or tokens.operator, timeout_seconds)
    if answer.status_code in (401, 403, 429):
        report = _readiness(mount, timeout_seconds)
        note = _refusal(answer, "--scrape-token", "ORDINAUT_OBS_SCRAPE_TOKEN", tokens.scrape)
    else:
        report = _report_of(answer)
    return None if report is None else {**report, "note": note}


def _refusal(answer: Answer, option: str, variable: str, token: str) -> str:
    """The reason why the checks, or what they say, are not shown, and where to look."""
    if answer.status_code == 401 and not token:
        return f"The checks are not shown: give the token with {option} (the service's {variable})."
    return {
        401: f"The service rejects the token of {option}: it is not its {variable}.\n"
        "Each rejection is a line of its log, with event_type access_refused.",
        403: "The service does not show the checks to this address: see its ORDINAUT_OBS_SCRAPE_ALLOW.",
        404: f"What checks say is not served there: {variable} is not set in the service,\n"
        "or this is its management port.",
        429: "The service has rejected this address too often: wait a minute.",
    }.get(answer.status_code, f"The service does not say what checks say: it answers {answer.status_code}.")


def _readiness(mount: str, timeout_seconds: float) -> dict[str, Any] | None:
    """What anyone may know: whether the service is ready."""
    answer = ask(f"{mount}/health/ready", timeout_seconds=timeout_seconds)
    body = answer.json()
    if not isinstance(body, dict) or body.get("status") not in ("ok", "unavailable"):
        return None
    status = "healthy" if body["status"] == "ok" else "unhealthy"
    return {"status": status, "ready": body["status"], "checks": []}


def _report_of(answer: Answer) -> dict[str, Any] | None:
    """The answer as a health report of ours; the host's own looks different."""
    body = answer.json()
    if isinstance(body, dict) and body.get("status") in _COLOURS and isinstance(body.get("checks"), list):
        ours = "live" in body and all(isinstance(check, dict) and "required" in check for check in body["checks"])
        return body if ours else None
    return None


def exit_status(report: Mapping[str, Any], *, strict: bool) -> int:
    """0 when the service serves, 1 when it is unhealthy or, if `strict`, degraded."""
    healthy = ("healthy",) if strict else ("healthy", "degraded")
    return SERVES if report["status"] in healthy else UNHEALTHY


def print_report(console: Console, report: Mapping[str, Any]) -> None:
    """The checks as a table, the worst first."""
    table = Table(box=None, pad_edge=False)
    for column in ("check", "status", "needed", "age", "message"):
        table.add_column(column, overflow="fold")
    order = ("unhealthy", "unknown", "degraded", "healthy")
    for check in sorted(report["checks"], key=lambda check: order.index(check["status"])):
        age = check.get("age_seconds")
        message = check.get("message") or ("no recent result" if check.get("stale") else "")
        table.add_row(
            Text(str(check["name"])),
            _coloured(check["status"]),
            "required" if check.get("required") else "optional",
            "" if age is None else f"{age:.0f} s",
            Text(str(message)),  # as text: what stands in square brackets is no markup
        )
    if report["checks"]:
        console.print(table)
        console.print()
    if "note" in report:
        console.print(Text(f"{report['note']}\n"))
    probes = ", ".join(f"{name}: {report[name]}" for name in ("live", "ready") if name in report)
    console.print(Text.assemble(_coloured(report["status"]), f"  ({probes})" if probes else ""))


def _coloured(status: str) -> Text:
    return Text(status, style=_COLOURS[status])
