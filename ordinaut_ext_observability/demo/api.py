"""The demo's API: the stand-in host with the extension, and routes that use PostgreSQL and Redis."""

from __future__ import annotations

import argparse
import contextlib
import os
import socket
import threading
import time

import uvicorn
from fastapi import FastAPI

from ordinaut_ext_observability.demo.records import (
    Stores,
    build_agent_router,
    build_event_router,
    build_run_router,
    build_task_router,
)
from ordinaut_ext_observability.demo.standin_host import ExtensionSpec, create_lean_app
from ordinaut_ext_observability.extension import ObservabilityExtension
from ordinaut_ext_observability.manifest import EXTENSION_ID


def create_app() -> FastAPI:
    """The application, by the settings in the environment."""
    app = create_lean_app(extra_specs=[ExtensionSpec(EXTENSION_ID, ObservabilityExtension, eager=True)])
    stores = Stores()
    for build in (build_task_router, build_run_router, build_event_router, build_agent_router):
        app.include_router(build(stores))
    return app


def serve(file_descriptor: int) -> None:
    """Serve on a socket that listens already."""
    config = uvicorn.Config(create_app(), log_level="warning", access_log=False, timeout_graceful_shutdown=2)
    server = uvicorn.Server(config)
    threading.Thread(target=_end_with, args=(os.getppid(), server), daemon=True).start()
    with contextlib.suppress(KeyboardInterrupt):
        server.run(sockets=[socket.socket(fileno=file_descriptor)])


def _end_with(parent: int, server: uvicorn.Server) -> None:
    while os.getppid() == parent:
        time.sleep(1.0)
    server.should_exit = True


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--fd", type=int, required=True)
    serve(parser.parse_args().fd)
