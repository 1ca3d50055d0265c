"""A look into the running process: where its threads and tasks are, and which lines its memory grows by."""

from __future__ import annotations

import asyncio
import json
import threading
from contextlib import closing
from typing import Annotated, Any, Literal

from fastapi import Query
from pydantic import BeforeValidator
from starlette.requests import Request
from starlette.responses import Response

from ordinaut_ext_observability.background.daemon_threads import in_daemon_thread
from ordinaut_ext_observability.background.fork import forks_held_off
from ordinaut_ext_observability.health.stalls import task_stack, thread_stack
from ordinaut_ext_observability.web.answers import NO_STORE, PiecewiseResponse, error_response, json_response
from ordinaut_ext_observability.web.endpoints.base import Endpoint, context_of
from ordinaut_ext_observability.web.endpoints.loggers import read_seconds

_MAX_STACKS = 250  # of threads, and of tasks: below a megabyte, and below what the scrubber looks at
_BUSY = "Memory is being compared. Try again in a minute; a session of the host's own code may take five."
# Up to 60 s: proxies give up on a longer answer, and a host that stops waits for it.
_Window = Annotated[float, BeforeValidator(read_seconds), Query(ge=1, le=60, description="A duration such as 30s.")]


async def _memory(request: Request, window: _Window = 30.0) -> Response:
    left = threading.Event()

    def compare() -> list[tuple[int, int, str]] | None:
        with forks_held_off():
            from ordinaut_ext_observability.profiling.memory import MemoryTracker
        with closing(MemoryTracker()) as tracker:
            began = tracker.take_snapshot("before")
            if began and not left.wait(window):
                tracker.take_snapshot("after")
        return tracker.growth("before", "after") if began else None

    comparing = asyncio.ensure_future(in_daemon_thread(compare))
    try:
        while not comparing.done() and not await request.is_disconnected():
            await asyncio.wait({comparing}, timeout=0.5)
    finally:
        left.set()
    if (changes := await comparing) is None:
        return error_response(409, "already_running", _BUSY)
    growth = {"bytes": sum(change[0] for change in changes), "count": sum(change[1] for change in changes)}
    lines = [{"line": line, "bytes": size, "count": count} for size, count, line in changes[:30] if size > 0]
    return json_response({"window_seconds": window, "growth": growth, "lines_changed": len(changes), "lines": lines})


async def _stacks(request: Request, format: Literal["json", "text"] | None = None) -> Response:  # noqa: A002
    context, loop = context_of(request), asyncio.get_running_loop()
    as_text = (format or request.headers.get("accept", ""))[:4] == "text"

    def read() -> str:
        import yaml  # not while the host starts

        with forks_held_off():  # one at a time, too
            threads = [(thread.name, thread_stack(thread.ident)) for thread in threading.enumerate()]
            tasks = [(task.get_name(), task_stack(task)) for task in asyncio.all_tasks(loop)]
        shown: dict[str, Any] = {"last_stall": context.lifecycle.loop_watch.last_stall}
        for kind, stacks in (("threads", threads), ("tasks", tasks)):
            shown[kind] = [{"name": name[:64], "stack": stack} for name, stack in stacks[:_MAX_STACKS]]
            shown[f"{kind}_not_shown"] = len(stacks) - len(shown[kind])
        shown = shown if context.scrubber is None else context.scrubber.value(shown)
        return yaml.safe_dump(shown, sort_keys=False, width=1000) if as_text else json.dumps(shown)

    kind, body = "text/plain" if as_text else "application/json", await in_daemon_thread(read)
    return PiecewiseResponse([body.encode()], {**NO_STORE, "Vary": "Accept", "Content-Type": kind})


_STACKS = {200: "Threads, tasks of the event loop, the last stall.", 422: None}
_GROWN = {200: "The lines of code that grew most.", 409: None, 422: None}
_KINDS = ("text/plain", "application/json")
ENDPOINTS = (
    Endpoint("/debug/stacks", "operator", _stacks, "where threads and tasks are; `format=text`", _STACKS, _KINDS),
    Endpoint("/debug/memory", "operator", _memory, "what grows within `window`", _GROWN, methods=("POST",)),
)
