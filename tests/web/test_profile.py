"""The profile over HTTP: what it finds in a served application, who may ask, what is refused."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from ordinaut_ext_observability.profiling.sampler import SAMPLER
from tests.conftest import eventually

PATH = "/ext/observability/debug/profile"
TOKEN, VIEWER = "an-operators-token-0123456789", "a-viewers-token-0123456789012"
USUAL = sys.getswitchinterval()
SECRET = "a-value-that-is-in-no-profile"


def burn_processor(secret: str) -> None:
    ends_at = time.thread_time() + 0.05
    while time.thread_time() < ends_at:
        sum(range(100))


def make_app() -> FastAPI:
    app = FastAPI()

    @app.get("/sync")
    def hot_sync() -> None:
        burn_processor(SECRET)

    @app.get("/async")
    async def hot_async() -> None:
        burn_processor(SECRET)

    return app


@pytest.fixture
def served(serve: Callable[..., Any]) -> Any:
    return serve(make_app(), OPERATOR_TOKEN=TOKEN, VIEWER_TOKEN=VIEWER)


def ask(served: Any, token: str = TOKEN, **parameters: str) -> httpx.Response:
    return served.post(PATH, params=parameters, headers={"Authorization": f"Bearer {token}"})


@contextmanager
def load(served: Any, path: str) -> Iterator[None]:
    """Requests from another process: what that uses of the processor is not in the profile."""
    code = f"import urllib.request as u\nwhile True: print(u.urlopen('{served.url}{path}').status, flush=True)"
    client = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    try:
        assert client.stdout is not None and client.stdout.readline() == b"200\n"
        yield
    finally:
        client.kill()
        client.communicate()


@contextmanager
def profile_running(over: threading.Event) -> Iterator[threading.Thread]:
    thread = threading.Thread(target=SAMPLER.profile, args=(60.0, over.is_set))
    thread.start()
    assert eventually(lambda: sys.getswitchinterval() < USUAL)
    try:
        yield thread
    finally:
        over.set()
        thread.join(30.0)


@pytest.mark.parametrize(("path", "function"), [("/sync", "hot_sync"), ("/async", "hot_async")])
def test_hot_route_has_most_of_what_is_not_idle(served: Any, path: str, function: str) -> None:
    with load(served, path):
        lines = ask(served, window="1s500ms", format="collapsed").text.splitlines()
    stacks = [(stack, int(time)) for stack, _, time in (line.rpartition(" ") for line in lines) if stack != "[idle]"]
    hot = sum(time for stack, time in stacks if f"{function} (test_profile.py:" in stack)
    assert hot >= 0.7 * sum(time for _, time in stacks) > 0, lines[:20]


def test_profile_is_rendered_without_values_and_audited(served: Any) -> None:
    with load(served, "/sync"):
        answer = ask(served, window="1", format="speedscope")
    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/vnd.speedscope+json")
    assert {"profiles", "shared"} <= json.loads(answer.text).keys()
    assert "burn_processor" in answer.text and SECRET not in answer.text
    assert sys.getswitchinterval() == USUAL
    action = served.log.line(event_type="operator_action")
    assert (action["endpoint"], action["method"], action["status_code"]) == ("/debug/profile", "POST", 200)


def test_second_profile_is_refused_while_one_is_made(served: Any) -> None:
    with profile_running(threading.Event()):
        answer = ask(served, window="1s")
    assert (answer.status_code, answer.json()["error"]) == (409, "profile_running")
    assert ask(served, window="1s", format="collapsed").status_code == 200


def test_client_that_leaves_ends_its_profile_and_others_are_served_meanwhile(served: Any) -> None:
    with httpx.Client(timeout=30.0) as client, pytest.raises(httpx.ReadTimeout):
        client.post(f"{served.url}{PATH}?window=60s", headers={"Authorization": f"Bearer {TOKEN}"}, timeout=1.0)
    assert served.get("/async").status_code == 200
    assert eventually(lambda: sys.getswitchinterval() == USUAL)


@pytest.mark.parametrize("window", ["", "0", "-1", "61s", "1h", "nan", "inf", "1e300", "soon", "9" * 5000, "10s;rm"])
def test_window_that_cannot_be_used_is_named(served: Any, window: str) -> None:
    answer = ask(served, window=window)
    assert (answer.status_code, answer.json()["message"].partition(":")[0]) == (422, "query.window")
    assert sys.getswitchinterval() == USUAL


def test_viewers_and_unknown_formats_are_refused(served: Any) -> None:
    assert ask(served, VIEWER).status_code == 403
    assert ask(served, format="pickle").json()["message"].startswith("query.format: Input should be 'html'")


def test_only_collapsed_is_left_without_pyinstrument(served: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == "pyinstrument"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "pyinstrument", None)
    refused = ask(served, window="60s")
    assert (refused.status_code, refused.json()["error"]) == (501, "not_supported")
    assert "`profiling` or format=collapsed" in refused.json()["message"]
    assert ask(served, window="1s", format="collapsed").status_code == 200
