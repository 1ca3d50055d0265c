"""Levels of loggers: viewers see them, operators change them for a while."""

from __future__ import annotations

import logging
import re
from typing import Annotated, Literal

from fastapi import Path
from pydantic import BaseModel, BeforeValidator, Field
from starlette.requests import Request
from starlette.responses import Response

from ordinaut_ext_observability.background.daemon_threads import in_daemon_thread
from ordinaut_ext_observability.promql.times import parse_duration
from ordinaut_ext_observability.relay.log_levels import LONGEST_SECONDS
from ordinaut_ext_observability.web.answers import error_response, json_response
from ordinaut_ext_observability.web.endpoints.base import Endpoint, context_of

_MOST_LISTED = 2_000  # a host with more makes them by the piece of work
_NAME = "^[A-Za-z0-9_.:-]{1,128}$"  # others cannot be asked for, and are not listed
_Name = Annotated[str, Path(pattern=_NAME)]


def read_seconds(given: object) -> float:
    """Seconds of a duration such as `10m`, or of a number of seconds. Raises ValueError with what is accepted."""
    try:
        return parse_duration(str(given)) / 1000
    except ValueError:
        raise ValueError("give a duration such as 30s or 10m, or a number of seconds") from None


class LevelChange(BaseModel, extra="forbid"):
    """A level for a logger, null for the one from before, and the time after which it ends."""

    level: Literal["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"] | None
    seconds: Annotated[float, BeforeValidator(read_seconds)] = Field(600.0, alias="for", ge=1.0, le=LONGEST_SECONDS)


async def _loggers(request: Request) -> Response:
    describe, known = context_of(request).levels.describe, logging.root.manager.loggerDict.copy()
    names = ["root", *sorted(name for name in known if isinstance(known[name], logging.Logger))]
    listed = [name for name in names if re.fullmatch(_NAME, name)][:_MOST_LISTED]
    shown = await in_daemon_thread(lambda: [describe(name) for name in listed])
    return json_response({"loggers": shown, "not_listed": len(names) - len(shown)})


async def _logger(request: Request, name: _Name) -> Response:
    if name != "root" and not isinstance(logging.root.manager.loggerDict.get(name), logging.Logger):
        return error_response(404, "no_such_logger", "This process has no such logger yet. It can be changed, though.")
    return json_response(context_of(request).levels.describe(name))


async def _change(request: Request, name: _Name, body: LevelChange) -> Response:
    levels, client = context_of(request).levels, request.client.host if request.client else ""
    try:
        problem = await in_daemon_thread(lambda: levels.change(name, body.level, body.seconds, client[:64]))
    except ValueError as error:
        return error_response(400, "too_many_changed", f"{error}.")
    reach = f"this process alone: {problem}" if problem else "all processes, within seconds"
    return json_response(levels.describe(name) | {"reach": reach})


_CHANGE = 'change a level for a while: {"level": "DEBUG", "for": "10m"}; {"level": null} ends it'
_ONE = {200: "The logger.", 400: None, 422: None}
ENDPOINTS = (
    Endpoint("/loggers", "operator", _loggers, "the loggers of this process and their levels", {200: "The loggers."}),
    Endpoint("/loggers/{name}", "operator", _logger, "a logger's level, and what else may hide its lines", _ONE),
    Endpoint("/loggers/{name}", "operator", _change, _CHANGE, _ONE, methods=("PUT",)),
)
