"""The declaration of an endpoint, and the context its handler answers from.

A part adds an endpoint in its own file, with a handler and an entry in its list::

    async def _config(request: Request) -> Response:
        return json_response(context_of(request).config())

    ENDPOINTS = (Endpoint("/config", "operator", _config, "settings in effect", {200: "The settings."}),)

Errors are returned, never raised through the host: its handler for FastAPI's HTTPException crashes and makes a
plain-text 500 of whatever it was.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from fastapi import APIRouter
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Match, compile_path
from starlette.types import Receive, Scope, Send

from ordinaut_ext_observability.background.daemon_threads import in_daemon_thread
from ordinaut_ext_observability.health.lifecycle import Lifecycle
from ordinaut_ext_observability.relay.log_levels import LogLevels
from ordinaut_ext_observability.releases.deployments import Deployments
from ordinaut_ext_observability.scrub.scrubber import Scrubber
from ordinaut_ext_observability.trouble.recent import RecentTrouble
from ordinaut_ext_observability.web.access import AccessControl
from ordinaut_ext_observability.web.answers import PiecewiseResponse, Refusal, describe_answer, error_response
from ordinaut_ext_observability.web.sign_in import sign_in_page

if TYPE_CHECKING:
    from ordinaut_ext_observability.alerts.notifications.desk import AlertDesk
    from ordinaut_ext_observability.alerts.rounds import Rounds
    from ordinaut_ext_observability.web.endpoints.metrics import ScrapeService
    from ordinaut_ext_observability.web.page.page import StatusPage
    from ordinaut_ext_observability.web.queries import QueryService

Tier = Literal["public", "scrape", "links", "operator"]

_ERRORS: dict[Tier, tuple[int, ...]] = {"public": (), "scrape": (401, 403, 429)}
_ERRORS |= {"links": (), "operator": (401, 404, 429)}

_CONTEXT = "ordinaut_observability"
"""Key of the ASGI scope."""


class Endpoint(NamedTuple):
    """One endpoint below the mount path."""

    path: str
    tier: Tier
    """Who may ask: anyone, scrapers, who has a signed link or signs in (handlers see to it), operators."""
    handler: Callable[..., Any]
    description: str
    answers: Mapping[int, str | None]
    """Descriptions by status, for OpenAPI; None is an error in our shape. The errors of the tier are added."""
    media_types: tuple[str, ...] = ("application/json",)
    """Content types of the answer 200."""
    methods: tuple[str, ...] = ("GET",)
    """HEAD is answered wherever GET is."""
    changes: bool | None = None
    """True where a call changes something, which is refused to another site's page; None: all but GET and HEAD do."""


@dataclass(frozen=True, slots=True)
class EndpointContext:
    """The parts that the endpoints of one router answer from."""

    lifecycle: Lifecycle
    scrapes: ScrapeService
    queries: QueryService
    alerts: Callable[[], Rounds | None]
    """Gives who evaluates rules; None in a process that evaluates none."""
    desk: AlertDesk
    trouble: RecentTrouble
    deployments: Deployments
    access: AccessControl
    levels: LogLevels
    config: Callable[[], dict[str, Any]]
    """Gives the settings in effect."""
    page: Callable[[], StatusPage]
    """Gives the status page; imports it first, which is for a thread."""
    overview: Callable[[Scope], dict[str, Any]]
    """Gives what the index says besides the endpoints, to the request of this scope."""
    scrubber: Scrubber | None = None


def context_of(request: Request) -> EndpointContext:
    """The context that this request is answered from."""
    context: EndpointContext = request.scope[_CONTEXT]
    return context


def add_endpoint(router: APIRouter, context: EndpointContext, endpoint: Endpoint) -> None:
    """Add an endpoint's routes."""
    options = route_options(endpoint) | {"route_class_override": route_class(context, endpoint)}
    for method in endpoint.methods:  # apart, since FastAPI gives the methods of one route the same operation id
        router.add_api_route(endpoint.path, endpoint.handler, methods=[method], **options)


def route_options(endpoint: Endpoint) -> dict[str, Any]:
    """The description of an endpoint, as FastAPI's routes take it."""
    answers = {**dict.fromkeys((*_ERRORS[endpoint.tier], 500)), **endpoint.answers}
    return {
        "name": endpoint.path.strip("/").replace("/", "_") or "index",
        "summary": endpoint.description,
        "responses": {code: describe_answer(code, text, endpoint.media_types) for code, text in answers.items()},
        "response_class": Response,  # without a type of its own, whatever the host's default is
        "response_model": None,
    }


