"""The demo's own part of what is printed, and the page it opens."""

from __future__ import annotations

import os
import sys
import webbrowser
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from ordinaut_ext_observability.cli.announcement import (
    Service,
    command_line,
    next_commands,
    pages,
    scrape_configuration,
)


@dataclass(frozen=True, slots=True)
class Addresses:
    """Where everything is."""

    service: Service
    environ: Mapping[str, str]
    log_folder: Path


def announcement(addresses: Addresses) -> str:
    """Where everything is, and what to look at next."""
    return "\n".join(_lines(addresses))


def _lines(addresses: Addresses) -> Iterator[str]:
    yield "\nA whole Ordinaut in small is running. Ctrl-C stops it.\n"
    yield from pages(addresses.service)
    yield ""
    yield from next_commands(addresses.service)
    yield f"  {command_line()} db --url \\"
    yield f"    {addresses.environ['DATABASE_URL']}"
    yield ""
    yield from scrape_configuration(addresses.service)
    yield f"\nRedis: {addresses.environ['REDIS_URL']}"
    yield f"Logs:  {addresses.log_folder}/*.log\n"


def open_in_browser(addresses: Addresses) -> None:
    """Open the operator index where a person sits at a screen; nothing happens elsewhere."""
    has_screen = sys.platform in ("darwin", "win32") or any(map(os.environ.get, ("DISPLAY", "WAYLAND_DISPLAY")))
    if sys.stdout.isatty() and has_screen:
        webbrowser.open(addresses.service.index_url)
