"""The subcommand `audit`: the check of the files that keep security events."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from ordinaut_ext_observability.cli.options import AuditKey
from ordinaut_ext_observability.errors import ObservabilityError

audit = typer.Typer(name="audit", help="Files that keep security events.", no_args_is_help=True)

_PLACES = typer.Argument(envvar="ORDINAUT_OBS_AUDIT_DIR", metavar="DIR|FILE...", help="The files, or where they are.")


@audit.command()
def verify(places: Annotated[list[Path], _PLACES], key: AuditKey = "") -> int:
    """Name every line that was removed, changed, inserted or put in another order since it was written.

    Exit status: 0 none, 1 some, 2 there is nothing to check.
    """
    from ordinaut_ext_observability.audit.verify import Verification

    found = [path for place in places for path in (place.glob("audit-*-*-*.jsonl") if place.is_dir() else [place])]
    if not found:
        raise ObservabilityError(f"No audit files in {', '.join(map(str, places))}.")
    try:
        result = Verification(found, key.encode())
    except OSError as error:
        raise ObservabilityError(f"{error.filename}: {error.strerror}") from error
    table = Table("chain", "records", "first", "last", "end")
    for name, chain in result.chains.items():
        table.add_row(name, str(chain.records), chain.first, chain.last, chain.end)
    console = Console(highlight=False, soft_wrap=True)
    console.print(table)
    for problem in result.problems:
        console.print(escape(problem))
    return 1 if result.problems else 0
