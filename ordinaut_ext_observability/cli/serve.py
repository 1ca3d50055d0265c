"""`serve`: the extension in a stand-in for the Ordinaut host, without any other server."""

from __future__ import annotations

import contextlib

import typer
import uvicorn
from fastapi import FastAPI

from ordinaut_ext_observability.cli.announcement import Service, made_token, next_commands, pages, scrape_configuration
from ordinaut_ext_observability.cli.host_shape import HostShape
from ordinaut_ext_observability.cli.listening import listen
from ordinaut_ext_observability.demo.standin_host import ExtensionSpec, create_full_app, create_lean_app
from ordinaut_ext_observability.errors import AddressInUseError
from ordinaut_ext_observability.extension import ObservabilityExtension
from ordinaut_ext_observability.manifest import EXTENSION_ID
from ordinaut_ext_observability.settings.load import Settings, load_settings, with_operator_token


def serve_standin_host(host: str, port: int, shape: HostShape, *, lazy: bool) -> int:
    """Serve until interrupted; the exit status of the command."""
    try:
        listener = listen(host, port)
    except AddressInUseError as error:
        typer.echo(str(error))
        return 1
    settings = load_settings()
    configured = settings.access.operator_token
    token = configured.get_secret_value() if configured else made_token()
    app = _create_app(shape, with_operator_token(settings, token), lazy=lazy)
    # A token of the user's own is not shown: what is printed here often ends in a log.
    typer.echo(_announcement(Service(listener.url, None if configured else token), off=settings.general.disabled))
    with contextlib.suppress(KeyboardInterrupt):  # raised again by uvicorn once it has ended
        uvicorn.Server(uvicorn.Config(app, log_level="warning", access_log=False)).run(sockets=[listener.socket])
    with contextlib.suppress(OSError):  # nobody may read any more
        typer.echo("\nStopped; nothing is left.")
    return 0


def _create_app(shape: HostShape, settings: Settings, *, lazy: bool) -> FastAPI:
    create = create_full_app if shape is HostShape.FULL else create_lean_app
    spec = ExtensionSpec(EXTENSION_ID, lambda: ObservabilityExtension(settings), eager=not lazy)
    return create(extra_specs=[spec])


def _announcement(service: Service, *, off: bool) -> str:
    lines = ["A stand-in for Ordinaut's host, with the extension. Ctrl-C stops it.", ""]
    if off:
        lines += ["ORDINAUT_OBS_DISABLED is on: the extension is off, its URLs answer 404.", ""]
    lines += [
        *pages(service),
        f"  a probe  {service.mount_url}/health/ready",
        f"  the host {service.url}/tools",
        "",
        *next_commands(service),
        "",
        *scrape_configuration(service),
        "",
    ]
    return "\n".join(lines)
