"""The command `ordinaut-observability`. What only one subcommand needs is imported there: health checks run often."""

from __future__ import annotations

import io
import sys
from dataclasses import asdict
from enum import Enum
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from typer.core import TyperGroup

from ordinaut_ext_observability.cli import options
from ordinaut_ext_observability.cli.alerts import alerts, rules
from ordinaut_ext_observability.cli.audit import audit
from ordinaut_ext_observability.cli.check import Tokens, check_machine, check_service
from ordinaut_ext_observability.cli.check import print_report as print_health
from ordinaut_ext_observability.cli.http_client import without_password
from ordinaut_ext_observability.cli.incidents import acknowledge, maintenance, silence
from ordinaut_ext_observability.cli.log_level import log_level
from ordinaut_ext_observability.cli.notifications import notifications, notify, routes, why
from ordinaut_ext_observability.cli.output import make_console, print_json
from ordinaut_ext_observability.errors import ObservabilityError
from ordinaut_ext_observability.version import __version__

HostShape = Enum("HostShape", {"LEAN": "lean", "FULL": "full"})
"""Ordinaut's two applications."""


class _Commands(TyperGroup):
    """Exits with what a subcommand returns; an error of ours is printed as it is, and the status is 2."""

    def invoke(self, ctx: Any) -> Any:
        try:
            status = super().invoke(ctx)
        except ObservabilityError as error:
            typer.echo(str(error))
            status = 2
        raise typer.Exit(status or 0)


app = typer.Typer(
    cls=_Commands,
    name="ordinaut-observability",
    help="Observability for Ordinaut.",
    no_args_is_help=True,
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    pretty_exceptions_enable=False,
)


@app.callback()
def main(*, version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False) -> None:
    """Observability for Ordinaut."""
    if version:
        typer.echo(__version__)
        raise typer.Exit
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # names of files and variables may be no text


@app.command()
def serve(
    host: options.Host = "127.0.0.1",
    port: options.Port = 8000,
    shape: Annotated[HostShape, typer.Option(help="Which of Ordinaut's two hosts to stand in for.")] = HostShape.LEAN,
    *,
    lazy: Annotated[
        bool, typer.Option("--lazy", help="Load the extension with the first request, not at start.")
    ] = False,
) -> int:
    """Start a small stand-in for Ordinaut's host with the extension mounted. Ctrl-C stops it."""
    from ordinaut_ext_observability.demo.serve import serve_standin_host

    return serve_standin_host(host, port, full=shape is HostShape.FULL, lazy=lazy)


@app.command()
def demo(
    host: options.Host = "127.0.0.1",
    port: options.Port = 8000,
    seed: Annotated[int, typer.Option(help="Another number makes up other work.")] = 1,
    *,
    open_browser: Annotated[bool, typer.Option("--open/--no-open", help="Open the index in a browser.")] = True,
) -> int:
    """Start a whole Ordinaut in small: real servers, workers, traffic. Ctrl-C stops it and leaves nothing."""
    from ordinaut_ext_observability.demo.demo import run_demo

    return run_demo(host, port, seed=seed, open_browser=open_browser)


@app.command()
def check(
    url: Annotated[str, typer.Argument(help="The service, as http://127.0.0.1:8000, or its management port.")] = "",
    token: options.OperatorToken = "",
    scrape_token: options.ScrapeToken = "",
    timeout: options.Timeout = 5.0,
    *,
    strict: Annotated[bool, typer.Option("--strict", help="Exit with 1 when degraded, too.")] = False,
    as_json: options.AsJson = False,
) -> int:
    """Show the health of a running service. Without a URL, run the checks of this machine.

    Exit status: 0 healthy or degraded, 1 unhealthy, 2 no answer.
    """
    url, password = without_password(url)
    report = check_service(url, Tokens(password or token, scrape_token), timeout) if url else check_machine()
    if as_json:
        print_json(report)
    else:
        print_health(Console(highlight=False), report)
    return 0 if report["status"] == "healthy" or (report["status"] == "degraded" and not strict) else 1


