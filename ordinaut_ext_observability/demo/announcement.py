"""The text that `serve` and `demo` print once they run: URLs, and commands to paste. It fits 80 columns."""

from __future__ import annotations

import os
import secrets
import shutil
import string
import sys
import webbrowser
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ordinaut_ext_observability.manifest import MOUNT_PATH

_COMMAND = "ordinaut-observability"
_TOKEN_LENGTH = 16
"""The fewest that the settings accept; of letters and digits that is 95 bits, and URLs with it fit a line."""


def made_token() -> str:
    """A new operator token, one word to a double click."""
    return "".join(secrets.choice(string.ascii_letters + string.digits) for _ in range(_TOKEN_LENGTH))


@dataclass(frozen=True, slots=True)
class Service:
    """A running service of ours."""

    url: str
    token: str | None
    """The operator token where it was made for this run; None: the user's own, which is not shown."""

    @property
    def mount_url(self) -> str:
        """The URL under which our endpoints are."""
        return f"{self.url}{MOUNT_PATH}"

    @property
    def page_url(self) -> str:
        """The status page, signed in where the token may be shown: a fragment is sent to no server."""
        return f"{self.mount_url}/" + (f"#token={self.token}" if self.token else "")


def announcement(service: Service, title: str, *, pages: Sequence[str] = (), commands: Sequence[str] = ()) -> str:
    """What runs, and what to look at next; `pages` and `commands` are those that only this service has."""
    command = _command_line()
    token = service.token or '"$ORDINAUT_OBS_OPERATOR_TOKEN"'
    return "\n".join(
        (
            f"{title}\n",
            "Look at it in a browser:",
            f"  page     {service.page_url}",
            f"  metrics  {service.mount_url}/metrics",
            f"  health   {service.mount_url}/health",
            *(f"  {page}" for page in pages),
            "\nNext, in another terminal, in this folder:",
            f"  {command} check \\\n    --token {token} {service.url}",
            f"  {command} doctor \\\n    --token {token} --url {service.url}",
            f"  {command} query orchestrator_http_requests_total \\\n    --token {token} --url {service.url}",
            f"  {command} alerts \\\n    --token {token} --url {service.url}",
            *(f"  {command} {arguments}" for arguments in commands),
            "\nScrape it with Prometheus (prometheus.yml):",
            "  scrape_configs:",
            "    - job_name: ordinaut",
            f"      metrics_path: {MOUNT_PATH}/metrics",
            f'      static_configs: [{{targets: ["{service.url.partition("://")[2]}"]}}]\n',
        )
    )


def open_in_browser(service: Service) -> None:
    """Open the status page where a person sits at a screen; nothing happens elsewhere."""
    has_screen = sys.platform in ("darwin", "win32") or any(map(os.environ.get, ("DISPLAY", "WAYLAND_DISPLAY")))
    if sys.stdout.isatty() and has_screen:
        webbrowser.open(service.page_url)


def _command_line() -> str:
    """The command as it was called, for a shell in the same folder."""
    called = sys.argv[0]
    if Path(called).name != _COMMAND:
        return f"{sys.executable} -m ordinaut_ext_observability"
    return _COMMAND if called == shutil.which(_COMMAND) else called
