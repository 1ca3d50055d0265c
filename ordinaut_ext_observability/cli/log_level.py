"""`log-level`: levels of a running service's loggers, changed for a while."""

from __future__ import annotations

import json
from typing import Annotated
from urllib.parse import quote

import typer

from ordinaut_ext_observability.cli.http_client import NoAnswerError, ask, without_password
from ordinaut_ext_observability.cli.options import AsJson, ServiceUrl, Timeout, ViewerToken
from ordinaut_ext_observability.manifest import MOUNT_PATH


def log_level(
    name: Annotated[str, typer.Argument(help="The logger; root is above all. Without one, all are listed.")] = "",
    level: Annotated[str, typer.Argument(help="DEBUG, INFO, WARNING, ERROR or CRITICAL.")] = "",
    url: ServiceUrl = "http://127.0.0.1:8000",
    token: ViewerToken = "",
    duration: Annotated[str, typer.Option("--for", help="Time until it ends, at most 1d.")] = "10m",
    timeout: Timeout = 5.0,
    *,
    reset: Annotated[bool, typer.Option("--reset", help="End the change now.")] = False,
    as_json: AsJson = False,
) -> None:
    """Show the levels of loggers, or change one for a while in all processes. Exit status: 2 not done, or no answer."""
    url, password = without_password(url)
    path = f"{url.rstrip('/').removesuffix(MOUNT_PATH)}{MOUNT_PATH}/loggers" + (f"/{quote(name)}" if name else "")
    body = json.dumps({"level": None} if reset else {"level": level.upper(), "for": duration})
    sent = ("PUT", body) if level or reset else ()
    answer = ask(path, password or token, timeout, *sent, **{"Content-Type": "application/json"}).fields()
    if "notes" not in answer and "loggers" not in answer:
        raise NoAnswerError(answer.get("message") or f"{url} answers, but not about loggers of this extension.")
    if as_json:
        typer.echo(json.dumps(answer, indent=2))
        return
    for logger in answer.get("loggers") or [answer]:
        changed = logger["changed"]
        until = f" until {changed['until']}, then {changed['previous_level']}" if changed else ""
        typer.echo(f"{logger['effective_level']:8} {logger['name']}{until}")
        for note in logger["notes"] if name else ():
            typer.echo(f"         {note}")
    if "reach" in answer:
        typer.echo(f"In {answer['reach']}.")