@app.command()
def query(
    expression: Annotated[str, typer.Argument(metavar="EXPR", help="PromQL, in quotes: 'rate(a_total[5m])'.")],
    url: options.ServiceUrl = options.HERE,
    token: options.ViewerToken = "",
    time: Annotated[str, typer.Option(metavar="TIME", help="Unix seconds, or as 2026-11-23T22:19:04Z; now.")] = "",
    span: Annotated[str, typer.Option("--range", metavar="DURATION", help="Over so long, such as 1h.")] = "",
    step: Annotated[str, typer.Option(metavar="DURATION", help="Time between two points of a range.")] = "",
    timeout: options.Timeout = 30.0,
    *,
    as_json: options.AsJson = False,
) -> int:
    """Ask a running service for its metrics of the last hour, in Prometheus's language.

    Exit status: 0 answered, 1 the query is wrong or failed, 2 no answer.
    """
    from ordinaut_ext_observability.cli.query import ask_service, print_answer, query_parameters

    url, password = without_password(url)
    answer = ask_service(url, password or token, query_parameters(expression, time, span, step), timeout)
    if as_json:
        print_json(answer)
        return 0 if answer.get("status") == "success" else 1
    return print_answer(make_console(), answer)


for group in (alerts, rules, notify, silence, maintenance, audit, routes):
    app.add_typer(group)
for command in (log_level, notifications):
    app.command()(command)
alerts.command("ack")(acknowledge)
alerts.command("why")(why)


@app.command()
def doctor(
    url: Annotated[str, typer.Option(help="The host's URL. Default: port 8000 here, then 8080.")] = "",
    token: options.OperatorToken = "",
    scrape_token: options.ScrapeToken = "",
    timeout: options.Timeout = 5.0,
) -> int:
    """Examine installation, settings and running host, and print the lines to paste where something is wrong.

    Run it where the host runs, with the host's environment. It changes nothing. Exit status: 1 when it found a problem.
    """
    from ordinaut_ext_observability.cli.doctor.findings import print_sections
    from ordinaut_ext_observability.cli.doctor.host import examine

    url, password = without_password(url)
    urls = (url,) if url else ("http://127.0.0.1:8000", "http://127.0.0.1:8080")
    sections = examine(urls, Tokens(password or token, scrape_token), timeout)
    return 1 if print_sections(Console(highlight=False), sections) else 0


@app.command()
def export(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Where to; it is made, and files there are replaced.")],
    url: Annotated[str, typer.Option(help="The host as people reach it, for links.")] = "http://localhost:8080",
) -> None:
    """Write what is deployed beside the host: Prometheus, Alertmanager, Grafana, log shippers, OTLP collector.

    Changes to built-in rules in the configuration file are in it.
    """
    from ordinaut_ext_observability.assets.export import exported_files, write_files
    from ordinaut_ext_observability.settings.load import load_settings

    files = exported_files(load_settings().file.rules, url)
    write_files(folder, files)
    typer.echo(f"{len(files)} files are in {folder}; docs/assets.md says how to use each.")


@app.command()
def db(
    url: options.DatabaseUrl = "",
    timeout: options.DatabaseTimeout = 5.0,
    top: Annotated[int, typer.Option(min=1, max=100, help="Transactions and statements shown.")] = 10,
    *,
    as_json: options.AsJson = False,
) -> None:
    """Show PostgreSQL's locks, transactions, connections, slow statements, tables, indexes and transaction ids."""
    from ordinaut_ext_observability.cli.db import ask_database, print_report
    from ordinaut_ext_observability.db.insights.report import read_report

    report = ask_database(url, timeout, partial(read_report, top=top))
    if as_json:
        print_json(asdict(report) | {"attention": list(report.attention())})
    else:
        print_report(Console(highlight=False), report)


@app.command()
def advise(
    url: options.DatabaseUrl = "",
    timeout: options.DatabaseTimeout = 5.0,
    min_rows: Annotated[int, typer.Option(min=0, help="Smaller tables get no advice.")] = 10_000,
    min_unused_days: Annotated[float, typer.Option(min=0, help="Days of statistics to call an index unused.")] = 7.0,
    *,
    as_json: options.AsJson = False,
) -> None:
    """Print the indexes the host's tables should have, as statements for psql. Nothing is run."""
    from ordinaut_ext_observability.cli.db import advice_as_json, ask_database, print_script
    from ordinaut_ext_observability.db.insights.advice import read_advice

    read = partial(read_advice, min_rows=min_rows, min_unused_seconds=min_unused_days * 86400)
    advice = ask_database(url, timeout, read)
    if as_json:
        print_json(advice_as_json(advice))
    else:
        print_script(Console(highlight=False), advice)
