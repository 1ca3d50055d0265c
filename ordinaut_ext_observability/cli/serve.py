"""`serve`: the extension in a stand-in for the Ordinaut host, without any other server."""

from __future__ import annotations

import contextlib
import os
import secrets
import socket
import sys

import uvicorn
from fastapi import FastAPI
from rich.console import Console

from ordinaut_ext_observability.cli.host_shape import HostShape
from ordinaut_ext_observability.cli.standin_host import create_full_app, create_lean_app
from ordinaut_ext_observability.cli.standin_host.discovery import ExtensionSpec
from ordinaut_ext_observability.extension import ObservabilityExtension
from ordinaut_ext_observability.manifest import EXTENSION_ID
from ordinaut_ext_observability.settings import Settings, load_settings, with_operator_token


def serve_standin_host(host: str, port: int, shape: HostShape, *, lazy: bool) -> int:
    """Serve until interrupted; the exit status of the command."""
    console = Console(stderr=False, highlight=False)
    try:
        listener = socket.create_server((host, port), backlog=128)
        # Accepted connections inherit it; asyncio sets it only for sockets that name their protocol.
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    except OSError as error:
        # The error's own text may hold the address again.
        reason = os.strerror(error.errno) if error.errno is not None and error.errno > 0 else error.strerror
        console.print(f"Cannot listen on {host}:{port}: {reason}. Choose another with --port.", soft_wrap=True)
        return 1
    port = listener.getsockname()[1]
    settings = load_settings()
    configured = settings.access.operator_token
    token = configured.get_secret_value() if configured else secrets.token_urlsafe(24)
    app = _create_app(shape, with_operator_token(settings, token), lazy=lazy)
    # A token of the user's own is not shown: what is printed here often ends in a log.
    _print_urls(console, f"http://{_for_url(host)}:{port}", None if configured else token)
    with contextlib.suppress(KeyboardInterrupt):  # raised again by uvicorn once it has ended
        uvicorn.Server(uvicorn.Config(app, log_level="warning", access_log=False)).run(sockets=[listener])
    return 0


def _create_app(shape: HostShape, settings: Settings, *, lazy: bool) -> FastAPI:
    create = create_full_app if shape is HostShape.FULL else create_lean_app
    spec = ExtensionSpec(EXTENSION_ID, lambda: ObservabilityExtension(settings), eager=not lazy)
    return create(extra_specs=[spec])


def _print_urls(console: Console, base: str, token: str | None) -> None:
    """Ready URLs; with the token where it was made here."""
    shown_token = token or "$ORDINAUT_OBS_OPERATOR_TOKEN"
    login = f"operator:{token}@" if token else ""
    mount = f"{base}/ext/{EXTENSION_ID}"
    rows = (
        ("metrics", f"{mount}/metrics"),
        ("health", f"{mount}/health"),
        ("probes", f"{mount}/health/live  …/ready  …/startup"),
        ("operator index", f"{mount}/".replace("://", f"://{login}", 1)),
        ("a host request", f"{base}/extensions"),
    )
    console.print("Ordinaut stand-in host with the observability extension (Ctrl-C stops it)\n")
    for name, url in rows:
        console.print(f"  {name:15} {url}", soft_wrap=True)
    console.print(f'\n  curl -H "Authorization: Bearer {shown_token}" {mount}/config\n', soft_wrap=True)
    sys.stdout.flush()


def _for_url(host: str) -> str:
    return f"[{host}]" if ":" in host else host
