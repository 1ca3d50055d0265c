"""The command `ordinaut-observability`."""

from __future__ import annotations

from typing import Annotated

import typer

from ordinaut_ext_observability.cli.serve import HostShape, serve_standin_host
from ordinaut_ext_observability.version import __version__

app = typer.Typer(
    name="ordinaut-observability",
    help="Observability for Ordinaut.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)


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


@app.command()
def serve(
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port to listen on; 0 takes a free one.")] = 8080,
    shape: Annotated[HostShape, typer.Option(help="Which of Ordinaut's two hosts to stand in for.")] = HostShape.LEAN,
    *,
    lazy: Annotated[
        bool, typer.Option("--lazy", help="Load the extension with the first request to it, not at start.")
    ] = False,
) -> None:
    """Start a small stand-in for the Ordinaut host with the extension mounted. Ctrl-C stops it."""
    raise typer.Exit(serve_standin_host(host, port, shape, lazy=lazy))
