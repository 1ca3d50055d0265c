"""The declaration of an endpoint, and the context its handler answers from.

A part adds an endpoint in its own file, with a handler and an entry in its list::

    async def _config(request: Request) -> Response:
        return json_response(context_of(request).config())

    ENDPOINTS = (Endpoint("/config", GET, "operator", READS, _config, "settings in effect", {200: "The settings."}),)

Errors are returned, never raised through the host: its handler for FastAPI's HTTPException crashes and makes a
plain-text 500 of whatever it was.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from fastapi import APIRouter, Depends
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Scope

from ordinaut_ext_observability.health.lifecycle import Lifecycle
from ordinaut_ext_observability.health.monitor import HealthMonitor
from ordinaut_ext_observability.metrics.declarations import Metrics
from ordinaut_ext_observability.web.access import AccessControl
from ordinaut_ext_observability.web.answers import Refusal, describe_answer, error_response
from ordinaut_ext_observability.web.scrape import ScrapeService

Tier = Literal["public", "scrape", "operator"]

_ERRORS: dict[Tier, tuple[int, ...]] = {
    "public": (500,),
    "scrape": (401, 403, 429, 500),
    "operator": (401, 404, 429, 500),
}
GET = ("GET",)
READS, CHANGES = False, True
"""Values of `Endpoint.changes`."""

_CONTEXT = "ordinaut_observability"
"""Key of the ASGI scope."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One endpoint below the mount path."""

    path: str
    methods: tuple[str, ...]
    """HEAD is answered wherever GET is."""
    tier: Tier
    """Who may ask: anyone, scrapers, operators."""
    changes: bool
    """True: a call changes something. The method does not say it: a query may come as a POST."""
    handler: Callable[..., Any]
    description: str
    answers: Mapping[int, str | None]
    """Descriptions by status, for OpenAPI; None is an error in our shape. The errors of the tier are added."""
    media_types: tuple[str, ...] = ("application/json",)
    """Of the answer 200."""


@dataclass(frozen=True, slots=True)
class EndpointContext:
    """The parts that the endpoints of one router answer from."""

    metrics: Metrics
    lifecycle: Lifecycle
    monitor: HealthMonitor
    scrapes: ScrapeService
    access: AccessControl
    config: Callable[[], dict[str, Any]]
    """Gives the settings in effect."""
    overview: Callable[[Scope], dict[str, Any]]
    """Gives what the index says besides the endpoints, to the request of this scope."""


def context_of(request: Request) -> EndpointContext:
    """The context that this request is answered from."""
    context: EndpointContext = request.scope[_CONTEXT]
    return context


async def check_scraper(request: Request) -> None:
    """Let a scraper pass: the guard of the scrape tier."""
    context_of(request).access.check_scraper(request)


async def check_operator(request: Request) -> None:
    """Let an operator see: the guard of the operator tier."""
    context_of(request).access.check_operator(request, changes=False)


async def check_operator_change(request: Request) -> None:
    """Let an operator change something: the guard of the operator tier where a call does."""
    context_of(request).access.check_operator(request, changes=True)


_GUARDS: dict[tuple[Tier, bool], Any] = {
    ("public", READS): None,
    ("scrape", READS): check_scraper,
    ("operator", READS): check_operator,
    ("operator", CHANGES): check_operator_change,
}


def route_options(endpoint: Endpoint) -> dict[str, Any]:
    """The guard and the description of an endpoint, as FastAPI's routes take them."""
    guard = _GUARDS[endpoint.tier, endpoint.changes]
    answers = {**dict.fromkeys(_ERRORS[endpoint.tier]), **endpoint.answers}
    return {
        "name": endpoint.path.strip("/").replace("/", "_") or "index",
        "summary": endpoint.description,
        "dependencies": [] if guard is None else [Depends(guard)],
        "responses": {code: describe_answer(code, text, endpoint.media_types) for code, text in answers.items()},
        "response_class": Response,  # without a type of its own, whatever the host's default is
    }


def add_endpoint(router: APIRouter, endpoint: Endpoint) -> None:
    """Add an endpoint's route; HEAD apart, since FastAPI gives the methods of one route the same operation id."""
    options = route_options(endpoint)
    router.add_api_route(endpoint.path, endpoint.handler, methods=list(endpoint.methods), **options)
    if "GET" in endpoint.methods:
        router.add_api_route(endpoint.path, endpoint.handler, methods=["HEAD"], include_in_schema=False, **options)


def route_class(context: EndpointContext) -> type[APIRoute]:
    """A class of routes whose handlers find this context in the scope, and whose failures are answered in our shape.

    Handlers hold nothing themselves: FastAPI keeps functions in caches of the process, which outlive the application.
    """

    class ObservabilityRoute(APIRoute):
        def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
            handle = super().get_route_handler()

            async def answer(request: Request) -> Response:
                request.scope[_CONTEXT] = context
                try:
                    return await handle(request)
                except Refusal as refusal:
                    return refusal.response
                except RequestValidationError as error:
                    problem = error.errors()[0]
                    place = ".".join(map(str, problem["loc"]))
                    return error_response(422, "invalid_request", f"{place}: {problem['msg']}")
                except HTTPException as error:  # of the host's dependency on scopes
                    return error_response(error.status_code, "refused_by_host", str(error.detail))
                except Exception:  # noqa: BLE001 - its text could hold secrets, so it is only counted
                    context.metrics.count_internal_error("endpoint")
                    return error_response(500, "internal_error", "The extension failed; see its internal error count.")

            return answer

    return ObservabilityRoute
