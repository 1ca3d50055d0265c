"""`check`: the health of a running service or of this machine, as a table and an exit status."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, NamedTuple

from rich.console import Console
from rich.text import Text

from ordinaut_ext_observability.cli.http_client import Answer, ask, ask_at
from ordinaut_ext_observability.cli.output import make_table

_COLOURS = {"unhealthy": "red", "unknown": "yellow", "degraded": "yellow", "healthy": "green"}


class Tokens(NamedTuple):
    """Tokens that the service may ask for; empty where there is none."""

    operator: str
    scrape: str


def check_service(url: str, tokens: Tokens, timeout_seconds: float) -> dict[str, Any]:
    """The health report of the service at this URL: its base, its mount path or its management port.

    With an operator token it has messages, else names and states, else what the readiness probe says, and a `note`.
    Raises NoAnswerError where nothing answers as we do.
    """
    subject = "with a health report of this extension"
    return ask_at(url, "/health", subject, lambda place: _report_at(place, tokens, timeout_seconds))


def check_machine() -> dict[str, Any]:
    """Run the checks that the environment's settings ask for; the report in the shape a running service gives it."""
    from ordinaut_ext_observability.background.daemon_threads import run_on_own_loop
    from ordinaut_ext_observability.runtime.process import Runtime
    from ordinaut_ext_observability.settings.load import load_settings
    from ordinaut_ext_observability.web.endpoints.health import describe_health

    settings = load_settings()
    # The report says it all: no log lines beside it.
    runtime = Runtime(replace(settings, logs=settings.logs.model_copy(update={"level": "CRITICAL"})))

    async def run() -> None:
        runtime.health_monitor.unregister_check("event_loop")  # there is no host's
        await asyncio.sleep(1.0)  # the load of a processor shows over time only
        await runtime.health_monitor.run_all_checks()

    run_on_own_loop(run())
    runtime.lifecycle.started = True
    report = describe_health(runtime.lifecycle, detailed=True)
    del report["live"], report["ready"]
    return {**report, "note": "These are the checks of this machine. Give a URL to ask a running service."}


def _report_at(health: str, tokens: Tokens, timeout_seconds: float) -> dict[str, Any] | None:
    """The report, with a note where it could say more; None where something else answers."""
    note = "Give the operator token with --token to see what each check says."
    if tokens.operator:
        answer = ask(f"{health}/checks", tokens.operator, timeout_seconds)
        if (report := _report_of(answer)) is not None:
            return report
        note = _refusal(answer, "--token", "ORDINAUT_OBS_OPERATOR_TOKEN", tokens.operator)
    answer = ask(health, tokens.scrape or tokens.operator, timeout_seconds)
    of_host = "x-correlation-id" in answer.headers  # asked no more than is needed
    # Another method is asked for, which is no attempt at the operators' endpoint.
    if not of_host and ask(f"{health}/checks", "", timeout_seconds, "OPTIONS").status_code == 404:
        note = "This is the management port. To see what each check says, ask the service's own port."
    if answer.status_code in (401, 403, 429):
        # Anyone may know whether the service is ready.
        ready = ask(f"{health}/ready", timeout_seconds=timeout_seconds).fields().get("status")
        status = {"ok": "healthy", "unavailable": "unhealthy"}.get(str(ready))
        report = {"status": status, "ready": ready, "checks": []} if status else None
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
        404: f"The service does not tell what each check says: {variable} is not set there.",
        429: "The service has rejected this address too often: wait a minute.",
    }.get(answer.status_code, f"The service does not tell what each check says: it answers {answer.status_code}.")


def _report_of(answer: Answer) -> dict[str, Any] | None:
    """The answer as a health report of ours; the host's own looks different."""
    report = answer.fields()
    checks = report.get("checks")
    if "live" not in report or str(report.get("status")) not in _COLOURS or not isinstance(checks, list):
        return None
    return report if all(isinstance(check, dict) and "required" in check for check in checks) else None


def print_report(console: Console, report: Mapping[str, Any]) -> None:
    """Print the checks as a table, the worst first."""
    rows = []
    for check in sorted(report["checks"], key=lambda check: list(_COLOURS).index(check["status"])):
        age = check.get("age_seconds")
        message = check.get("message") or ("no recent result" if check.get("stale") else "")
        status = Text(check["status"], style=_COLOURS[check["status"]])
        needed = "required" if check.get("required") else "optional"
        rows.append((str(check["name"]), status, needed, "" if age is None else f"{age:.0f} s", str(message)))
    if rows:
        console.print(make_table(rows, "check", "status", "needed", "age", "message"), "")
    if "note" in report:
        console.print(Text(f"{report['note']}\n"))
    probes = ", ".join(f"{name}: {report[name]}" for name in ("live", "ready") if name in report)
    status = report["status"]
    console.print(Text.assemble((status, _COLOURS[status]), f"  ({probes})" if probes else ""))
