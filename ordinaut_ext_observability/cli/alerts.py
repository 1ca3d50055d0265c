"""`alerts` and `rules`: how the alerts and rules of a running service stand, and whether rule files are right."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import datetime
from itertools import chain
from typing import Annotated, Any

import typer
from rich.text import Text

from ordinaut_ext_observability.alerts import NO_TROUBLE
from ordinaut_ext_observability.background.clock import wall_seconds
from ordinaut_ext_observability.cli.http_client import ask, ask_at, raise_refusal, without_password
from ordinaut_ext_observability.cli.options import HERE, AsJson, ServiceUrl, Timeout, ViewerToken
from ordinaut_ext_observability.cli.output import make_console, make_table, print_json

_STATES = ("firing", "pending", "resolved")
_SEVERITIES = ("critical", "error", "warning", "", "info", "none")
_STATUS = {"ok": 0, "firing": 1, "unknown": 2, "off": 2}
"""Exit statuses by what the service says of all alerts."""

_STYLES = {
    **dict.fromkeys(("critical", "error", "firing", "err"), "red"),
    **dict.fromkeys(("warning", "pending", "unknown"), "yellow"),
    **dict.fromkeys(("info", "none"), "cyan"),
    "resolved": "green",
}

Answer = dict[str, Any]
Row = tuple[str, ...]

_RULES = "Show the rules of a running service, or check rule files."
rules = typer.Typer(name="rules", help=_RULES, no_args_is_help=True)
alerts = typer.Typer(name="alerts", invoke_without_command=True)


@alerts.callback()
def show_alerts(
    context: typer.Context,
    url: ServiceUrl = HERE,
    token: ViewerToken = "",
    timeout: Timeout = 5.0,
    *,
    as_json: AsJson = False,
) -> int:
    """Show the alerts that are pending, firing or just resolved.

    Exit status: 0 nothing fires, or only alerts of severity info; 1 something fires; 2 no answer, or not known.
    """
    if context.invoked_subcommand is not None:
        return 0
    answer = _show("alerts", url, token, timeout, as_json=as_json)
    if answer["status"] == "firing" and not as_json:
        typer.echo("What to do about a built-in alert: GET /runbooks/ALERT.")
    return _STATUS[answer["status"]]


@rules.command("list")
def list_rules(
    url: ServiceUrl = HERE, token: ViewerToken = "", timeout: Timeout = 5.0, *, as_json: AsJson = False
) -> int:
    """Show all rules of a running service by group.

    Exit status: 0 all are evaluated; 1 a rule fails, or a file or an override is not used;
    2 no answer, or not known.
    """
    answer = _show("groups", url, token, timeout, as_json=as_json)
    fails = any(rule["health"] == "err" for group in answer["groups"] for rule in group["rules"])
    return max(fails or bool(answer.get("problems")), _STATUS[answer["status"]] & 2)


@rules.command("check")
def check_rules(files: Annotated[list[str], typer.Argument(metavar="FILE...", help="Rule files.")]) -> int:
    """Check rule files, without a service. Exit status: 1 a file is wrong.

    Also name rules that look back further than ORDINAUT_OBS_HISTORY_RETENTION_SECONDS keeps samples.
    """
    from ordinaut_ext_observability.alerts.builtin import builtin_groups
    from ordinaut_ext_observability.alerts.evaluation import lookback_notes
    from ordinaut_ext_observability.alerts.rule_files import RuleFileError, read_rule_file
    from ordinaut_ext_observability.settings.load import load_settings

    read: dict[str, list[Any]] = {}
    for path in files:
        try:
            read[path] = [rule for group in read_rule_file(path) for rule in group.rules]
        except RuleFileError as error:
            typer.echo(str(error))
        else:
            kinds = Counter(rule.kind for rule in read[path])
            typer.echo(f"{path}: OK, {kinds['alerting']} alerting and {kinds['recording']} recording rules")
    rules = [rule for group in builtin_groups() for rule in group.rules] + [*chain(*read.values())]
    recorded = {rule.name for rule in rules if rule.kind == "recording"}
    retention_ms = round(load_settings().history.retention_seconds * 1000)
    for path, found in read.items():
        for rule in found:
            for note in lookback_notes(rule, recorded, retention_ms):
                typer.echo(f"{path}: {rule.name}: {note}")
    return int(len(read) < len(set(files)))


def _show(part: str, url: str, token: str, timeout_seconds: float, *, as_json: bool) -> Answer:
    """Ask for this part, and print it as JSON or as a table, with who evaluated and what is wrong below it."""
    path, heads, make_rows = _PARTS[part]
    url, password = without_password(url)
    token = password or token

    def ask_one(place: str) -> Answer | None:
        answer = ask(place, token, timeout_seconds)
        fields = answer.fields()
        if fields.get("status") in _STATUS and isinstance(fields.get(part), list):
            return fields
        raise_refusal(answer, " Give it with --token or ORDINAUT_OBS_OPERATOR_TOKEN.")
        return None

    answer = ask_at(url, path, "about alerts of this extension", ask_one)
    if as_json:
        print_json(answer)
        return answer
    console = make_console()
    coloured = ([Text(text, style=_STYLES.get(text, "")) for text in row] for row in make_rows(answer))
    table = make_table(coloured, *heads)
    if table.rows:
        console.print(table, "")
    console.print(Text(_summary(answer), style={0: "green", 1: "red"}.get(_STATUS[answer["status"]], "yellow")))
    if "problems" not in answer:
        why = "the service does not accept the token" if token else "give the operator or viewer token with --token"
        console.print(Text(f"Names and states only: {why}."))
    for problem in filter(None, (*(answer.get("problems") or ()), answer.get("store_problem"))):
        console.print(Text(problem, style="yellow"))
    return answer


def _alert_rows(answer: Answer) -> Iterator[Row]:
    rows = Counter(map(_row, sorted(answer["alerts"], key=_rank)))
    for (severity, name, *others), number in rows.items():
        yield severity, name if number == 1 else f"{name} ({number})", *others


def _rule_rows(answer: Answer) -> Iterator[Row]:
    for group in answer["groups"]:
        yield "", group["name"], "", "", ""
        for rule in group["rules"]:
            notes = [*filter(None, [rule.get("error")]), *rule.get("notes", ())]
            state = rule.get("state", "recording")
            yield rule.get("severity", ""), f"  {rule['name']}", state, rule["health"], "; ".join(notes)


_PARTS: dict[str, tuple[str, tuple[str, ...], Callable[[Answer], Iterable[Row]]]] = {
    "alerts": ("/alerts", ("severity", "alert", "state", "since", "what is the matter"), _alert_rows),
    "groups": ("/rules", ("severity", "rule", "state", "health", "notes"), _rule_rows),
}
"""Path, heads and rows of a table, by the field of the answer that they are from."""


def _summary(answer: Answer) -> str:
    """Sentences about all alerts, who evaluated them, and how long ago that was."""
    if answer["status"] == "off":
        return "Off: the service evaluates no rules, since ORDINAUT_OBS_ALERTS or ORDINAUT_OBS_HISTORY is false there."
    if answer["age_seconds"] is None:
        return "Unknown: no rules have been evaluated yet."
    by = "the process that answers" if answer["evaluated_here"] else "another process"
    evaluated = f"Evaluated {_age(answer['age_seconds'])} ago by {by}."
    if answer["status"] == "unknown":
        return f"Unknown: this is how it was. {evaluated}"
    settling = "" if answer["settled"] else " It started a moment ago: nothing begins to fire or ends yet."
    return f"{_count(answer)}{evaluated}{settling}"


def _count(answer: Answer) -> str:
    """A sentence about how many alerts fire, in an answer about alerts."""
    if "alerts" not in answer:
        return ""
    states = Counter(alert["state"] for alert in answer["alerts"] if alert["severity"] not in NO_TROUBLE)
    aside = " (severity info not counted)" if states.total() < len(answer["alerts"]) else ""
    firing = states["firing"]
    fires = f"{firing} {'alerts fire' if firing > 1 else 'alert fires'}" if firing else "No alert fires"
    return f"{fires}, {states['pending']} pending{aside}. "


def _row(alert: Mapping[str, Any]) -> Row:
    """The row of an alert; without a token, many may look the same."""
    annotations = alert.get("annotations", {})
    said = annotations.get("description") or annotations.get("summary", "")
    since = _age(wall_seconds() - datetime.fromisoformat(alert["since"]).timestamp())
    return alert["severity"], alert["name"], alert["state"], since, " ".join(said.split())


def _rank(alert: Mapping[str, Any]) -> tuple[int, int, str]:
    """Its place in the list: what fires comes first, and among that what is worst."""
    severity = alert["severity"] if alert["severity"] in _SEVERITIES else ""
    return _STATES.index(alert["state"]), _SEVERITIES.index(severity), alert["name"]


def _age(seconds: float) -> str:
    """A duration in its largest unit: `40 s`, `12 min`, `3 h`, `2 d`."""
    for unit, least in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= least:
            return f"{seconds / least:.0f} {unit}"
    return f"{max(0.0, seconds):.0f} s"
