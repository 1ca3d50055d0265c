"""The text that `serve` and `demo` print once they run: URLs, and commands to paste. It fits 80 columns."""

from __future__ import annotations

import secrets
import shutil
import string
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ordinaut_ext_observability.manifest import MOUNT_PATH

_COMMAND = "ordinaut-observability"
_TOKEN_LENGTH = 16
"""The fewest that the settings accept; of letters and digits that is 95 bits, and URLs with it fit a line."""


def made_token() -> str:
    """A new operator token, one word to a double click."""
    return "".join(secrets.choice(string.ascii_letters + string.digits) for _ in range(_TOKEN_LENGTH))


def command_line() -> str:
    """The command as it was called, for a shell in the same folder."""
    called = sys.argv[0]
    if Path(called).name != _COMMAND:
        return f"{sys.executable} -m ordinaut_ext_observability"
    return _COMMAND if called == shutil.which(_COMMAND) else called


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
    def index_url(self) -> str:
        """The operator index, with the token where it may be shown."""
        login = f"operator:{self.token}@" if self.token else ""
        return f"{self.mount_url}/".replace("://", f"://{login}", 1)

    @property
    def shown_token(self) -> str:
        """The token, or the variable that holds it."""
        return self.token or '"$ORDINAUT_OBS_OPERATOR_TOKEN"'


def pages(service: Service) -> Iterator[str]:
    """The pages to open in a browser."""
    yield "Look at it in a browser:"
    yield f"  metrics  {service.mount_url}/metrics"
    yield f"  health   {service.mount_url}/health"
    yield f"  index    {service.index_url}"


def next_commands(service: Service) -> Iterator[str]:
    """The commands to try next."""
    yield "Next, in another terminal, in this folder:"
    yield f"  {command_line()} check \\"
    yield f"    --token {service.shown_token} {service.url}"
    yield f"  {command_line()} doctor \\"
    yield f"    --token {service.shown_token} --url {service.url}"


def scrape_configuration(service: Service) -> Iterator[str]:
    """The lines for prometheus.yml."""
    yield "Scrape it with Prometheus (prometheus.yml):"
    yield "  scrape_configs:"
    yield "    - job_name: ordinaut"
    yield f"      metrics_path: {MOUNT_PATH}/metrics"
    yield f'      static_configs: [{{targets: ["{service.url.partition("://")[2]}"]}}]'
