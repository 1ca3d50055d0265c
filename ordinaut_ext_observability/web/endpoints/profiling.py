"""The profile of this process: an operator has all its threads sampled for a while."""

from __future__ import annotations

import asyncio
import threading
from importlib.util import find_spec
from typing import Annotated

from fastapi import Query
from pydantic import BeforeValidator
from starlette.requests import Request
from starlette.responses import Response

from ordinaut_ext_observability.background.clock import thread_cpu_seconds, wall_seconds
from ordinaut_ext_observability.background.daemon_threads import in_daemon_thread
from ordinaut_ext_observability.profiling.report import Form, render
from ordinaut_ext_observability.profiling.sampler import MAX_SECONDS, SAMPLER, SamplerBusyError
from ordinaut_ext_observability.web.answers import NO_STORE, PiecewiseResponse, error_response
from ordinaut_ext_observability.web.endpoints.base import Endpoint, context_of
from ordinaut_ext_observability.web.endpoints.loggers import read_seconds
from ordinaut_ext_observability.web.queries import wait_until_gone

_PIECE_BYTES = 64 * 1024
_KINDS: dict[Form, str] = {"html": "text/html", "speedscope": "application/json", "text": "text/plain"}
_Window = Annotated[float, BeforeValidator(read_seconds), Query(ge=1.0, le=MAX_SECONDS, description="Such as 10s.")]
_Form = Annotated[Form, Query(alias="format")]


async def _profile(request: Request, window: _Window = 10.0, form: _Form = "html") -> Response:
    if form != "collapsed" and find_spec("pyinstrument") is None:
        hint = "This format needs the extra `profiling` (pyinstrument); format=collapsed does not."
        return error_response(501, "pyinstrument_missing", hint)
    stop = threading.Event()
    leaving = asyncio.create_task(wait_until_gone(request))
    leaving.add_done_callback(lambda _: stop.set())
    try:
        body, cost = await in_daemon_thread(_make, window, form, stop)
    except SamplerBusyError:
        return error_response(409, "profile_running", "A profile of this process is being made: try again in a while.")
    except OSError:
        return error_response(501, "no_thread_clocks", "This system tells no processor time of threads; Linux does.")
    finally:
        leaving.cancel()
    context_of(request).metrics.overhead_seconds.labels("profiling").inc(cost)
    pieces = [body[start : start + _PIECE_BYTES] for start in range(0, len(body), _PIECE_BYTES)]
    return PiecewiseResponse(pieces or [b""], {**NO_STORE, "Content-Type": f"{_KINDS.get(form, 'text/plain')}; charset=utf-8"})


def _make(window: float, form: Form, stop: threading.Event) -> tuple[bytes, float]:
    before, begun = thread_cpu_seconds(), wall_seconds()
    profile = SAMPLER.profile(window, stop.is_set)
    text = "" if stop.is_set() else render(profile, form, begun, window)
    return text.encode(errors="replace"), thread_cpu_seconds() - before


_ANSWERS = {200: "Processor time by function, of all threads.", 409: None, 422: None, 501: None}
_TOLD = "sample all threads of this process: ?window=10s&format=html, speedscope, text or collapsed"
ENDPOINTS = (
    Endpoint("/debug/profile", "operator", _profile, _TOLD, _ANSWERS, tuple(_KINDS.values()), methods=("POST",)),
)
