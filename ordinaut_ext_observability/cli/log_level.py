"""`log-level`: levels of a running service's loggers, shown, or changed for a while."""

from __future__ import annotations

import json
from typing import Annotated
from urllib.parse import quote

import typer

from ordinaut_ext_observability.cli.http_client import NoAnswerError, ask, without_password
from ordinaut_ext_observability.cli.options import ServiceUrl, Timeout, ViewerToken
from ordinaut_ext_observability.manifest import MOUNT_PATH


def log_level(
    name: Annotated[str, typer.Argument(help="The logger, such as root; all are listed where none is given.")] = "",
    level: Annotated[str, typer.Argument(help="DEBUG, INFO, WARNING, ERROR or CRITICAL; else it is shown.")] = "",
    url: ServiceUrl = "http://127.0.0.1:8000",
    token: ViewerToken = "",
    duration: Annotated[str, typer.Option("--for", help="Time until it ends, at most 1d.")] = "10m",
    timeout: Timeout = 5.0,
    *,
    reset: Annotated[bool, typer.Option("--reset", help="End the change now.")] = False,
) -> None:
    """Show levels of loggers, or change one for a while, in all processes. Exit status: 2 refused, or no answer."""
    if reset and not name:
        raise NoAnswerError("Which logger? Give its name before --reset, such as root.")
    url, password = without_password(url)
    url = f"{url.rstrip('/').removesuffix(MOUNT_PATH)}{MOUNT_PATH}/loggers/{quote(name, safe='')}".rstrip("/")
    body = json.dumps({"level": None} if reset else {"level": level.upper(), "for": duration})
    sent = ("PUT", body) if level or reset else ()
    answer = ask(url, password or token, timeout, *sent, **{"Content-Type": "application/json"}).fields()
    if "loggers" not in answer and "notes" not in answer:
        raise NoAnswerError(answer.get("message") or f"{url}: it answers, but not about loggers of this extension.")
    for shown in answer.get("loggers") or [answer]:
        change = shown["changed"]
        until = " until {until}, then {previous_level}".format_map(change) if change else ""
        typer.echo("\n  ".join((f"{shown['effective_level']:8} {shown['name']}{until}", *shown["notes"])))
    typer.echo(f"Reach: {answer['reach']}." if "reach" in answer else "", nl="reach" in answer)
