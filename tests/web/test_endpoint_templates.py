"""The `endpoint` label: the full template of the route that answered, whatever way led to it, and never a raw path."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from fastapi import APIRouter, FastAPI, WebSocket
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Host, Mount, Route
from starlette.staticfiles import StaticFiles

from ordinaut_ext_observability.web.route_templates import list_routes


def make_items_router() -> APIRouter:
    router = APIRouter()

    @router.get("/items/{item_id}")
    async def show(item_id: str) -> dict[str, str]:
        return {"id": item_id}

    return router


async def plain(request: Request) -> PlainTextResponse:
    return PlainTextResponse("plain")


def test_route_of_the_application(serve: Any) -> None:
    app = FastAPI()
    app.add_api_route("/tasks/{task_id}/runs", lambda task_id: task_id)
    served = serve(app)
    served.get("/tasks/41/runs")
    served.get("/tasks/42/runs")
    served.expect_requests({("GET", "/tasks/{task_id}/runs", "200"): 2})


def test_static_path_beside_one_with_a_parameter(serve: Any) -> None:
    app = FastAPI()
    app.add_api_route("/tasks/recent", lambda: "recent")
    app.add_api_route("/tasks/{task_id}", lambda task_id: task_id)
    served = serve(app)
    served.get("/tasks/recent")
    served.get("/tasks/41")
    served.expect_requests({("GET", "/tasks/recent", "200"): 1, ("GET", "/tasks/{task_id}", "200"): 1})


def test_nested_routers_with_prefixes(serve: Any) -> None:
    inner, outer, app = APIRouter(prefix="/inner"), APIRouter(prefix="/outer"), FastAPI()
    inner.add_api_route("/{name}", lambda name: name)
    outer.include_router(inner, prefix="/between")
    app.include_router(outer, prefix="/v1")
    served = serve(app)
    served.get("/v1/outer/between/inner/secret")
    served.expect_requests({("GET", "/v1/outer/between/inner/{name}", "200"): 1})


def test_prefix_with_a_parameter(serve: Any) -> None:
    app = FastAPI()
    app.include_router(make_items_router(), prefix="/tenants/{tenant}")
    served = serve(app)
    served.get("/tenants/acme/items/7")
    served.expect_requests({("GET", "/tenants/{tenant}/items/{item_id}", "200"): 1})


def test_one_router_under_two_prefixes(serve: Any) -> None:
    router, app = make_items_router(), FastAPI()
    app.include_router(router, prefix="/v1")
    app.include_router(router, prefix="/v2")
    served = serve(app)
    for path in ("/v1/items/1", "/v2/items/2", "/v1/items/3"):
        served.get(path)
    served.expect_requests({("GET", "/v1/items/{item_id}", "200"): 2, ("GET", "/v2/items/{item_id}", "200"): 1})


def test_router_included_at_the_root_of_a_prefix(serve: Any) -> None:
    router, app = APIRouter(), FastAPI()
    router.add_api_route("", lambda: "all")
    router.add_api_route("/", lambda: "slash")
    app.include_router(router, prefix="/things")
    served = serve(app)
    served.get("/things")
    served.get("/things/")
    served.expect_requests({("GET", "/things", "200"): 1, ("GET", "/things/", "200"): 1})


def test_mounted_fastapi(serve: Any) -> None:
    sub, app = FastAPI(), FastAPI()
    sub.include_router(make_items_router())
    app.mount("/sub", sub)
    served = serve(app)
    served.get("/sub/items/secret")
    served.expect_requests({("GET", "/sub/items/{item_id}", "200"): 1})


def test_router_with_a_prefix_in_a_mounted_fastapi(serve: Any) -> None:
    sub, app = FastAPI(), FastAPI()
    sub.include_router(make_items_router(), prefix="/v1")
    sub.include_router(make_items_router(), prefix="/v2")
    app.mount("/sub", sub)
    served = serve(app)
    served.get("/sub/v1/items/1")
    served.get("/sub/v2/items/1")
    served.expect_requests({("GET", "/sub/v1/items/{item_id}", "200"): 1, ("GET", "/sub/v2/items/{item_id}", "200"): 1})


def test_unknown_path_in_a_mounted_fastapi(serve: Any) -> None:
    sub, app = FastAPI(), FastAPI()
    app.mount("/sub", sub)
    served = serve(app)
    served.get("/sub/secret-1")
    served.get("/sub/secret-2/more")
    served.expect_requests({("GET", "/sub/{path}", "404"): 2})


def test_nested_mounts(serve: Any) -> None:
    innermost, middle, app = FastAPI(), FastAPI(), FastAPI()
    innermost.include_router(make_items_router())
    middle.mount("/b", innermost)
    app.mount("/a", middle)
    served = serve(app)
    served.get("/a/b/items/secret")
    served.expect_requests({("GET", "/a/b/items/{item_id}", "200"): 1})


def test_the_same_application_mounted_twice(serve: Any) -> None:
    sub, app = FastAPI(), FastAPI()
    sub.include_router(make_items_router())
    app.mount("/a", sub)
    app.mount("/b", sub)
    served = serve(app)
    for path in ("/a/items/1", "/b/items/1", "/a/items/2"):
        served.get(path)
    served.expect_requests({("GET", "/a/items/{item_id}", "200"): 2, ("GET", "/b/items/{item_id}", "200"): 1})


def test_mount_with_a_parameter_does_not_leak_its_value(serve: Any) -> None:
    sub, app = FastAPI(), FastAPI()
    sub.include_router(make_items_router())
    app.mount("/tenants/{tenant}", sub)
    served = serve(app)
    for tenant in ("acme", "globex", "with space"):
        served.get(f"/tenants/{tenant}/items/1")
    served.expect_requests({("GET", "/tenants/{tenant}/items/{item_id}", "200"): 3})


def test_nested_mounts_with_parameters_do_not_leak_their_values(serve: Any) -> None:
    sub, app = FastAPI(), FastAPI()
    sub.include_router(make_items_router())
    inner = Starlette(routes=[Mount("/{project}", app=sub)])
    app.mount("/tenants/{tenant}", inner)
    served = serve(app)
    served.get("/tenants/acme/apollo/items/1")
    served.get("/tenants/globex/gemini/items/2")
    served.expect_requests({("GET", "/tenants/{tenant}/{project}/items/{item_id}", "200"): 2})


def test_unknown_path_in_a_mount_with_a_parameter(serve: Any) -> None:
    app = FastAPI()
    app.mount("/tenants/{tenant}", FastAPI())
    served = serve(app)
    served.get("/tenants/acme/nothing")
    served.expect_requests({("GET", "/tenants/{tenant}/{path}", "404"): 1})


def test_application_mounted_in_another_keeps_its_templates_beside_a_catch_all(set_up: Any, serve_bare: Any) -> None:
    sub, measured, outer = FastAPI(), FastAPI(), FastAPI()
    sub.include_router(make_items_router())
    measured.include_router(make_items_router(), prefix="/v1")
    measured.mount("/sub", sub)
    face, _ = set_up(measured)
    measured.add_api_route("/{rest:path}", lambda rest: rest)
    outer.mount("/outer", measured)
    served = serve_bare(outer)
    for path in ("/outer/v1/items/1", "/outer/sub/items/1", "/outer/else/where"):
        assert served.get(path).status_code == 200
    served.runtime = face._runtime
    served.expect_requests(
        {
            ("GET", "/v1/items/{item_id}", "200"): 1,
            ("GET", "/sub/items/{item_id}", "200"): 1,
            ("GET", "/{rest}", "200"): 1,
        }
    )


def test_mount_at_the_root(serve: Any) -> None:
    sub, app = FastAPI(), FastAPI()
    sub.include_router(make_items_router())
    app.add_api_route("/own/{name}", lambda name: name)
    served = serve(app)
    app.mount("/", sub)
    served.get("/own/1")
    served.get("/items/1")
    served.expect_requests({("GET", "/own/{name}", "200"): 1, ("GET", "/items/{item_id}", "200"): 1})


def test_plain_routes_in_a_mount(serve: Any) -> None:
    app = FastAPI()
    app.router.routes.append(Mount("/old", routes=[Route("/page/{name}", plain), Route("/other", plain)]))
    served = serve(app)
    served.get("/old/page/secret")
    served.expect_requests({("GET", "/old/page/{name}", "200"): 1})


def test_static_files(serve: Any, tmp_path: Path) -> None:
    (tmp_path / "style.css").write_text("body {}")
    app = FastAPI()
    app.mount("/static", StaticFiles(directory=tmp_path))
    served = serve(app)
    assert served.get("/static/style.css").text == "body {}"
    served.get("/static/secret.css")
    served.expect_requests({("GET", "/static/{path}", "200"): 1, ("GET", "/static/{path}", "404"): 1})


def test_mounted_asgi_function(serve: Any) -> None:
    async def answer(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"raw"})

    app = FastAPI()
    app.mount("/raw", answer)
    served = serve(app)
    assert served.get("/raw/secret/path").content == b"raw"
    served.expect_requests({("GET", "/raw/{path}", "200"): 1})


@pytest.mark.filterwarnings("ignore:Duplicate Operation ID")  # test_tiers.py asks for none
@pytest.mark.parametrize("path", ["/docs", "/redoc", "/openapi.json", "/docs/oauth2-redirect"])
def test_pages_of_the_documentation(serve: Any, path: str) -> None:
    served = serve(FastAPI())
    served.get(path)
    served.expect_requests({("GET", path, "200"): 1})


def test_plain_starlette_routes_with_one_function(serve: Any) -> None:
    app = FastAPI()
    app.router.routes.append(Route("/first/{name}", plain))
    app.router.routes.append(Route("/second/{name}", plain))
    served = serve(app)
    served.get("/first/a")
    served.get("/second/a")
    served.get("/first/b")
    served.expect_requests({("GET", "/first/{name}", "200"): 2, ("GET", "/second/{name}", "200"): 1})


@pytest.mark.parametrize(("route", "path"), [("/tasks/{task_id}", "/tasks/41/"), ("/tasks/{task_id}/", "/tasks/41")])
def test_slash_redirect_belongs_to_the_route_it_leads_to(serve: Any, route: str, path: str) -> None:
    app = FastAPI()
    app.add_api_route(route, lambda task_id: task_id)
    served = serve(app)
    assert served.get(path).status_code == 307
    served.expect_requests({("GET", route, "307"): 1})


def test_slash_redirect_in_an_included_router(serve: Any) -> None:
    app = FastAPI()
    app.include_router(make_items_router(), prefix="/v1")
    served = serve(app)
    assert served.get("/v1/items/secret/?q=1").status_code == 307
    served.expect_requests({("GET", "/v1/items/{item_id}", "307"): 1})


def test_slash_redirect_in_a_mount_does_not_leak_the_path(serve: Any) -> None:
    sub, app = FastAPI(), FastAPI()
    sub.include_router(make_items_router())
    app.mount("/tenants/{tenant}", sub)
    served = serve(app)
    assert served.get("/tenants/acme/items/secret/").status_code == 307
    served.expect("orchestrator_http_requests_total", 1, status_code="307")
    ((_, endpoint, _),) = served.requests()
    assert "acme" not in endpoint
    assert "secret" not in endpoint


def test_redirect_of_a_handler_belongs_to_its_own_route(serve: Any) -> None:
    from fastapi.responses import RedirectResponse

    app = FastAPI()
    app.add_api_route("/old/{name}", lambda name: RedirectResponse(f"/new/{name}"))
    served = serve(app)
    assert served.get("/old/secret").status_code == 307
    served.expect_requests({("GET", "/old/{name}", "307"): 1})


def test_wrong_method_belongs_to_the_route(serve: Any) -> None:
    app = FastAPI()
    app.add_api_route("/tasks/{task_id}", lambda task_id: task_id)
    served = serve(app)
    assert served.post("/tasks/41").status_code == 405
    served.expect_requests({("POST", "/tasks/{task_id}", "405"): 1})


def test_wrong_method_in_an_included_router(serve: Any) -> None:
    app = FastAPI()
    app.include_router(make_items_router(), prefix="/v1")
    served = serve(app)
    assert served.client.delete("/v1/items/secret").status_code == 405
    served.expect_requests({("DELETE", "/v1/items/{item_id}", "405"): 1})


def test_route_added_after_start(serve: Any) -> None:
    app = FastAPI()
    served = serve(app)
    served.get("/later/1")
    app.add_api_route("/later/{name}", lambda name: name)
    served.get("/later/1")
    served.expect_requests({("GET", "<unmatched>", "404"): 1, ("GET", "/later/{name}", "200"): 1})


def test_router_included_after_start(serve: Any) -> None:
    app = FastAPI()
    served = serve(app)
    served.get("/docs")
    app.include_router(make_items_router(), prefix="/late")
    served.get("/late/items/1")
    served.expect_requests({("GET", "/docs", "200"): 1, ("GET", "/late/items/{item_id}", "200"): 1})


def test_unknown_paths_share_one_endpoint(serve: Any) -> None:
    served = serve(FastAPI())
    for number in range(150):
        served.get(f"/unknown/{number}")
    served.expect_requests({("GET", "<unmatched>", "404"): 150})


@pytest.mark.parametrize("path", ["/ext/no-such-plugin/x", "/ext/", "/%2e%2e/etc", "/%FF%FE", "/a" * 2000])
def test_odd_unknown_paths_are_unmatched(serve: Any, path: str) -> None:
    served = serve(FastAPI())
    served.get(path)
    served.expect_requests({("GET", "<unmatched>", "404"): 1})
    assert served.samples("orchestrator_plugin_http_requests_total") == []


def test_methods_that_http_does_not_define_share_one_label(serve: Any) -> None:
    app = FastAPI()
    app.add_api_route("/tasks/{task_id}", lambda task_id: task_id)
    served = serve(app, {"http": "h11"})
    for number in range(20):
        served.client.request(f"X{number}", "/tasks/1")
    served.client.request("PROPFIND", "/tasks/1")
    served.expect_requests({("_OTHER", "/tasks/{task_id}", "405"): 21})


def test_head_is_a_method_of_its_own(serve: Any) -> None:
    app = FastAPI()
    app.add_api_route("/page/{name}", lambda name: name, methods=["GET", "HEAD"])
    served = serve(app)
    served.client.head("/page/1")
    served.get("/page/1")
    served.expect_requests({("HEAD", "/page/{name}", "200"): 1, ("GET", "/page/{name}", "200"): 1})


def test_options_of_cors_is_unmatched(serve: Any) -> None:
    """A preflight is answered before the router, so there is no route to name."""
    from starlette.middleware.cors import CORSMiddleware

    app = FastAPI()
    app.add_api_route("/page/{name}", lambda name: name)
    app.add_middleware(CORSMiddleware, allow_origins=["*"])
    served = serve(app)
    headers = {"Origin": "http://x", "Access-Control-Request-Method": "GET"}
    assert served.client.options("/page/secret", headers=headers).status_code == 200
    served.expect_requests({("OPTIONS", "<unmatched>", "200"): 1})


@pytest.mark.filterwarnings("ignore:The `root_path` parameter is deprecated")
def test_root_path_of_the_application(serve: Any) -> None:
    app = FastAPI(root_path="/proxy")
    app.add_api_route("/tasks/{task_id}", lambda task_id: task_id)
    served = serve(app)
    served.get("/tasks/41")
    served.get("/proxy/tasks/42")
    served.expect_requests({("GET", "/tasks/{task_id}", "200"): 2})


def test_root_path_of_the_server(serve: Any) -> None:
    sub, app = FastAPI(), FastAPI()
    sub.include_router(make_items_router())
    app.add_api_route("/tasks/{task_id}", lambda task_id: task_id)
    app.mount("/tenants/{tenant}", sub)
    served = serve(app, {"root_path": "/proxy"})
    served.get("/tasks/41")
    served.get("/tenants/acme/items/1")
    served.expect_requests(
        {("GET", "/tasks/{task_id}", "200"): 1, ("GET", "/tenants/{tenant}/items/{item_id}", "200"): 1}
    )


def test_slash_redirect_under_a_root_path(serve: Any) -> None:
    app = FastAPI()
    app.add_api_route("/tasks/{task_id}", lambda task_id: task_id)
    served = serve(app, {"root_path": "/proxy"})
    assert served.get("/tasks/41/").status_code == 307
    served.expect_requests({("GET", "/tasks/{task_id}", "307"): 1})


def test_path_convertor(serve: Any) -> None:
    app = FastAPI()
    app.add_api_route("/files/{p:path}", lambda p: p)
    app.add_api_route("/numbers/{n:int}", lambda n: n)
    served = serve(app)
    served.get("/files/a/b/c.txt")
    served.get("/numbers/7")
    served.expect_requests({("GET", "/files/{p}", "200"): 1, ("GET", "/numbers/{n}", "200"): 1})


def test_host_routing_does_not_leak_the_path(serve: Any) -> None:
    sub, app = FastAPI(), FastAPI()
    sub.include_router(make_items_router())
    app.router.routes.append(Host("{tenant}.example.com", app=sub))
    served = serve(app)
    assert served.get("/items/secret", headers={"Host": "acme.example.com"}).status_code == 200
    served.expect("orchestrator_http_requests_total", 1, status_code="200")
    ((_, endpoint, _),) = served.requests()
    assert endpoint in ("/items/{item_id}", "<unmatched>")


def test_more_endpoints_than_the_budget(serve: Any) -> None:
    app = FastAPI()
    for number in range(8):
        app.add_api_route(f"/page{number}", lambda: "page")
    served = serve(app, LABEL_BUDGETS='{"endpoint": 5}')
    for number in range(8):
        served.get(f"/page{number}")
    served.expect("orchestrator_http_requests_total", 3, endpoint="__other__")
    served.expect("orchestrator_http_requests_total", 8)
    served.expect(
        "ordinaut_observability_label_overflow_total", 3, metric="orchestrator_http_requests_total", label="endpoint"
    )


def test_plugin_is_named_for_paths_under_ext(serve: Any) -> None:
    app = FastAPI()
    app.include_router(make_items_router(), prefix="/ext/shop")
    served = serve(app)
    served.get("/ext/shop/items/1")
    served.get("/ext/shop/items/1/")
    served.expect("orchestrator_plugin_http_requests_total", 1, plugin_id="shop", status_code="200")
    served.expect("orchestrator_plugin_http_requests_total", 1, plugin_id="shop", status_code="307")
    served.expect("orchestrator_plugin_http_request_duration_seconds_count", 2, plugin_id="shop")


def test_websocket_routes(serve: Any) -> None:
    from websockets.sync.client import connect

    async def talk(websocket: WebSocket, room: str) -> None:
        await websocket.accept()
        await websocket.close()

    router, sub, app = APIRouter(), FastAPI(), FastAPI()
    router.add_api_websocket_route("/rooms/{room}", talk)
    sub.include_router(router)
    app.include_router(router, prefix="/v1")
    app.mount("/tenants/{tenant}", sub)
    served = serve(app)
    for path in ("/v1/rooms/secret", "/tenants/acme/rooms/secret"):
        with connect(f"ws://127.0.0.1:{served.port}{path}"):
            pass
    served.expect("orchestrator_websocket_connections_total", 2)
    endpoints = {labels["endpoint"] for labels, _ in served.samples("orchestrator_websocket_connections_total")}
    assert endpoints == {"/v1/rooms/{room}", "/tenants/{tenant}/rooms/{room}"}


def test_routes_of_ours_are_not_made_before_they_are_asked(serve: Any) -> None:
    """Making all takes 30 ms: neither a host's start nor its first requests wait for it."""
    app = FastAPI()
    app.add_api_route("/tasks", lambda: "tasks")
    served = serve(app, INCLUDE_OWN_ENDPOINTS="true")
    for path in ("/tasks", "/nowhere", "/ext/observability/health/live"):
        served.get(path)
    answered = [("/tasks", "200"), ("<unmatched>", "404"), ("/ext/observability/health/live", "200")]
    served.expect_requests({("GET", path, status): 1 for path, status in answered})
    assert ("GET", "/tasks") in [*list_routes(app)]
    routers = (app.router, *(vars(each).get("original_router", APIRouter()) for each in app.routes))
    ours = [each for router in routers for each in router.routes if type(each).__name__ == "ObservabilityRoute"]
    assert len(ours) > 50
    assert {each.path for each in ours if "_described" not in vars(each)} <= {"/ext/observability/health/live"}
