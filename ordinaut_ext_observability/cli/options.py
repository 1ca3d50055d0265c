"""Options that several subcommands have in common."""

from __future__ import annotations

import os
from typing import Annotated, Any

import typer

from ordinaut_ext_observability.settings.environment import read_given


def _or_from_file(parameter: typer.CallbackParam, value: str) -> str:
    """The value without spaces around it, else the content of the file that the variable's `…_FILE` names."""
    # Read here: importing the settings would take longer than all else that a health check does.
    variable, environment = str(parameter.envvar), os.environ  # noqa: TID251
    if value.strip() and value != environment.get(variable):
        return value.strip()
    given = read_given(variable, environment, is_secret=True)
    if given.problem:
        typer.echo(f"{given.variable} {given.problem}.", err=True)
    return "" if given.problem else given.text


def _secret(option: str, variable: str, metavar: str, said: str) -> Any:
    return typer.Option(option, envvar=variable, metavar=metavar, show_envvar=True, callback=_or_from_file, help=said)


def _seconds(said: str) -> Any:
    return typer.Option(min=0.1, max=300.0, metavar="SECONDS", help=said)


HERE = "http://127.0.0.1:8000"
_OPERATORS = "Operator token; with it, each check says why it is not well."
_URL = "postgresql://user:password@host:port/database; a driver, as in postgresql+psycopg://, is fine."
_VIEWERS = "Operator or viewer token of the service."

OperatorToken = Annotated[str, _secret("--token", "ORDINAUT_OBS_OPERATOR_TOKEN", "TOKEN", _OPERATORS)]
ViewerToken = Annotated[str, _secret("--token", "ORDINAUT_OBS_OPERATOR_TOKEN", "TOKEN", _VIEWERS)]
ScrapeToken = Annotated[str, _secret("--scrape-token", "ORDINAUT_OBS_SCRAPE_TOKEN", "TOKEN", "Token of scrapers.")]
AuditKey = Annotated[str, _secret("--key", "ORDINAUT_OBS_AUDIT_KEY", "KEY", "Key of the records' hashes.")]
ServiceUrl = Annotated[str, typer.Option("--url", help="The service.")]
Timeout = Annotated[float, _seconds("Time to wait for each answer.")]
DatabaseUrl = Annotated[str, _secret("--url", "DATABASE_URL", "URL", _URL)]
DatabaseTimeout = Annotated[float, _seconds("Seconds to connect, and for each query.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print it as JSON.")]
Host = Annotated[str, typer.Option(help="Address to listen on.")]
Port = Annotated[int, typer.Option(min=0, max=65535, help="Port to listen on; 0 takes a free one.")]
