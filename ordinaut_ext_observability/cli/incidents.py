"""`silence`, `maintenance` and `alerts ack`: alerts that are not told for a time. All are silences of the service."""

from __future__ import annotations

import signal
import subprocess
from typing import Annotated, Any

import typer

from ordinaut_ext_observability.cli.http_client import NoAnswerError, ask_service
from ordinaut_ext_observability.cli.options import HERE
from ordinaut_ext_observability.cli.options import ServiceUrl as _Url
from ordinaut_ext_observability.cli.options import ViewerToken as _Token

_Matchers = Annotated[list[str] | None, typer.Argument(metavar="MATCHER...", help="Such as severity=critical.")]
_Alert = Annotated[str, typer.Argument(help="The alert's, as in `alerts --json`.")]
_Ids = Annotated[list[str], typer.Argument(metavar="ID...")]
_For = Annotated[str, typer.Option("--for", "-d", "--duration", help="Time until it ends, such as 2h.")]
_By = Annotated[str, typer.Option("--by", "-a", "--author", envvar="USER", help="Who does it.")]
_Why = Annotated[str, typer.Option("--reason", "-c", "--comment", help="Why; people read it.")]
_While = Annotated[str, typer.Option("--while", metavar="COMMAND", help="Until this command, run by sh, has ended.")]

silence = typer.Typer(name="silence", help="Silence alerts of a running service.", no_args_is_help=True)
maintenance = typer.Typer(name="maintenance", invoke_without_command=True)


def acknowledge(
    alert: _Alert, until: _For = "", by: _By = "", why: _Why = "", url: _Url = HERE, token: _Token = ""
) -> None:
    """Say that you work on an alert: it is not told again and does not escalate for a time. Exit status: 2 refused."""
    made = ask_service(url, token, "POST", f"/alerts/{alert}/ack", _body(until, by, why))
    typer.echo(f"Acknowledged until {made['until']}. To take it back: silence expire {made['id']}")


@silence.command("add")
def add_silence(
    matchers: _Matchers, until: _For = "1h", by: _By = "", why: _Why = "", url: _Url = HERE, token: _Token = ""
) -> None:
    """Silence the alerts that match, and print the silence's id. Exit status: 2 refused, or no answer."""
    typer.echo(ask_service(url, token, "POST", "/silences", _body(until, by, why, matchers))["id"])


def list_silences(context: typer.Context, url: _Url = HERE, token: _Token = "") -> None:
    """Show what is on, or will be. Exit status: 2 no answer."""
    only = "maintenance" if context.parent and context.parent.info_name == "maintenance" else ""
    for each in ask_service(url, token, "GET", "/api/v2/silences"):
        kind = each["annotations"].get("kind", "silence")
        if each["status"]["state"] != "expired" and only in ("", kind):
            said = "{id}  {kind}  until {endsAt}  by {createdBy}  {comment}".format_map(each | {"kind": kind})
            typer.echo(f"{said}  {', '.join(map(_text, each['matchers']))}")


def end_silences(ids: _Ids, url: _Url = HERE, token: _Token = "") -> None:
    """End silences, snoozes, acknowledgements or maintenances. Exit status: 2 refused, or no answer."""
    for identity in ids:
        ask_service(url, token, "DELETE", f"/api/v2/silence/{identity}")


for _group, _end in ((silence, "expire"), (maintenance, "end")):
    _group.command("list")(list_silences)
    _group.command(_end)(end_silences)


@maintenance.command("start")
def start_maintenance(
    matchers: _Matchers = None, until: _For = "1h", by: _By = "", why: _Why = "", url: _Url = HERE, token: _Token = ""
) -> None:
    """Begin a maintenance, of all alerts where no matcher is given, and print its id. Exit status: 2 refused."""
    typer.echo(ask_service(url, token, "POST", "/maintenance", _body(until, by, why, matchers))["id"])


@maintenance.callback()
def run_within(
    context: typer.Context,
    command: _While = "",
    until: _For = "1h",
    by: _By = "",
    why: _Why = "",
    url: _Url = HERE,
    token: _Token = "",
) -> int:
    """Begin and end maintenances, in which alerts are not told; with --while, run a command within one.

    It ends when the command does, also where that fails or is interrupted. Exit status: the command's; 2 where the
    maintenance cannot begin, and nothing is run.
    """
    if context.invoked_subcommand is not None:
        return 0
    if not command:
        raise NoAnswerError("Give a command with --while, or say start, end or list.")
    identity = ask_service(url, token, "POST", "/maintenance", _body(until, by, why or command[:500]))["id"]
    try:
        with subprocess.Popen(command, shell=True) as child:  # noqa: S602 - it is the user's own command
            # The terminal interrupts the command, too: it ends as it likes, and then the maintenance does.
            signal.signal(signal.SIGINT, lambda *_: None)
            signal.signal(signal.SIGTERM, lambda *_: child.terminate())
            status = child.wait()
    finally:
        try:
            end_silences([identity], url, token)
        except NoAnswerError as error:
            typer.echo(f"The maintenance goes on for {until}: {error}", err=True)
    return status if status >= 0 else 128 - status


def _text(matcher: dict[str, Any]) -> str:
    operator = ("!~", "!=", "=~", "=")[2 * matcher["isEqual"] + (not matcher["isRegex"])]
    return f'{matcher["name"]}{operator}"{matcher["value"]}"'


def _body(until: str, by: str, why: str, matchers: list[str] | None = None) -> dict[str, Any]:
    given = {"for": until, "by": by, "comment": why, "matchers": matchers}
    return {name: value for name, value in given.items() if value}
