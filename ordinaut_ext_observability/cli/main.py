"""The command `ordinaut-observability`. What only one subcommand needs is imported there: health checks run often."""

from __future__ import annotations

import io
import json
import os
import sys
from enum import Enum
from typing import Annotated, Any

import typer
from rich.console import Console

from ordinaut_ext_observability.cli import check as check_command
from ordinaut_ext_observability.cli.http_client import NoAnswerError, without_password
from ordinaut_ext_observability.settings.environment import read_secret
from ordinaut_ext_observability.version import __version__


class HostShape(Enum):
    """Ordinaut's two applications."""

    LEAN = "lean"
    FULL = "full"


app = typer.Typer(
    name="ordinaut-observability",
    help="Observability for Ordinaut.",
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    pretty_exceptions_enable=False,
)


def _or_from_file(parameter: typer.CallbackParam, value: str) -> str:
    """The value without spaces around it, else the content of the file that the variable's `…_FILE` names."""
    # Read here: importing the settings would take longer than all else that a health check does.
    variable, environment = str(parameter.envvar), os.environ  # noqa: TID251
    if value.strip() and value != environment.get(variable):
        return value.strip()
    given = read_secret(variable, environment)
    if given.problem:
        typer.echo(f"{given.variable} {given.problem}.", err=True)
    return "" if given.problem else given.text


OperatorToken = Annotated[
    str,
    typer.Option(
        "--token",
        envvar="ORDINAUT_OBS_OPERATOR_TOKEN",
        metavar="TOKEN",
        show_envvar=True,
        callback=_or_from_file,
        help="Operator token; with it, each check says why it is not well.",
    ),
]
ScrapeToken = Annotated[
    str,
    typer.Option(
        metavar="TOKEN",
        envvar="ORDINAUT_OBS_SCRAPE_TOKEN",
        show_envvar=True,
        callback=_or_from_file,
        help="Token of the scrape endpoints.",
    ),
]
DatabaseUrl = Annotated[
    str,
    typer.Option(
        "--url",
        metavar="URL",
        envvar="DATABASE_URL",
        show_envvar=True,
        callback=_or_from_file,
        help="postgresql://user:password@host:port/database; a driver, as in postgresql+psycopg://, is fine.",
    ),
]
DatabaseTimeout = Annotated[
    float, typer.Option(min=0.1, max=300.0, metavar="SECONDS", help="Seconds to connect, and for each query.")
]
Timeout = Annotated[float, typer.Option(min=0.1, max=300.0, metavar="SECONDS", help="Time to wait for each answer.")]


def _print_version(value: bool) -> None:  # noqa: FBT001 - typer's callback signature
    if value:
        typer.echo(__version__)
        raise typer.Exit


