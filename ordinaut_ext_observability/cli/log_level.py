"""`log-level`: levels of a running service's loggers, shown, or changed for a while."""

from __future__ import annotations

from typing import Annotated
from urllib.parse import quote

import typer

from ordinaut_ext_observability.cli.http_client import NoAnswerError, ask_service
from ordinaut_ext_observability.cli.options import HERE, ServiceUrl, Timeout, ViewerToken


def log_level(
    name: Annotated[str, typer.Argument(help="The logger, such as root; all are listed where none is given.")] = "",
    level: Annotated[str, typer.Argument(help="DEBUG, INFO, WARNING, ERROR or CRITICAL; else it is shown.")] = "",
    url: ServiceUrl = HERE,
    token: ViewerToken = "",
    duration: Annotated[str, typer.Option("--for", help="Time until it ends, at most 1d.")] = "10m",
    timeout: Timeout = 5.0,
    *,
    reset: Annotated[bool, typer.Option("--reset", help="End the change now.")] = False,
) -> None:
    """Show levels of loggers, or change one for a while, in all processes. Exit status: 2 refused, or no answer."""
    if reset and not name:
        raise NoAnswerError("Which logger? Give its name before --reset, such as root.")
    body = {"level": None} if reset else {"level": level.upper(), "for": duration}
    sent = ("PUT", body) if level or reset else ("GET", None)
    path = f"/loggers/{quote(name, safe='')}".rstrip("/")
    answer = ask_service(url, token, sent[0], path, sent[1], timeout)
    for shown in answer.get("loggers") or [answer]:
        change = shown["changed"]
        until = " until {until}, then {previous_level}".format_map(change) if change else ""
        typer.echo("\n  ".join((f"{shown['effective_level']:8} {shown['name']}{until}", *shown["notes"])))
    typer.echo(f"Reach: {answer['reach']}." if "reach" in answer else "", nl="reach" in answer)
