"""What the demo prints, and the page it opens."""

from __future__ import annotations

import os
import sys
import webbrowser
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from ordinaut_ext_observability.manifest import MOUNT_PATH


@dataclass(frozen=True, slots=True)
class Addresses:
    """Where everything is."""

    base_url: str
    token: str | None
    """The operator token where it was made for this demo; None: the user's own, which is not shown."""
    environ: Mapping[str, str]
    log_folder: Path

    @property
    def mount_url(self) -> str:
        return f"{self.base_url}{MOUNT_PATH}"

    @property
    def operator_url(self) -> str:
        """With the token, where it may be shown."""
        login = f"operator:{self.token}@" if self.token else ""
        return f"{self.mount_url}/".replace("://", f"://{login}", 1)


def announce(console: Console, addresses: Addresses) -> None:
    """Say what runs where."""
    mount = addresses.mount_url
    rows = (
        ("metrics", f"{mount}/metrics"),
        ("health", f"{mount}/health"),
        ("operator index", addresses.operator_url),
        ("PostgreSQL", f"psql {addresses.environ['DATABASE_URL']}"),
        ("Redis", f"redis-cli -u {addresses.environ['REDIS_URL']}"),
        ("logs", f"{addresses.log_folder}/*.log"),
    )
    console.print(
        "\nOrdinaut in small: a host with the extension, a scheduler, three workers and a client.", soft_wrap=True
    )
    console.print("Ctrl-C stops everything and leaves nothing.\n", soft_wrap=True)
    for name, text in rows:
        console.print(f"  {name:15} {text}", soft_wrap=True, markup=False)
    shown_token = addresses.token or "$ORDINAUT_OBS_OPERATOR_TOKEN"
    console.print(f'\n  curl -H "Authorization: Bearer {shown_token}" {mount}/config\n', soft_wrap=True, markup=False)
    sys.stdout.flush()


def open_in_browser(addresses: Addresses) -> None:
    """Open the operator index where a person sits at a screen; nothing happens elsewhere."""
    has_screen = sys.platform in ("darwin", "win32") or any(map(os.environ.get, ("DISPLAY", "WAYLAND_DISPLAY")))
    if sys.stdout.isatty() and has_screen:
        webbrowser.open(addresses.operator_url)