@app.callback()
def main(
    *,
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Observability for Ordinaut."""
    del version
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # names of files and variables may be no text


@app.command()
def serve(
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port to listen on; 0 takes a free one.")] = 8000,
    shape: Annotated[HostShape, typer.Option(help="Which of Ordinaut's two hosts to stand in for.")] = HostShape.LEAN,
    *,
    lazy: Annotated[
        bool, typer.Option("--lazy", help="Load the extension with the first request to it, not at start.")
    ] = False,
) -> None:
    """Start a small stand-in for Ordinaut's host with the extension mounted. Ctrl-C stops it."""
    from ordinaut_ext_observability.cli.serve import serve_standin_host

    raise typer.Exit(serve_standin_host(host, port, full=shape is HostShape.FULL, lazy=lazy))


@app.command()
def demo(
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port to listen on; 0 takes a free one.")] = 8000,
    seed: Annotated[int, typer.Option(help="Another number makes up other work.")] = 1,
    *,
    open_browser: Annotated[
        bool, typer.Option("--open/--no-open", help="Open the operator index in a browser.")
    ] = True,
) -> None:
    """Start a whole Ordinaut in small: real servers, workers, traffic. Ctrl-C stops it and leaves nothing."""
    from ordinaut_ext_observability.demo.demo import run_demo

    raise typer.Exit(run_demo(host, port, seed=seed, open_browser=open_browser))


@app.command()
def check(
    url: Annotated[
        str, typer.Argument(help="The service's base URL, as http://127.0.0.1:8000, or its management port's.")
    ] = "",
    token: OperatorToken = "",
    scrape_token: ScrapeToken = "",
    timeout: Timeout = 5.0,
    *,
    strict: Annotated[bool, typer.Option("--strict", help="Exit with 1 when degraded, too.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as JSON.")] = False,
) -> None:
    """Show the health of a running service. Without a URL, run the checks of this machine.

    Exit status: 0 healthy or degraded, 1 unhealthy, 2 no answer.
    """
    console = Console(highlight=False)
    try:
        url, password = without_password(url)
        tokens = check_command.Tokens(password or token, scrape_token)
        report = check_command.check_service(url, tokens, timeout) if url else _check_here()
    except NoAnswerError as error:
        console.print(str(error), markup=False, soft_wrap=True)
        raise typer.Exit(check_command.NOT_ASKED) from None
    if as_json:
        typer.echo(json.dumps(report, indent=2))
    else:
        check_command.print_report(console, report)
    raise typer.Exit(check_command.exit_status(report, strict=strict))


@app.command()
def doctor(
    url: Annotated[
        str, typer.Option(help="The host's URL. Default: port 8000 here, then 8080 (Ordinaut's compose file).")
    ] = "",
    token: OperatorToken = "",
    scrape_token: ScrapeToken = "",
    timeout: Timeout = 5.0,
) -> None:
    """Examine installation, settings and running host, and print the lines to paste where something is wrong.

    Run it where the host runs, with the host's environment. It changes nothing. Exit status: 1 when it found a problem.
    """
    from ordinaut_ext_observability.cli.doctor.examination import examine
    from ordinaut_ext_observability.cli.doctor.report import print_sections

    url, password = without_password(url)
    urls = (url,) if url else ("http://127.0.0.1:8000", "http://127.0.0.1:8080")
    sections = examine(urls, check_command.Tokens(password or token, scrape_token), timeout)
    raise typer.Exit(print_sections(Console(highlight=False), sections))


@app.command()
def db(
    url: DatabaseUrl = "",
    timeout: DatabaseTimeout = 5.0,
    top: Annotated[int, typer.Option(min=1, max=100, help="Transactions and statements shown.")] = 10,
    *,
    as_json: Annotated[bool, typer.Option("--json", help="Print it as JSON.")] = False,
) -> None:
    """Show PostgreSQL's locks, transactions, connections, slow statements, tables, indexes and transaction ids."""
    from ordinaut_ext_observability.cli.db import run_db

    _require(url)
    raise typer.Exit(run_db(url, timeout_seconds=timeout, top=top, as_json=as_json))


@app.command()
def advise(
    url: DatabaseUrl = "",
    timeout: DatabaseTimeout = 5.0,
    min_rows: Annotated[int, typer.Option(min=0, help="Smaller tables get no advice.")] = 10_000,
    min_unused_days: Annotated[
        float, typer.Option(min=0, help="Days of statistics it takes to call an index unused.")
    ] = 7.0,
    *,
    as_json: Annotated[bool, typer.Option("--json", help="Print it as JSON.")] = False,
) -> None:
    """Print the indexes the host's tables should have, as statements for psql. Nothing is run."""
    from ordinaut_ext_observability.cli.advise import run_advise

    _require(url)
    seconds = min_unused_days * 86400
    raise typer.Exit(
        run_advise(url, timeout_seconds=timeout, min_rows=min_rows, min_unused_seconds=seconds, as_json=as_json)
    )


def _require(database_url: str) -> None:
    if not database_url.strip():
        typer.echo(
            "No database: set DATABASE_URL, or give --url.\nBoth take postgresql://user:password@host:port/database."
        )
        raise typer.Exit(check_command.NOT_ASKED)


def _check_here() -> dict[str, Any]:
    from ordinaut_ext_observability.cli.local_checks import check_here

    return check_here()
