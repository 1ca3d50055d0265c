"""The subcommand `audit`: the check of the files that keep security events."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ordinaut_ext_observability.cli.options import AuditKey
from ordinaut_ext_observability.errors import ObservabilityError

audit = typer.Typer(name="audit", help="Files that keep security events.", no_args_is_help=True)

_PLACES = typer.Argument(envvar="ORDINAUT_OBS_AUDIT_DIR", metavar="DIR|FILE...", help="Files, or where they are.")


@audit.command()
def verify(places: Annotated[list[Path], _PLACES], key: AuditKey = "") -> int:
    """Name every line that was removed, changed, inserted or put in another order since it was written.

    Exit status: 0 none, 1 some, 2 there is nothing to check.
    """
    from ordinaut_ext_observability.audit.chain import FILES, Verification

    paths = [path for place in places for path in (place.glob(FILES) if place.is_dir() else [place])]
    try:
        result = Verification(paths, key.encode())
    except (OSError, ValueError) as error:  # also a name that no audit file has
        raise ObservabilityError(f"Not all can be read: {error}.") from error
    if not paths:
        raise ObservabilityError(f"No audit files in {', '.join(map(str, places))}.")
    typer.echo(f"{'chain':16}  {'first record':24}  {'last record':24}  {'records':>8}  end")
    for name, chain in result.chains.items():
        typer.echo(f"{name}  {chain.first_instant:24}  {chain.last_instant:24}  {chain.records:8}  {chain.end}")
    for words in (*result.notes, *result.problems):
        typer.echo(words)
    return 1 if result.problems else 0
