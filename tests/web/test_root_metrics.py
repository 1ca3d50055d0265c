"""`/metrics` at the host's root: whatever the host would answer there but 404, it answers; the rest is ours."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from fastapi import APIRouter, FastAPI
from fastapi.responses import FileResponse, HTMLResponse
from fastapi.routing import APIRoute
from fastapi.staticfiles import StaticFiles
from prometheus_client import CollectorRegistry, Gauge, make_asgi_app
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse
from starlette.routing import BaseRoute, Host, Match, Route
from starlette.types import Receive, Scope, Send

MOUNT = "/ext/observability"
TOKEN = "an-operators-token-0123456789"
OF_OURS = {"x-correlation-id", "x-request-id", "server-timing", "date"}
REQUESTS = [(method, path) for method in ("GET", "HEAD", "POST", "OPTIONS") for path in ("/metrics", "/metrics/")]


async def own_metrics(request: Request) -> PlainTextResponse:
    return PlainTextResponse(f"the host's own, to {request.method}")


def prometheus_app() -> Any:
    registry = CollectorRegistry()
    Gauge("of_the_host", "A metric of the host.", registry=registry).set(1)
    return make_asgi_app(registry=registry)


def make_page(folder: Path) -> Path:
    page = folder / "index.html"
    if not page.exists():  # else its time would change, and with it the headers
        page.write_text("a page")
    return page


def add_catch_all(app: FastAPI, _: Path) -> None:
    app.add_api_route("/{path:path}", lambda path: f"page {path}")


def add_included_router(app: FastAPI, _: Path) -> None:
    inner, outer = APIRouter(), APIRouter()
    inner.add_api_route("/metrics", lambda: "included")
    outer.include_router(inner)
    app.include_router(outer)


def add_static_files_at_root(app: FastAPI, folder: Path) -> None:
    """Which answer 404 for the path: a mount that takes it keeps it."""
    make_page(folder)
    app.mount("/", StaticFiles(directory=folder, html=True))


def add_frontend(app: FastAPI, folder: Path) -> None:
    make_page(folder)
    app.frontend("/", directory=folder, fallback="index.html")


def add_page_for_not_found(app: FastAPI, folder: Path) -> None:
    """As of applications in the browser, which have routes of their own."""
    page = make_page(folder)
    app.add_exception_handler(404, lambda *_: FileResponse(page))


def add_page_by_exception_class(app: FastAPI, _: Path) -> None:
    app.add_exception_handler(HTTPException, lambda *_: HTMLResponse("a page"))


def set_default(app: FastAPI, _: Path) -> None:
    app.router.default = PlainTextResponse("whatever")


class _NeedsRealRequest(BaseRoute):
    """A route that asks for what only real requests have."""

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        assert scope["client"]
        return (Match.FULL if scope["path"] == "/metrics" else Match.NONE), {}

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        await PlainTextResponse("picky")(scope, receive, send)


Adds = Callable[[FastAPI, Path], None]

TAKE_IT: dict[str, Adds] = {
    "a route": lambda app, _: app.add_api_route("/metrics", lambda: "the host's own"),
    "a plain route": lambda app, _: app.router.routes.append(Route("/metrics", own_metrics)),
    "a route for another method": lambda app, _: app.add_api_route("/metrics", lambda: "pushed", methods=["POST"]),
    "a route with a slash": lambda app, _: app.add_api_route("/metrics/", lambda: "with a slash"),
    "a route with a parameter": lambda app, _: app.add_api_route("/{name}", lambda name: name),
    "a catch-all route": add_catch_all,
    "an included router": add_included_router,
    "the client's application": lambda app, _: app.mount("/metrics", prometheus_app()),
    "an application at the root": lambda app, _: app.mount("/", prometheus_app()),
    "static files at the root": add_static_files_at_root,
    **({"a frontend": add_frontend} if hasattr(FastAPI, "frontend") else {}),
    "a host of any name": lambda app, _: app.router.routes.append(Host("127.0.0.1", app=prometheus_app())),
    "a route that needs a real request": lambda app, _: app.router.routes.append(_NeedsRealRequest()),
    "a page for what is not found": add_page_for_not_found,
    "a page for every refusal": add_page_by_exception_class,
    "a default of the router": set_default,
}
"""Hosts that answer at the path themselves."""


def answer_of_404(*_: Any) -> JSONResponse:
    return JSONResponse({"nothing": "here"}, 404)


LEAVE_IT: dict[str, Adds] = {
    "nothing": lambda *_: None,
    "paths below it": lambda app, _: app.add_api_route("/metrics/{name}", lambda name: name),
    "another host's": lambda app, _: app.router.routes.append(Host("other.example", app=prometheus_app())),
    "a handler of 404 that answers 404": lambda app, _: app.add_exception_handler(404, answer_of_404),
    "a route for websockets": lambda app, _: app.add_api_websocket_route("/metrics", lambda websocket: None),
    "a root path": lambda app, _: setattr(app, "root_path", "/api"),
}
"""Hosts that have nothing there."""

WHEN = ("before us", "after us", "while it starts", "while it runs")


def make_app(add: Adds, when: str, set_up: Callable[[FastAPI], Any], folder: Path) -> FastAPI:
    """An application that gets something before, after, or long after `set_up`."""

    @contextlib.asynccontextmanager
    async def lifespan(started: FastAPI) -> AsyncIterator[None]:
        if when == "while it starts":
            add(started, folder)
        yield

    app = FastAPI(lifespan=lifespan)
    if when == "before us":
        add(app, folder)
    set_up(app)
    if when == "after us":
        add(app, folder)
    return app


def answers(served: Any, requests: Any = REQUESTS) -> list[Any]:
    told = []
    for method, path in requests:
        response = served.client.request(method, path)
        headers = {name: value.replace(served.url, "") for name, value in response.headers.items()}
        told.append((method, path, response.status_code, response.content, headers))
    return [(*rest, {name: headers[name] for name in headers.keys() - OF_OURS}) for *rest, headers in told]


PAIRS = [
    (host, when)
    for host in TAKE_IT
    for when in WHEN
    # An application that is built asks for no further handlers.
    if not (host.startswith("a page for") and when.startswith("while"))
]


@pytest.mark.parametrize(("host", "when"), PAIRS)
def test_host_that_takes_the_path_keeps_it(set_up: Any, serve_bare: Any, tmp_path: Path, host: str, when: str) -> None:
    folder = tmp_path / "pages"
    folder.mkdir()
    told = []
    for with_us in (False, True):
        app = make_app(TAKE_IT[host], when, set_up if with_us else lambda _: None, folder)
        served = serve_bare(app)
        if when == "while it runs":
            served.get("/metrics")
            TAKE_IT[host](app, folder)
        told.append(answers(served))
    assert told[0] == told[1]


@pytest.mark.parametrize("when", WHEN[:2])
@pytest.mark.parametrize("host", LEAVE_IT)
def test_path_is_ours_where_the_host_has_nothing(
    set_up: Any, serve_bare: Any, tmp_path: Path, host: str, when: str
) -> None:
    served = serve_bare(make_app(LEAVE_IT[host], when, set_up, tmp_path))
    bare = serve_bare(make_app(LEAVE_IT[host], when, lambda _: None, tmp_path))
    response = served.get("/metrics")
    assert (response.status_code, "orchestrator_" in response.text) == (200, True)
    assert served.client.head("/metrics").status_code == 200
    others = [
        ("POST", "/metrics"),
        ("GET", "/metrics/"),
        ("GET", "/nowhere"),
        ("GET", "/METRICS"),
        ("GET", "//metrics"),
    ]
    assert answers(served, others) == answers(bare, others)


def test_default_of_the_router_is_asked_first(set_up: Any, serve_bare: Any) -> None:
    app = FastAPI()
    app.router.default = answer_of_404()
    set_up(app)
    served = serve_bare(app)
    assert "orchestrator_" in served.get("/metrics").text
    assert served.get("/nowhere").json() == {"nothing": "here"}


@pytest.mark.parametrize("host", [*TAKE_IT, *LEAVE_IT])
def test_index_says_whose_the_path_is(set_up: Any, serve_bare: Any, tmp_path: Path, host: str) -> None:
    app = FastAPI()
    set_up(app, OPERATOR_TOKEN=TOKEN)
    {**TAKE_IT, **LEAVE_IT}[host](app, tmp_path)
    served = serve_bare(app)
    is_ours = "orchestrator_" in served.get("/metrics").text
    index = served.get(f"{MOUNT}/", headers={"Authorization": f"Bearer {TOKEN}"}).json()
    assert index["root_metrics"] == ("on" if is_ours else "off: the host answers that path itself")
    assert is_ours is (host in LEAVE_IT)


def test_index_asks_no_route_that_cannot_take_the_path(serve: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    app, asked = FastAPI(), list[str]()
    for number in range(50):
        app.add_api_route(f"/items/{number}", lambda: None)
    served = serve(app)
    matches = APIRoute.matches
    monkeypatch.setattr(APIRoute, "matches", lambda route, scope: asked.append(route.path) or matches(route, scope))
    assert served.face._overview({"type": "http"})["root_metrics"] == "on"
    assert not [path for path in asked if path.startswith("/items/")]


def test_path_of_ours_is_measured_as_ours_and_the_hosts_as_the_hosts(serve: Any) -> None:
    served = serve(FastAPI())
    served.get("/metrics")
    served.get("/nowhere")
    served.expect_requests({("GET", "<unmatched>", "404"): 1})
    assert served.log.lines(path="<unmatched>")
    assert not [line for line in served.log.all_lines() if line.get("path") == "/metrics"]

    app = FastAPI()
    app.add_api_route("/metrics", lambda: "the host's own")
    served = serve(app)
    served.get("/metrics")
    served.expect_requests({("GET", "/metrics", "200"): 1})


def test_path_of_ours_has_its_own_endpoint(serve: Any) -> None:
    served = serve(FastAPI(), INCLUDE_OWN_ENDPOINTS="true")
    served.get("/metrics")
    served.get("/metrics/")
    served.expect_requests({("GET", "/metrics", "200"): 1, ("GET", "<unmatched>", "404"): 1})


def test_handler_of_404_runs_once_for_each_request(set_up: Any, serve_bare: Any) -> None:
    app = FastAPI()
    seen: list[str] = []

    @app.exception_handler(404)
    async def handle(request: Request, _: Exception) -> JSONResponse:
        seen.append(request.url.path)
        return JSONResponse({}, 404 if request.headers.get("accept") == "text/plain" else 200)

    set_up(app)
    served = serve_bare(app)
    assert "orchestrator_" in served.get("/metrics", headers={"Accept": "text/plain"}).text
    assert served.get("/metrics").json() == {}
    assert served.get("/nowhere").json() == {}
    assert seen == ["/metrics", "/metrics", "/nowhere"]


def test_handler_of_404_that_fails_is_answered_as_without_us(set_up: Any, serve_bare: Any) -> None:
    def make() -> FastAPI:
        app = FastAPI()

        @app.exception_handler(404)
        async def handle(*_: Any) -> JSONResponse:
            raise RuntimeError("the handler fails")

        return app

    app = make()
    set_up(app)
    assert answers(serve_bare(app), REQUESTS[:1]) == answers(serve_bare(make()), REQUESTS[:1])
