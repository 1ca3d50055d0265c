"""Stacks, stalls and the growth of memory over HTTP: what is told, to whom, and that no value is."""

from __future__ import annotations

import asyncio
import ctypes
import socket
import threading
import time
import tracemalloc
from collections.abc import Callable
from typing import Any

import pytest
import yaml
from fastapi import FastAPI

from tests.conftest import eventually

STACKS, MEMORY = "/ext/observability/debug/stacks", "/ext/observability/debug/memory"
TOKEN, VIEWER = "an-operators-token-0123456789", "a-viewers-token-0123456789012"
OPERATOR = {"Authorization": f"Bearer {TOKEN}"}
CANARY = "canary-4711"
STALLED = "event_loop_blocked"
LEAKED: list[bytearray] = []
seconds_blocked = 1.8


def sleep_in_python(canary: str) -> None:
    time.sleep(seconds_blocked)


def sleep_in_c(canary: str) -> None:
    """Without giving the interpreter's lock back, so that no other thread runs Python meanwhile."""
    ctypes.PyDLL(None).usleep(int(seconds_blocked * 1e6))


def make_app() -> FastAPI:
    app = FastAPI()
    app.state.entered, app.state.go_on = asyncio.Event(), asyncio.Event()

    async def wait_for_it(argument: str) -> None:
        app.state.entered.set()
        await app.state.go_on.wait()

    @app.get("/waits/{secret}")
    async def waits(secret: str) -> None:
        local = f"{secret} {CANARY}"
        await wait_for_it(local)

    @app.get("/blocks/{how}")
    async def blocks(how: str) -> None:
        {"python": sleep_in_python, "c": sleep_in_c}[how](CANARY)

    @app.get("/leaks")
    async def leaks() -> None:
        LEAKED.extend(bytearray(10_000) for _ in range(200))

    return app


@pytest.fixture
def api(serve: Callable[..., Any]) -> Any:
    return serve(make_app(), OPERATOR_TOKEN=TOKEN, VIEWER_TOKEN=VIEWER)


@pytest.mark.parametrize("as_text", [False, True])
def test_stacks_show_where_threads_and_tasks_are_without_values(api: Any, as_text: bool) -> None:
    done, canary = threading.Event(), CANARY
    thread = threading.Thread(target=lambda held: done.wait(), args=(canary,), name="x" * 100)
    thread.start()
    waiting = threading.Thread(target=api.get, args=(f"/waits/{CANARY}",))
    waiting.start()
    assert eventually(api.app.state.entered.is_set)
    answer = api.get(STACKS, headers=OPERATOR | ({"Accept": "text/plain"} if as_text else {}))
    for event in (api.app.state.go_on.set, done.set):
        api.loop.call_soon_threadsafe(event)
    thread.join()
    waiting.join()
    assert CANARY not in answer.text
    shown = yaml.safe_load(answer.text) if as_text else answer.json()
    (task,) = (each for each in shown["tasks"] if any("waits" in line for line in each["stack"]))
    inner, outer = (
        next(n for n, line in enumerate(task["stack"]) if name in line) for name in ("wait_for_it", "waits")
    )
    assert inner < outer
    assert f"{__file__}:" in task["stack"][inner]
    (thread_shown,) = (each for each in shown["threads"] if each["name"] == "x" * 64)
    assert any("Event.wait" in line for line in thread_shown["stack"])
    assert (shown["last_stall"], shown["threads_not_shown"], shown["tasks_not_shown"]) == (None, 0, 0)


@pytest.mark.parametrize("how", ["python", "c"])
def test_a_stall_names_the_function_that_blocks_and_the_request_in_flight(api: Any, how: str) -> None:
    """Code in C that keeps the interpreter's lock is caught as it ends; on a busy machine not at the first attempt."""

    def caught() -> list[dict[str, Any]]:
        api.runtime.stalls._next_capture_at = 0.0  # a busy machine stalls by itself as well
        api.get(f"/blocks/{how}?password={CANARY}")
        lines = [line for line in api.log.all_lines() if line["event_type"] == STALLED]
        return [line for line in lines if f"sleep_in_{how}" in str(line["stack"])]

    assert eventually(lambda: bool(caught()), 30)
    line = [line for line in api.log.lines(event_type=STALLED) if f"sleep_in_{how}" in str(line["stack"])][0]
    assert any(f"{__file__}:" in each for each in line["stack"])
    (request,) = line["requests"]
    assert (request["method"], request["route"], request["seconds"] > 0) == ("GET", "/blocks/{how}", True)
    api.log.lines(event_type="api_request", correlation_id=request["correlation_id"])
    shown = api.get(STACKS, headers=OPERATOR)
    assert shown.json()["last_stall"]["requests"] != []
    assert api.value("orchestrator_process_event_loop_stalls_total", process="api") >= 1
    assert CANARY not in shown.text + str(line)


def test_a_comparison_of_memory_names_the_leaks_line(api: Any) -> None:
    answers: list[Any] = []
    asking = threading.Thread(
        target=lambda: answers.append(api.post(MEMORY, params={"window": "2s"}, headers=OPERATOR))
    )
    asking.start()
    assert eventually(tracemalloc.is_tracing)
    busy = api.post(MEMORY, headers=OPERATOR)
    assert (busy.status_code, busy.json()["error"]) == (409, "already_running")
    api.get("/leaks")
    asking.join()
    LEAKED.clear()
    body = answers[0].json()
    assert body["lines"][0]["line"].startswith(f"{__file__}:")
    assert body["lines"][0]["bytes"] > 2_000_000
    assert body["growth"]["bytes"] > 1_000_000  # less than that line's, where others gave memory back
    assert not tracemalloc.is_tracing()
    assert api.log.lines(event_type="operator_action", endpoint="/debug/memory", status_code=200)


def test_a_client_that_leaves_ends_the_comparison(api: Any) -> None:
    request = f"POST {MEMORY}?window=60s HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {TOKEN}\r\n\r\n"
    with socket.create_connection(("127.0.0.1", api.port)) as connection:
        connection.sendall(request.encode())
        assert eventually(tracemalloc.is_tracing)
    assert eventually(lambda: not tracemalloc.is_tracing())


def test_who_may_ask_and_for_what(api: Any) -> None:
    viewer = {"Authorization": f"Bearer {VIEWER}"}
    assert api.get(STACKS).status_code == api.post(MEMORY).status_code == 401
    assert api.post(MEMORY, headers=viewer).status_code == 403
    assert api.get(STACKS, headers=viewer, params={"format": "text"}).headers["content-type"].startswith("text/plain")
    for window in ("0", "61s", "soon"):
        assert api.post(MEMORY, params={"window": window}, headers=OPERATOR).json()["error"] == "invalid_request"
    assert api.value("orchestrator_process_memory_bytes", process="api", type="rss") > 1e7
    assert api.internal_errors() == {}
