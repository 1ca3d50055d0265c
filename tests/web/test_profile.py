"""The profile over HTTP: what it finds in a served application, who may ask, what is refused."""

from __future__ import annotations

import json
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

PATH = "/ext/observability/debug/profile"
TOKEN = "an-operators-token-0123456789"
OPERATOR = {"Authorization": f"Bearer {TOKEN}"}
USUAL = sys.getswitchinterval()


def burn_processor() -> None:
    ends_at = time.thread_time() + 0.05
    while time.thread_time() < ends_at:
        sum(range(100))


def make_app() -> FastAPI:
    app = FastAPI()

    @app.get("/sync")
    def hot_sync() -> None:
        burn_processor()

    @app.get("/async")
    async def hot_async() -> None:
        burn_processor()

    return app


@pytest.fixture
def served(serve: Callable[..., Any]) -> Any:
    return serve(make_app(), OPERATOR_TOKEN=TOKEN)


def ask(served: Any, **parameters: str) -> httpx.Response:
    return served.post(PATH, params=parameters, headers=OPERATOR)


@contextmanager
def load(served: Any, path: str) -> Iterator[None]:
    """A client in another process: what it uses of the processor is not of the profiled one."""
    import subprocess

    code = f"import urllib.request as u\nprint(flush=True)\nwhile True: u.urlopen('{served.url}{path}').read()"
    client = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    try:
        client.stdout.readline()
        yield
    finally:
        client.kill()
        client.communicate()


@pytest.mark.parametrize(("path", "function"), [("/sync", "hot_sync"), ("/async", "hot_async")])
def test_hot_route_has_most_of_what_is_not_idle(served: Any, path: str, function: str) -> None:
    with load(served, path):
        lines = ask(served, window="2s", format="collapsed").text.splitlines()
    stacks = [(stack, int(time)) for stack, _, time in (line.rpartition(" ") for line in lines) if stack != "[idle]"]
    hot = sum(time for stack, time in stacks if f"{function} (test_profile.py:" in stack)
    assert hot >= 0.7 * sum(time for _, time in stacks) > 0, lines[:20]
