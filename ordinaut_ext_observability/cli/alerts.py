"""`alerts` and `rules`: how the alerts and rules of a running service stand, and whether rule files are right."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from ordinaut_ext_observability.background.clock import wall_seconds
from ordinaut_ext_observability.cli.http_client import NoAnswerError, ask, without_password
from ordinaut_ext_observability.cli.options import AsJson, ServiceUrl, Timeout, ViewerToken
from ordinaut_ext_observability.manifest import MOUNT_PATH

_STATES = {"firing": "red", "pending": "yellow", "resolved": "green"}
_SEVERITIES = {"critical": "red", "error": "red", "warning": "yellow", "": "yellow", "info": "cyan", "none": "cyan"}
_NO_TROUBLE = ("info", "none")
_STATUS = {"ok": 0, "firing": 1, "unknown": 2, "off": 2}
"""Exit statuses by what the service says of all alerts."""

rules = typer.Typer(
    name="rules", help="Show the rules of a running service, or check rule files.", no_args_is_help=True
)


def alerts(
    url: ServiceUrl = "http://127.0.0.1:8000",
    token: ViewerToken = "",
    timeout: Timeout = 5.0,
    *,
    as_json: AsJson = False,
) -> int:
    """Show what is pending, what fires and what was just resolved.

    Exit status: 0 nothing fires, or only alerts of severity info; 1 something fires; 2 no answer, or it is not known.
    """
    answer = _ask(url, token, "alerts", timeout)
    if as_json:
        typer.echo(json.dumps(answer, indent=2))
    else:
        _print_alerts(Console(highlight=False), answer, token)
    return _STATUS[answer["status"]]


@rules.command("list")
def list_rules(
    url: ServiceUrl = "http://127.0.0.1:8000",
    token: ViewerToken = "",
    timeout: Timeout = 5.0,
    *,
    as_json: AsJson = False,
) -> int:
    """Show all rules of a running service by group.

    Exit status: 0 all can be evaluated; 1 a rule fails, or a file is not used; 2 no answer, or it is not known.
    """
    answer = _ask(url, token, "groups", timeout)
    if as_json:
        typer.echo(json.dumps(answer, indent=2))
    else:
        _print_rules(Console(highlight=False), answer)
    fails = any(rule["health"] == "err" for group in answer["groups"] for rule in group["rules"])
    return max(fails or bool(answer.get("problems")), _STATUS[answer["status"]] & 2)


@rules.command("check")
def check_rules(files: Annotated[list[str], typer.Argument(metavar="FILE...", help="Rule files.")]) -> int:
    """Check rule files, without a service. Exit status: 1 a file is wrong.

    Rules that look back further than samples are kept are named, with ORDINAUT_OBS_HISTORY_RETENTION_SECONDS as it is.
    """
    from ordinaut_ext_observability.alerts.rule_files import RuleFileError, read_rule_file
    from ordinaut_ext_observability.alerts.rules import AlertingRule

    groups: list[Any] = []
    status = 0
    for path in files:
        try:
            read = read_rule_file(path)
        except RuleFileError as error:
            typer.echo(str(error))
            status = 1
        else:
            found = [isinstance(rule, AlertingRule) for group in read for rule in group.rules]
            typer.echo(f"{path}: OK, {found.count(True)} alerting and {found.count(False)} recording rules")
            groups += read
    for note in _lookback_notes(groups):
        typer.echo(note)
    return status


def _lookback_notes(groups: Sequence[Any]) -> list[str]:
    """Lines about the rules of these groups that look back further than the settings let samples be kept."""
    from ordinaut_ext_observability.alerts.evaluation import Engine
    from ordinaut_ext_observability.alerts.loading import LoadedRules
    from ordinaut_ext_observability.background.clock import Clock
    from ordinaut_ext_observability.history.history import History
    from ordinaut_ext_observability.settings.load import load_settings

    builtin = LoadedRules((), {})
    builtin.read_changed()
    retention = load_settings().history.retention_seconds
    engine = Engine(History(Clock(), interval_seconds=15.0, retention_seconds=retention, max_series=0))
    engine.load([*builtin.groups, *groups], 0)
    return [
        f"{group.file}: {rule.name}: {note}"
        for group in groups
        for rule in group.rules
        for note in engine.notes_on(rule, 0)
        if note.startswith("needs")
    ]


def _ask(url: str, token: str, part: str, timeout_seconds: float) -> dict[str, Any]:
    """The answer of the service at this URL, its base or its mount path. Raises NoAnswerError."""
    url, password = without_password(url)
    base, path = url.rstrip("/"), {"alerts": "/alerts", "groups": "/rules"}[part]
    for mount in (base,) if base.endswith(MOUNT_PATH) else (base + MOUNT_PATH, base):
        answer = ask(f"{mount}{path}", password or token, timeout_seconds)
        fields = answer.fields()
        if fields.get("status") in _STATUS and isinstance(fields.get(part), list):
            return fields
        if "request_id" in fields and "message" in fields:
            hint = " Give it with --token or ORDINAUT_OBS_OPERATOR_TOKEN." if answer.status_code == 401 else ""
            raise NoAnswerError(f"{fields['message']}{hint}")
    raise NoAnswerError(
        f"{url} answers, but not about alerts of this extension.\n"
        f"Asked were {MOUNT_PATH}{path} and {path}. To see why: ordinaut-observability doctor --url {url}"
    )


def _print_alerts(console: Console, answer: Mapping[str, Any], token: str) -> None:
    found: list[dict[str, Any]] = sorted(answer["alerts"], key=_rank)
    table = Table("severity", "alert", "state", "since", "what is the matter", box=None, pad_edge=False)
    table.columns[-1].overflow = "fold"
    for (severity, name, state, *texts), number in Counter(map(_row, found)).items():
        shown = [
            Text(name if number == 1 else f"{name} ({number})"),
            Text(state, style=_STATES[state]),
            *map(Text, texts),
        ]
        table.add_row(Text(severity, style=_SEVERITIES.get(severity, "yellow")), *shown)
    if found:
        console.print(table, "")
    counts = Counter(alert["state"] for alert in found if alert["severity"] not in _NO_TROUBLE)
    firing, pending = counts["firing"], counts["pending"]
    fires = "No alert fires" if not firing else f"{firing} {'alerts fire' if firing > 1 else 'alert fires'}"
    aside = ", severity info aside" if any(alert["severity"] in _NO_TROUBLE for alert in found) else ""
    status = {"unknown": "Unknown", "off": "Off"}.get(answer["status"], f"{fires}, {pending} pending{aside}")
    console.print(
        Text(f"{status}. {_source(answer)}", style={0: "green", 1: "red"}.get(_STATUS[answer["status"]], "yellow"))
    )
    if found and "labels" not in found[0]:
        said = "The service does not accept the token" if token else "Give the operator or viewer token with --token"
        console.print(Text(f"{said}: without it, only names and states are shown."))
    for problem in answer.get("problems") or ():
        console.print(Text(problem, style="yellow"))


def _row(alert: Mapping[str, Any]) -> tuple[str, ...]:
    """What is shown of an alert; without a token, many may look the same."""
    annotations = alert.get("annotations", {})
    said = annotations.get("description") or annotations.get("summary", "")
    since = _age(wall_seconds() - datetime.fromisoformat(alert["since"]).timestamp())
    return alert["severity"], alert["name"], alert["state"], since, " ".join(said.split())


def _source(answer: Mapping[str, Any]) -> str:
    """A sentence about who evaluated, and how long ago that was."""
    if answer["status"] == "off":
        return "The service evaluates no rules: ORDINAUT_OBS_ALERTS or ORDINAUT_OBS_HISTORY is false there."
    if answer["age_seconds"] is None:
        return "No rules have been evaluated yet."
    who = "this process" if answer["evaluated_here"] else "another process"
    settling = "" if answer["settled"] else " It has just started: until it has settled, nothing begins to fire."
    return f"Evaluated by {who} {_age(answer['age_seconds'])} ago.{settling}"


def _print_rules(console: Console, answer: Mapping[str, Any]) -> None:
    table = Table("group", "rule", "severity", "state", "health", "notes", box=None, pad_edge=False)
    table.columns[-1].overflow = "fold"
    for group in answer["groups"]:
        for rule in group["rules"]:
            severity, state = rule.get("severity", ""), rule.get("state", "recording")
            notes = [*filter(None, [rule.get("error")]), *rule.get("notes", ())]
            table.add_row(
                Text(group["name"]),
                Text(rule["name"]),
                Text(severity, style=_SEVERITIES.get(severity, "")),
                Text(state, style=_STATES.get(state, "")),
                Text(rule["health"], style={"err": "red", "unknown": "yellow"}.get(rule["health"], "")),
                Text("; ".join(notes)),
            )
    console.print(table, "")
    console.print(Text(_source(answer)))
    for problem in answer.get("problems") or ():
        console.print(Text(problem, style="yellow"))


def _rank(alert: Mapping[str, Any]) -> tuple[int, int, str]:
    """Its place in the list: what fires comes first, and among that what is worst."""
    severities = list(_SEVERITIES)
    severity = alert["severity"] if alert["severity"] in severities else ""
    return list(_STATES).index(alert["state"]), severities.index(severity), alert["name"]


def _age(seconds: float) -> str:
    """A duration in its largest unit: `40 s`, `12 min`, `3 h`, `2 d`."""
    for unit, least in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= least:
            return f"{seconds / least:.0f} {unit}"
    return f"{max(0.0, seconds):.0f} s"
