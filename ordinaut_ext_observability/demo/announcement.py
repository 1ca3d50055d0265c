"""The demo's own part of what is printed, and the page it opens."""

from __future__ import annotations

import os
import sys
import webbrowser
from collections.abc import Iterator, Mapping
from pathlib import Path

from ordinaut_ext_observability.cli.announcement import (
    Service,
    command_line,
    next_commands,
    pages,
    scrape_configuration,
)


def announcement(service: Service, environ: Mapping[str, str], log_folder: Path) -> Iterator[str]:
    """The lines that say where everything is, and what to look at next."""
    yield "\nA whole Ordinaut in small is running. Ctrl-C stops it.\n"
    yield from pages(service)
    yield ""
    yield from next_commands(service)
    yield f"  {command_line()} db --url \\"
    yield f"    {environ['DATABASE_URL']}"
    yield ""
    yield from scrape_configuration(service)
    yield f"\nRedis: {environ['REDIS_URL']}"
    yield f"Logs:  {log_folder}/*.log\n"


def open_in_browser(service: Service) -> None:
    """Open the operator index where a person sits at a screen; nothing happens elsewhere."""
    has_screen = sys.platform in ("darwin", "win32") or any(map(os.environ.get, ("DISPLAY", "WAYLAND_DISPLAY")))
    if sys.stdout.isatty() and has_screen:
        webbrowser.open(service.index_url)