_MADE = vars(APIRoute("/", lambda: None)).keys()
"""Attributes of a route once it is made, in the FastAPI that is installed. Who probes for other names makes none."""


class _Route(APIRoute):
    """Is made when it is asked for more than how it was described. A host makes all again as it includes our router.

    Making one takes half a millisecond, which is also why the route of GET answers HEAD. What was set until then, as
    another `operation_id`, counts. Several threads may make it at once.
    """

    stream_item_type = form_limits = None  # asked by FastAPI 0.137 and later of routes that are never made

    def __init__(self, path: str, endpoint: Callable[..., Any], **described: Any) -> None:
        self.__dict__ |= {**described, "methods": {*described["methods"]}, "path": path, "endpoint": endpoint}
        self._described = tuple(described)
        self._literal = path.partition("{")[0]

    def __getattr__(self, name: str) -> Any:
        if name in ("path_regex", "path_format", "param_convertors"):
            self.path_regex, self.path_format, self.param_convertors = compile_path(self.path)
        elif name in _MADE and (described := self.__dict__.get("_described")) is not None:
            super().__init__(self.path, self.endpoint, **{each: self.__dict__[each] for each in described})
            self.__dict__.pop("_described", None)
        return object.__getattribute__(self, name)

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        if self._literal not in scope.get("path", ""):  # where ours come first, each request of the host's asks all
            return Match.NONE, {}
        return super().matches({**scope, "method": "GET"} if scope.get("method") == "HEAD" else scope)

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["method"] == "HEAD" and "GET" in self.methods:
            await self.app(scope, receive, send)
        else:
            await super().handle(scope, receive, send)


def route_class(context: EndpointContext, endpoint: Endpoint) -> type[APIRoute]:
    """A class of routes that ask for the tier, give the handler its context, and answer failures in our shape.

    Handlers hold nothing themselves: FastAPI keeps functions in caches of the process, which outlive the application.
    """

    class ObservabilityRoute(_Route):
        def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
            handle = super().get_route_handler()

            async def answer(request: Request) -> Response:
                request.scope[_CONTEXT] = context
                changes = False
                try:
                    if endpoint.tier == "scrape":
                        context.access.check_scraper(request)
                    elif endpoint.tier == "operator":
                        reads = request.method in ("GET", "HEAD")
                        changes = not reads if endpoint.changes is None else endpoint.changes
                        context.access.check_operator(request, changes=changes)
                    reply = _scrubbed(await handle(request), context.scrubber)
                except Refusal as refusal:  # which the access control tells of
                    by_person = endpoint.tier != "scrape" and "text/html" in request.headers.get("accept", "")
                    to = None if "GET" in endpoint.methods else ""  # a form's address cannot be looked at
                    return sign_in_page(request, refusal, to, path=endpoint.path) if by_person else refusal.response
                except RequestValidationError as error:
                    problem = error.errors()[0]
                    place, said = ".".join(map(str, problem["loc"])), problem["msg"].removeprefix("Value error, ")
                    reply = error_response(422, "invalid_request", f"{place}: {said}")
                except HTTPException as error:  # of the host's dependency on scopes
                    reply = error_response(error.status_code, "refused_by_host", str(error.detail))
                except Exception:  # noqa: BLE001 - its text could hold secrets, so it is only counted
                    context.queries.metrics.count_internal_error("endpoint")
                    reply = error_response(500, "internal_error", "The extension failed; see its internal error count.")
                if changes:
                    context.access.report_action(request, endpoint.path, reply.status_code)
                    (await in_daemon_thread(context.page)).forget()
                return reply

            return answer

    return ObservabilityRoute


def _scrubbed(reply: Response, scrubber: Scrubber | None) -> Response:
    """The answer without secrets, where it is JSON; what is sent in pieces is scrubbed where it is made."""
    is_whole = not isinstance(reply, PiecewiseResponse) and reply.headers.get("content-type") == "application/json"
    if scrubber is not None and is_whole and reply.body:
        reply.body = scrubber.json(bytes(reply.body).decode()).encode()
        reply.headers["content-length"] = str(len(reply.body))
    return reply
