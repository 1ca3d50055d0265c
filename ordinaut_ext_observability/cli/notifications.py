"""`notifications`, `alerts why` and `routes`: who is told of what, who was, and why."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated, Any

import typer
import yaml
from rich.table import Table
from rich.text import Text

from ordinaut_ext_observability.cli.http_client import NoAnswerError, ask, without_password
from ordinaut_ext_observability.cli.options import AsJson, ServiceUrl, ViewerToken
from ordinaut_ext_observability.cli.query import make_console
from ordinaut_ext_observability.manifest import MOUNT_PATH

if TYPE_CHECKING:
    from ordinaut_ext_observability.alerts.routing.routes import Route, Routing

_HERE = "http://127.0.0.1:8000"
_Limit = Annotated[int, typer.Option(min=1, max=5000, help="The newest, so many.")]
_Labels = Annotated[list[str], typer.Argument(metavar="NAME=VALUE...", help="Labels of an alert.")]
_Config = Annotated[str, typer.Option(metavar="FILE", help="Configuration file to read, instead of asking a service.")]

routes = typer.Typer(name="routes", help="Show the routes of alerts, or who would be told.", no_args_is_help=True)


def notifications(
    url: ServiceUrl = _HERE, token: ViewerToken = "", limit: _Limit = 20, *, as_json: AsJson = False
) -> None:
    """Show who was told of what, when and why, the newest first. Exit status: 2 no answer."""
    answer = _ask(url, token, f"/notifications?limit={limit}")
    table = Table("time", "integration", "alerts", "status", "reason", "outcome", "error", box=None, pad_edge=False)
    for each in answer["notifications"]:
        names = ", ".join(sorted({alert["alertname"] for alert in each["alerts"]}))
        texts = (each["integration"], names, each["status"], each["reason"], each["outcome"], each["error"])
        table.add_row(*map(Text, (each["at"][:19], *texts)))  # as text: [] is no markup
    typer.echo(json.dumps(answer, indent=2)) if as_json else make_console().print(table)


def why(fingerprint: str, url: ServiceUrl = _HERE, token: ViewerToken = "", *, as_json: AsJson = False) -> None:
    """Say who was told of an alert and why, what mutes it, and when it is looked at next. Exit status: 2 no answer."""
    answer = _ask(url, token, f"/alerts/{fingerprint}/why")
    for each in () if as_json else answer["journal"]:  # all else is sentences
        del each["alerts"], each["id"], each["created_ms"], each["at_ms"]
    typer.echo(json.dumps(answer, indent=2) if as_json else yaml.safe_dump(answer, sort_keys=False, width=120))


@routes.command("show")
def show_routes(config: _Config = "", url: ServiceUrl = _HERE, token: ViewerToken = "") -> None:
    """Show all routes, each below its parent. Exit status: 2 it cannot be read."""
    typer.echo("\n".join(map(_said, _routing(config, url, token).routes)))


@routes.command("test")
def find_routes(labels: _Labels, config: _Config = "", url: ServiceUrl = _HERE, token: ViewerToken = "") -> None:
    """Say who would be told of an alert with these labels, and when. Exit status: 2 it cannot be read."""
    given = dict(text.partition("=")[::2] for text in labels)
    typer.echo("\n".join(map(_said, _routing(config, url, token).route.match(given))))


def _routing(config: str, url: str, token: str) -> Routing:
    """The routing of the file, or of the service. Raises NoAnswerError or RoutingError."""
    from ordinaut_ext_observability.alerts.routing.config import read_routing
    from ordinaut_ext_observability.alerts.routing.defaults import default_config
    from ordinaut_ext_observability.settings.load import load_settings

    settings = load_settings(config)
    if not config:
        data = yaml.safe_load(_ask(url, token, "/api/v2/status")["config"]["original"])
        # Its secrets are hidden and its files are there: the names of receivers are all that routes need.
        return read_routing({**data, "global": {}, "receivers": [{"name": one["name"]} for one in data["receivers"]]})
    if wrong := [one.problem for one in settings.problems if one.variable.endswith("_CONFIG")]:
        raise NoAnswerError(f"{config}: {'; '.join(wrong)}")
    return read_routing(settings.file.alertmanager or default_config(settings.notifications))


def _ask(url: str, token: str, path: str) -> dict[str, Any]:
    url, password = without_password(url)
    url = f"{url.rstrip('/').removesuffix(MOUNT_PATH)}{MOUNT_PATH}{path}"
    answer = ask(url, password or token)
    if answer.status_code != 200 or not answer.fields():
        raise NoAnswerError(answer.fields().get("message") or f"{url} answers {answer.status_code}.")
    return answer.fields()


def _said(route: Route) -> str:
    again = ", ".join(f"{each / 60_000:g}" for each in route.repeat_intervals_ms)
    times = f"after {route.group_wait_ms / 1000:g} s, then every {route.group_interval_ms / 1000:g} s"
    hours = [f"not in {each}" for each in route.mute_time_intervals]
    hours += [f"only in {each}" for each in route.active_time_intervals]
    return "; ".join((f"{route.key} -> {route.receiver}", times, f"again after {again} min", *hours))
