"""`mount(app)`: one line for a FastAPI application that is no Ordinaut."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi import APIRouter, FastAPI
from starlette.applications import Starlette
from starlette.staticfiles import StaticFiles

from ordinaut_ext_observability import mount
from ordinaut_ext_observability.correlation.context import current_correlation_id
from ordinaut_ext_observability.extension import get_extension

MOUNT = "/ext/observability"


@pytest.fixture
def serve_mounted(clean_process: pytest.MonkeyPatch, serve_bare: Any) -> Iterator[Any]:
    """Serves an application that mounted us itself; its runtime is stopped at the end."""
    with contextlib.ExitStack() as stack:

        def run(app: FastAPI, measured: FastAPI | None = None) -> Any:
            served = serve_bare(app)
            face = getattr((measured or app).state, "ordinaut_observability", None)
            if face is not None:
                stack.callback(face._runtime.stop)
                served.runtime = face._runtime
            return served

        yield run


def make_app(**options: Any) -> FastAPI:
    app = FastAPI(**options)
    app.add_api_route("/tasks/{task_id}", lambda task_id: task_id)
    return app


def test_one_line_measures_and_serves(serve_mounted: Any) -> None:
    app = make_app()
    mount(app)
    served = serve_mounted(app)
    assert served.get("/tasks/1").headers["x-correlation-id"]
    served.expect_requests({("GET", "/tasks/{task_id}", "200"): 1})
    for path in ("/metrics", f"{MOUNT}/metrics"):
        assert 'endpoint="/tasks/{task_id}"' in served.get(path).text
    assert served.get(f"{MOUNT}/health/ready").status_code == 200


def test_mount_path_can_be_chosen(serve_mounted: Any) -> None:
    app = make_app()
    mount(app, "/internal/watch/")
    served = serve_mounted(app)
    assert served.get("/internal/watch/health/live").status_code == 200
    assert served.get(f"{MOUNT}/health/live").status_code == 404
    served.expect_requests({("GET", "<unmatched>", "404"): 1})


def test_mounting_twice_is_mounting_once(serve_mounted: Any) -> None:
    app = make_app()
    mount(app)
    routes = list(app.router.routes)
    mount(app)
    mount(app, "/elsewhere")
    assert app.router.routes == routes
    served = serve_mounted(app)
    served.get("/tasks/1")
    served.expect_requests({("GET", "/tasks/{task_id}", "200"): 1})


def test_mounting_what_a_loader_has_set_up_does_nothing(serve_mounted: Any) -> None:
    app = make_app()
    app.include_router(get_extension().setup(app=app, mount_path=MOUNT), prefix=MOUNT)  # type: ignore[arg-type]
    routes = list(app.router.routes)
    mount(app)
    assert app.router.routes == routes
    assert serve_mounted(app).get(f"{MOUNT}/health/live").status_code == 200


def test_mounted_in_the_lifespan(serve_mounted: Any) -> None:
    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        mount(app)
        yield

    served = serve_mounted(make_app(lifespan=lifespan))
    assert served.get("/tasks/1").headers["x-correlation-id"]
    assert 'endpoint="/tasks/{task_id}"' in served.get("/metrics").text
    assert served.get(f"{MOUNT}/health/ready").status_code == 200


def test_mounted_while_it_runs(serve_mounted: Any, serve_bare: Any) -> None:
    app = make_app()
    served = serve_bare(app)
    served.get("/tasks/1")
    mount(app)
    try:
        served.get("/tasks/2")
        assert 'endpoint="/tasks/{task_id}",method="GET",status_code="200"} 1.0' in served.get("/metrics").text
    finally:
        app.state.ordinaut_observability._runtime.stop()


def test_application_behind_a_root_path(serve_mounted: Any) -> None:
    app = make_app()
    app.root_path = "/api"
    mount(app)
    served = serve_mounted(app)
    for path in ("/tasks/1", "/api/tasks/1"):
        assert served.get(path).status_code == 200
    for path in ("/metrics", "/api/metrics", f"{MOUNT}/metrics", f"/api{MOUNT}/metrics"):
        assert 'endpoint="/tasks/{task_id}"' in served.get(path).text
    served.expect_requests({("GET", "/tasks/{task_id}", "200"): 2})


def test_application_mounted_in_another(serve_mounted: Any) -> None:
    """It is measured by itself: its endpoints have the names it gave them."""
    app, outer = make_app(), make_app()
    mount(app)
    outer.mount("/inner", app)
    served = serve_mounted(outer, app)
    assert "x-correlation-id" not in served.get("/tasks/1").headers
    assert served.get("/inner/tasks/1").headers["x-correlation-id"]
    for path in ("/inner/metrics", f"/inner{MOUNT}/metrics"):
        assert 'endpoint="/tasks/{task_id}"' in served.get(path).text
    assert served.get("/metrics").status_code == 404
    served.expect_requests({("GET", "/tasks/{task_id}", "200"): 1})


def test_application_mounted_in_another_that_is_measured_too(serve_mounted: Any) -> None:
    """A request has the same ids for both."""
    app, outer = make_app(), make_app()
    app.add_api_route("/id", current_correlation_id)
    mount(app)
    mount(outer)
    outer.mount("/inner", app)
    answer = serve_mounted(outer).get("/inner/id")
    app.state.ordinaut_observability._runtime.stop()
    assert {answer.json()} == set(answer.headers.get_list("x-request-id", split_commas=True))
    assert {answer.json()} == set(answer.headers.get_list("x-correlation-id", split_commas=True))


@pytest.mark.parametrize("catch_all", ["route", "mount"])
def test_catch_all_route_that_stood_before_does_not_hide_the_endpoints(
    serve_mounted: Any, tmp_path: Path, catch_all: str
) -> None:
    app = make_app()
    if catch_all == "route":
        app.add_api_route("/{path:path}", lambda path: path)
    else:
        (tmp_path / "index.html").write_text("page")
        app.mount("/", StaticFiles(directory=tmp_path, html=True))
    mount(app)
    served = serve_mounted(app)
    assert served.get(f"{MOUNT}/health/live").json() == {"status": "ok"}
    assert served.get("/tasks/1").json() == "1"
    assert served.get("/").status_code == 200
    assert "python_info" not in served.get("/metrics").text


def test_disabled_it_changes_nothing(clean_process: pytest.MonkeyPatch, serve_mounted: Any) -> None:
    clean_process.setenv("ORDINAUT_OBS_DISABLED", "1")
    app = make_app()
    routes, attributes = list(app.router.routes), set(vars(app))
    mount(app)
    assert (app.router.routes, set(vars(app)), vars(app.state)) == (routes, attributes, {"_state": {}})
    served = serve_mounted(app)
    assert "x-correlation-id" not in served.get("/tasks/1").headers
    assert served.get("/metrics").status_code == 404


@pytest.mark.parametrize("other", [None, "app", FastAPI, Starlette(), APIRouter(), lambda scope, receive, send: None])
def test_what_is_no_fastapi_application_is_refused(clean_process: pytest.MonkeyPatch, other: Any) -> None:
    with pytest.raises(TypeError, match="mount takes a FastAPI application, got "):
        mount(other)


@pytest.mark.parametrize("path", [5, None, b"/watch"])
def test_mount_path_that_is_no_text_is_refused(clean_process: pytest.MonkeyPatch, path: Any) -> None:
    with pytest.raises(TypeError, match=r"mount_path is a path such as '/ext/observability', got "):
        mount(make_app(), path)


@pytest.mark.parametrize("path", ["", "/", "//", "observability", "http://127.0.0.1/ext"])
def test_mount_path_that_names_no_path_is_refused_and_changes_nothing(
    clean_process: pytest.MonkeyPatch, path: str
) -> None:
    app = make_app()
    routes = list(app.router.routes)
    with pytest.raises(ValueError, match=r"mount_path is a path such as '/ext/observability', got "):
        mount(app, path)
    assert app.router.routes == routes
    assert "ordinaut_observability" not in app.state._state
