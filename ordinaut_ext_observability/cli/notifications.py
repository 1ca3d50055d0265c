"""`notifications`, `alerts why`, `notify` and `routes`: who is told of what, who was, why, and whether it arrives."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated
from urllib.parse import quote

import typer
import yaml

from ordinaut_ext_observability.cli.http_client import NoAnswerError, ask_service
from ordinaut_ext_observability.cli.options import HERE, AsJson, OperatorToken, ServiceUrl, ViewerToken
from ordinaut_ext_observability.cli.output import make_console, make_table, print_json

if TYPE_CHECKING:
    from ordinaut_ext_observability.alerts.routing.routes import Route, Routing

_Limit = Annotated[int, typer.Option(min=1, max=5000, help="The newest, so many.")]
_Labels = Annotated[list[str], typer.Argument(metavar="NAME=VALUE...", help="Labels of an alert.")]
_Config = Annotated[str, typer.Option(metavar="FILE", help="Configuration file to read, instead of asking a service.")]

notify = typer.Typer(name="notify", help="See whether people are reached.", no_args_is_help=True)
notify.callback()(lambda: None)  # so that `test` stays a subcommand, though it is the only one
routes = typer.Typer(name="routes", help="Show the routes of alerts, or who would be told.", no_args_is_help=True)


def notifications(
    url: ServiceUrl = HERE, token: ViewerToken = "", limit: _Limit = 20, *, as_json: AsJson = False
) -> None:
    """Show who was told of what, when and why, the newest first. Exit status: 2 no answer."""
    answer = ask_service(url, token, "GET", f"/notifications?limit={limit}")
    if as_json:
        print_json(answer)
        return
    rows = []
    for each in answer["notifications"]:
        names = ", ".join(sorted({alert["alertname"] for alert in each["alerts"]}))
        outcome = f"{each['outcome']}: {each['error']}".removesuffix(": ")
        rows.append((each["at"][5:19].replace("T", " "), each["integration"], names, each["reason"], outcome))
    make_console().print(make_table(rows, "time, UTC", "integration", "alerts", "reason", "outcome"))
    if "told_by" in answer:
        typer.echo(f"Now people are told by {answer['told_by']}.")


def why(fingerprint: str, url: ServiceUrl = HERE, token: ViewerToken = "", *, as_json: AsJson = False) -> None:
    """Say who was told of an alert and why, what mutes it, and when it is looked at next. Exit status: 2 no answer."""
    answer = ask_service(url, token, "GET", f"/alerts/{fingerprint}/why")
    if as_json:
        print_json(answer)
        return
    for each in answer["journal"]:  # all else is sentences
        del each["alerts"], each["id"], each["created_ms"], each["at_ms"]
    typer.echo(yaml.safe_dump(answer, sort_keys=False, width=120))


@notify.command("test")
def send_test(
    to: Annotated[str, typer.Argument(metavar="RECEIVER", help="As critical; one of its ways: critical/slack[0].")],
    url: ServiceUrl = HERE,
    token: OperatorToken = "",
    timeout: Annotated[float, typer.Option(min=0.1, max=300.0, metavar="SECONDS", help="Time for all of it.")] = 60.0,
) -> int:
    """Send a test message by a running service, and show what came of it. Exit status: 1 not sent, 2 no answer."""
    outcomes = ask_service(url, token, "POST", f"/notifications/test?to={quote(to)}", None, timeout)["outcomes"]
    for integration, outcome in outcomes.items():
        typer.echo(f"{integration}: {outcome}")
    return int(set(outcomes.values()) != {"sent"})


@routes.command("show")
def show_routes(config: _Config = "", url: ServiceUrl = HERE, token: ViewerToken = "") -> None:
    """Show all routes, each below its parent. Exit status: 2 it cannot be read."""
    typer.echo("\n".join(map(_said, _routing(config, url, token).routes)))


@routes.command("test")
def find_routes(labels: _Labels, config: _Config = "", url: ServiceUrl = HERE, token: ViewerToken = "") -> None:
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
        data = yaml.safe_load(ask_service(url, token, "GET", "/api/v2/status")["config"]["original"])
        # Its secrets are hidden and its files are there: the names of receivers are all that routes need.
        return read_routing({**data, "global": {}, "receivers": [{"name": one["name"]} for one in data["receivers"]]})
    if wrong := [one.problem for one in settings.problems if one.variable.endswith("_CONFIG")]:
        raise NoAnswerError(f"{config}: {'; '.join(wrong)}")
    return read_routing(settings.file.alertmanager or default_config(settings.notifications))


def _said(route: Route) -> str:
    again = ", ".join(f"{each / 60_000:g}" for each in route.repeat_intervals_ms)
    times = f"after {route.group_wait_ms / 1000:g} s, then every {route.group_interval_ms / 1000:g} s"
    hours = [f"not in {each}" for each in route.mute_time_intervals]
    hours += [f"only in {each}" for each in route.active_time_intervals]
    return "; ".join((f"{route.key} -> {route.receiver}", times, f"again after {again} min", *hours))
