"""The profile of this process: an operator has all its threads sampled for a while."""

from __future__ import annotations

import asyncio
import threading
from typing import Annotated

from fastapi import Query
from pydantic import BeforeValidator
from starlette.requests import Request
from starlette.responses import Response

from ordinaut_ext_observability.background.daemon_threads import in_daemon_thread
from ordinaut_ext_observability.profiling.report import Form, renderer
from ordinaut_ext_observability.profiling.sampler import MAX_SECONDS, SAMPLER
from ordinaut_ext_observability.web.answers import NO_STORE, error_response
from ordinaut_ext_observability.web.endpoints.base import Endpoint
from ordinaut_ext_observability.web.endpoints.loggers import read_seconds
from ordinaut_ext_observability.web.queries import wait_until_gone

_KINDS = {"html": "text/html", "speedscope": "application/vnd.speedscope+json", "text": "text/plain"}
_Window = Annotated[float, BeforeValidator(read_seconds), Query(ge=1.0, le=MAX_SECONDS)]
_Form = Annotated[Form, Query(alias="format")]


async def _profile(request: Request, window: _Window = 10.0, form: _Form = "html") -> Response:
    stop = threading.Event()

    def make() -> str | None:
        render = renderer(form)
        profile = SAMPLER.profile(window, stop.is_set)
        return None if profile is None else render({} if stop.is_set() else profile, window)

    leaving = asyncio.create_task(wait_until_gone(request))
    leaving.add_done_callback(lambda _: stop.set())
    try:
        text = await in_daemon_thread(make)
    except (ImportError, OSError):
        return error_response(501, "not_supported", "This takes Linux, and the extra `profiling` or format=collapsed.")
    finally:
        leaving.cancel()
    if text is None:
        return error_response(409, "profile_running", "A profile of this process is being made: try again in a while.")
    return Response(text.encode(errors="replace"), headers=NO_STORE, media_type=_KINDS.get(form, "text/plain"))


_ANSWERS = {200: "Processor time by function, of all threads.", 409: None, 422: None, 501: None}
_TOLD = "sample all threads of this process: ?window=10s&format=html, speedscope, text or collapsed"
ENDPOINTS = (Endpoint("/debug/profile", "operator", _profile, _TOLD, _ANSWERS, (*_KINDS.values(),), ("POST",)),)
