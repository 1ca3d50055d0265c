"""JSON answers: errors in one shape, and a route class that gives every failure that shape.

Errors are returned, never raised through the host: its handler for FastAPI's HTTPException crashes and makes a
plain-text 500 of whatever it was.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping
from typing import Any

from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from ordinaut_ext_observability.correlation.context import current_correlation_id

Handler = Callable[[Request], Coroutine[Any, Any, Response]]
Answers = dict[int | str, dict[str, Any]]
"""Answers of a route by status, as FastAPI takes them for the OpenAPI document."""

_ERROR_SCHEMA = {
    "type": "object",
    "properties": {
        "error": {"type": "string", "description": "A class that a program can act on."},
        "message": {"type": "string", "description": "The problem, and a way out."},
        "request_id": {"anyOf": [{"type": "string"}, {"type": "null"}]},
    },
    "required": ["error", "message", "request_id"],
}
_ERRORS = {
    400: "The request asks for more than is allowed.",
    401: "The token is missing or wrong.",
    403: "The client's address is not allowed.",
    404: "These endpoints are off, since no token is set for them.",
    422: "A parameter cannot be read.",
    429: "Too many requests were refused; try again in a minute.",
    500: "The extension failed.",
    503: "Too many requests of this kind are being answered.",
}

STATE = "ordinaut_observability"
"""The key of the ASGI scope under which our endpoints find what they answer from."""


class Refusal(Exception):  # noqa: N818 - an answer, not an error
    """Raised in a dependency to answer the request with an error."""

    def __init__(self, status_code: int, error: str, message: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.response = error_response(status_code, error, message, headers)


def error_response(
    status_code: int, error: str, message: str, headers: Mapping[str, str] | None = None
) -> JSONResponse:
    """`error` is a class a program can act on, `message` says what was wrong and what to do."""
    body = {"error": error, "message": message, "request_id": current_correlation_id()}
    return JSONResponse(body, status_code, {"Cache-Control": "no-store", **(headers or {})})


def json_answer(description: str, schema: Mapping[str, Any]) -> dict[str, Any]:
    """An answer in JSON, for a route's description."""
    return {"description": description, "content": {"application/json": {"schema": schema}}}


def error_answers(*status_codes: int) -> Answers:
    """Errors of a route, for its description; what every route can answer is among them."""
    return {code: json_answer(_ERRORS[code], _ERROR_SCHEMA) for code in (*status_codes, 500)}


def route_class(on_error: Callable[[], None], state: object) -> type[APIRoute]:
    """The class of our routes; `on_error` is told of failures that are ours.

    Endpoints find `state` in the scope, under `STATE`. They hold nothing themselves: FastAPI keeps the functions it was
    given in caches of the process, which outlive the application.
    """

    class ObservabilityRoute(APIRoute):
        def get_route_handler(self) -> Handler:
            handle = super().get_route_handler()

            async def answer(request: Request) -> Response:
                request.scope[STATE] = state
                try:
                    return await handle(request)
                except Refusal as refusal:
                    return refusal.response
                except RequestValidationError as error:
                    return error_response(422, "invalid_request", _first_problem(error))
                except HTTPException as error:  # of the host's dependency on scopes
                    return error_response(error.status_code, "refused_by_host", str(error.detail))
                except Exception:  # noqa: BLE001 - its text could hold secrets, so it is only counted
                    on_error()
                    return error_response(500, "internal_error", "The extension failed; see its internal error count.")

            return answer

    return ObservabilityRoute


def _first_problem(error: RequestValidationError) -> str:
    problem = error.errors()[0]
    place = ".".join(str(part) for part in problem["loc"])
    return f"{place}: {problem['msg']}"
