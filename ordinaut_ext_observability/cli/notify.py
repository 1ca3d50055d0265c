"""`notify test`: a test message through what people are told by."""

from __future__ import annotations

from typing import Annotated
from urllib.parse import quote

import typer

from ordinaut_ext_observability.cli.http_client import NoAnswerError, ask, without_password
from ordinaut_ext_observability.cli.options import OperatorToken, ServiceUrl
from ordinaut_ext_observability.manifest import MOUNT_PATH

notify = typer.Typer(name="notify", help="See whether people are reached.", no_args_is_help=True)
notify.callback()(lambda: None)  # so that `test` stays a subcommand, though it is the only one


@notify.command("test")
def send_test(
    to: Annotated[str, typer.Argument(metavar="RECEIVER", help="As critical; one of its ways: critical/slack[0].")],
    url: ServiceUrl = "http://127.0.0.1:8000",
    token: OperatorToken = "",
    timeout: Annotated[float, typer.Option(min=0.1, max=300.0, metavar="SECONDS", help="Time for all of it.")] = 60.0,
) -> int:
    """Send a test message by a running service, and show what came of it. Exit status: 1 not sent, 2 no answer."""
    url, password = without_password(url)
    url = f"{url.rstrip('/').removesuffix(MOUNT_PATH)}{MOUNT_PATH}/notifications/test?to={quote(to)}"
    answer = ask(url, password or token, timeout, "POST").fields()
    if "outcomes" not in answer:
        raise NoAnswerError(answer.get("message") or f"{url}: it answers, but not about notifications.")
    for integration, outcome in answer["outcomes"].items():
        typer.echo(f"{integration}: {outcome}")
    return int(set(answer["outcomes"].values()) != {"sent"})
