"""`serve`: the extension in a stand-in for the Ordinaut host, without any other server."""

from __future__ import annotations

import contextlib
from dataclasses import replace

import typer
import uvicorn
from pydantic import SecretStr

from ordinaut_ext_observability.demo.announcement import Service, announcement, made_token
from ordinaut_ext_observability.demo.listening import listen
from ordinaut_ext_observability.demo.standin_host import ExtensionSpec, create_full_app, create_lean_app
from ordinaut_ext_observability.errors import AddressInUseError
from ordinaut_ext_observability.extension import ObservabilityExtension
from ordinaut_ext_observability.manifest import EXTENSION_ID
from ordinaut_ext_observability.settings.load import load_settings


def serve_standin_host(host: str, port: int, *, full: bool, lazy: bool) -> int:
    """Serve until interrupted; the exit status of the command."""
    try:
        listener = listen(host, port)
    except AddressInUseError as error:
        typer.echo(str(error))
        return 1
    settings = load_settings()
    configured = settings.access.operator_token
    token = configured.get_secret_value() if configured else made_token()
    settings = replace(settings, access=settings.access.model_copy(update={"operator_token": SecretStr(token)}))
    create_app = create_full_app if full else create_lean_app
    spec = ExtensionSpec(EXTENSION_ID, lambda: ObservabilityExtension(settings), eager=not lazy)
    app = create_app(extra_specs=[spec])
    # A token of the user's own is not shown: what is printed here often ends in a log.
    service = Service(listener.url, None if configured else token)
    title = "A stand-in for Ordinaut's host, with the extension. Ctrl-C stops it."
    if settings.general.disabled:
        title += "\n\nORDINAUT_OBS_DISABLED is on: the extension is off, its URLs answer 404."
    pages = (f"a probe  {service.mount_url}/health/ready", f"the host {service.url}/tools")
    typer.echo(announcement(service, title, pages=pages))
    with contextlib.suppress(KeyboardInterrupt):  # raised again by uvicorn once it has ended
        uvicorn.Server(uvicorn.Config(app, log_level="warning", access_log=False)).run(sockets=[listener.socket])
    with contextlib.suppress(OSError):  # nobody may read any more
        typer.echo("\nStopped; nothing is left.")
    return 0
