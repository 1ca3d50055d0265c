"""The extension in a host that loads it by its own contract: eager and lazy, in every shape the host has."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

MOUNT = "/ext/observability"
PROBES = ("/health/live", "/health/ready", "/health/startup")
EAGER = {"ORDINAUT_EXT_ENTRY_EAGER": '{"observability": true}'}
LAZY: dict[str, str] = {}
BOTH_WAYS = pytest.mark.parametrize("environ", [EAGER, LAZY], ids=["eager", "lazy"])
ONLY_FULL = pytest.mark.parametrize("shape", ["full stand-in"], indirect=True)
PACKAGE = Path(__file__).resolve().parents[2] / "ordinaut_ext_observability"
PEER = Path(__file__).parent / "peer"
TRACER = Path(__file__).parent / "tracer"
REQUESTS = "orchestrator_http_requests_total"

RunHost = Callable[..., Any]


def paths(*folders: Path) -> dict[str, str]:
    return {"ORDINAUT_EXT_PATHS": os.pathsep.join(map(str, folders))}


@BOTH_WAYS
def test_metrics_and_probes_answer(run_host: RunHost, environ: dict[str, str]) -> None:
    host = run_host(environ)
    host.load()
    assert {path: host.get(f"{MOUNT}{path}").status_code for path in (*PROBES, "/metrics", "/health")} == {
        **dict.fromkeys(PROBES, 200),
        "/metrics": 200,
        "/health": 200,
    }


@BOTH_WAYS
def test_root_serves_the_metrics_too(run_host: RunHost, environ: dict[str, str]) -> None:
    host = run_host(environ)
    host.load()
    host.get("/tools")
    counted = [({"method": "GET", "endpoint": "/tools", "status_code": "200"}, 1.0)]
    assert host.samples(REQUESTS, "/metrics") == counted
    assert host.samples(REQUESTS) == counted


@BOTH_WAYS
def test_host_tells_that_it_is_loaded(run_host: RunHost, environ: dict[str, str]) -> None:
    host = run_host(environ)
    assert host.extension()["status"]["state"] == ("loaded" if environ is EAGER else "discovered")
    host.load()
    told = host.extension()
    assert (told["status"]["state"], told["source"], told["eager"]) == ("loaded", "entry_point", environ is EAGER)


def test_lazy_answers_the_first_request_with_a_redirect_to_itself(run_host: RunHost) -> None:
    host = run_host(LAZY)
    host.get("/tools")
    first = host.get(f"{MOUNT}/metrics")
    assert (first.status_code, first.headers["location"]) == (307, f"{host.url}{MOUNT}/metrics")
    assert host.get(f"{MOUNT}/metrics").status_code == 200
    assert host.requests() == {}
    host.get("/tools")
    assert host.requests() == {("GET", "/tools", "200"): 1}


@BOTH_WAYS
def test_requests_are_counted_under_route_templates(run_host: RunHost, environ: dict[str, str]) -> None:
    host = run_host(environ)
    host.load()
    for path in ("/extensions", "/extensions", "/tools", "/health"):
        assert host.get(path).status_code == 200
    host.client.post("/extensions")
    host.get("/extensions/none/events/health")
    counted = host.requests()
    (failed,) = [key for key in counted if key[1] == "/extensions/{plugin_id}/events/health"]
    assert counted == {
        ("GET", "/extensions", "200"): 2,
        ("GET", "/tools", "200"): 1,
        ("GET", "/health", "200"): 1,
        ("POST", "/extensions", "405"): 1,
        failed: 1,
    }


@BOTH_WAYS
def test_unknown_paths_share_one_series(run_host: RunHost, environ: dict[str, str]) -> None:
    host = run_host(environ)
    host.load()
    for number in range(20):
        host.get(f"/nowhere/{number}")
        host.get(f"/ext/none-{number}/x")
    assert host.requests() == {("GET", "<unmatched>", "404"): 40}


@BOTH_WAYS
def test_redirect_of_another_lazy_plug_in_is_counted_for_it(run_host: RunHost, environ: dict[str, str]) -> None:
    host = run_host({**environ, **paths(PEER)})
    host.load()
    assert host.get("/ext/peer/items/7").status_code == 307
    assert host.get("/ext/peer/items/7").status_code == 200
    assert host.get("/ext/peer/items/8").status_code == 200
    assert host.requests() == {
        ("GET", "/ext/peer/{path}", "307"): 1,
        ("GET", "/ext/peer/items/{item_id}", "200"): 2,
    }
    assert sorted(
        (labels["plugin_id"], labels["status_code"], value)
        for labels, value in host.samples("orchestrator_plugin_http_requests_total")
    ) == [("peer", "200", 2), ("peer", "307", 1)]


@BOTH_WAYS
def test_ids_are_on_answers_and_lines(run_host: RunHost, environ: dict[str, str], eventually: Any) -> None:
    host = run_host(environ)
    host.load()
    for path in ("/tools", "/nowhere"):
        response = host.get(path, headers={"X-Request-ID": "mine"})
        assert response.headers["x-correlation-id"] == "mine"
        # The full host sets its own, which stays.
        assert response.headers["x-request-id"].startswith("req-" if host.shape == "full stand-in" else "mine")
    assert eventually(lambda: len(host.log_lines(message="request", correlation_id="mine")) == 2)


@BOTH_WAYS
def test_operator_tier_works_and_says_how_it_was_loaded(run_host: RunHost, environ: dict[str, str]) -> None:
    token = "an-operators-token-0123456789"
    host = run_host({**environ, "ORDINAUT_OBS_OPERATOR_TOKEN": token})
    host.load()
    assert host.get(f"{MOUNT}/").status_code == 401
    index = host.get(f"{MOUNT}/", headers={"Authorization": f"Bearer {token}"})
    assert index.status_code == 200
    assert index.json()["loaded"].startswith("eagerly" if environ is EAGER else "lazily")
    assert index.json()["root_metrics"] == "on"


@BOTH_WAYS
def test_operator_tier_without_a_token_is_404_in_json(run_host: RunHost, environ: dict[str, str]) -> None:
    host = run_host(environ)
    host.load()
    response = host.get(f"{MOUNT}/config")
    assert (response.status_code, response.json()["error"]) == (404, "not_found")


@BOTH_WAYS
def test_management_port_opens(
    run_host: RunHost, environ: dict[str, str], free_port: Callable[[], int], eventually: Any
) -> None:
    import httpx

    port = free_port()
    host = run_host({**environ, "ORDINAUT_OBS_MANAGEMENT_PORT": str(port)})
    host.load()

    def answers() -> bool:
        try:
            return httpx.get(f"http://127.0.0.1:{port}/health/ready", trust_env=False, verify=False).status_code == 200
        except httpx.ConnectError:
            return False

    assert eventually(answers)


def test_first_set_up_that_fails_is_made_up_for(run_host: RunHost) -> None:
    host = run_host(EAGER, "first set-up fails")
    assert host.extension()["status"]["state"] == "error"
    host.get("/tools")
    assert host.get(f"{MOUNT}/metrics").status_code == 307
    assert host.get(f"{MOUNT}/metrics").status_code == 200
    assert host.extension()["status"]["state"] == "loaded"
    host.get("/tools")
    assert host.requests()["GET", "/tools", "200"] == 1


@pytest.mark.parametrize("variant", ["second application", "set up twice"])
def test_loaded_twice_counts_once(run_host: RunHost, variant: str, eventually: Any) -> None:
    host = run_host(EAGER, variant)
    host.get("/tools", headers={"X-Request-ID": "mine"})
    assert host.requests() == {("GET", "/tools", "200"): 1}
    assert eventually(lambda: host.log_lines(message="request") != [])
    assert len(host.log_lines(message="request", correlation_id="mine")) == 1


def test_folder_is_loaded_eagerly_where_the_package_is_not_installed(run_host: RunHost) -> None:
    host = run_host(paths(PACKAGE), "no entry points")
    told = host.extension()
    assert (told["source"], told["eager"], told["grants"]) == ("env_dir", True, ["ROUTES"])
    assert told["status"]["state"] == "loaded"
    host.get("/tools")
    assert host.requests()["GET", "/tools", "200"] == 1


def test_entry_point_wins_over_the_folder(run_host: RunHost) -> None:
    host = run_host(paths(PACKAGE))
    told = host.extension()
    assert (told["source"], told["eager"]) == ("entry_point", False)


def test_without_the_grant_of_routes_the_root_still_serves(run_host: RunHost) -> None:
    host = run_host({**EAGER, "ORDINAUT_EXT_ENTRY_GRANTS": '{"observability": ["TOOLS"]}'})
    assert host.get(f"{MOUNT}/metrics").status_code == 404
    host.get("/tools")
    assert [value for labels, value in host.samples(REQUESTS, "/metrics") if labels["endpoint"] == "/tools"] == [1]


def test_scopes_the_host_asks_for_are_refused_and_accepted(run_host: RunHost) -> None:
    host = run_host({**EAGER, "ORDINAUT_REQUIRE_SCOPES": "true"})
    refused = host.get(f"{MOUNT}/metrics")
    assert (refused.status_code, refused.json()["error"]) == (403, "refused_by_host")
    assert host.get(f"{MOUNT}/metrics", headers={"X-Scopes": "ext:observability:routes"}).status_code == 200
    assert host.get("/metrics").status_code == 200


def test_instrumentation_and_middleware_of_another_plug_in_stay(run_host: RunHost) -> None:
    host = run_host({**EAGER, **paths(TRACER)})
    response = host.get("/tools")
    assert response.headers["x-tracer"] == "was here"
    assert "x-correlation-id" in response.headers
    assert ["GET /tools", "/tools"] in host.get("/ext/tracer/spans").json()
    assert host.requests()["GET", "/tools", "200"] == 1


def test_disabled_leaves_the_host_alone(run_host: RunHost) -> None:
    host = run_host({**EAGER, "ORDINAUT_OBS_DISABLED": "1"})
    response = host.get("/tools", headers={"X-Request-ID": "mine"})
    assert response.status_code == 200
    assert "x-correlation-id" not in response.headers
    assert host.get(f"{MOUNT}/metrics").status_code == 404
    assert host.get("/metrics").status_code == 404
    assert host.log_lines() == []


@BOTH_WAYS
def test_answers_of_the_host_are_those_without_us(run_host: RunHost, environ: dict[str, str]) -> None:
    def told(host: Any) -> list[tuple[int, bytes]]:
        host.load()
        answers = [host.client.request(*request) for request in requests]
        return [(answer.status_code, answer.content) for answer in answers]

    requests = [
        ("GET", "/tools"),
        ("GET", "/nowhere"),
        ("GET", "/tools/"),
        ("POST", "/tools"),
        ("OPTIONS", "/tools"),
        ("GET", "/ext/none/x"),
        ("GET", "/docs"),
    ]
    ours = told(run_host(environ))
    without = told(run_host({**EAGER, "ORDINAUT_OBS_DISABLED": "1"}))
    assert ours == without


@BOTH_WAYS
def test_stops_with_the_host_and_writes_its_lines(run_host: RunHost, environ: dict[str, str]) -> None:
    host = run_host(environ)
    host.load()
    host.get("/tools", headers={"X-Request-ID": "the-last"})
    host.stop()
    if environ is EAGER or host.shape != "full stand-in":  # which never tells a lazy plug-in that it stops
        assert len(host.log_lines(message="request", correlation_id="the-last")) == 1


@ONLY_FULL
def test_request_that_the_host_blocks_is_counted_with_an_id(run_host: RunHost) -> None:
    host = run_host(EAGER)
    response = host.get("/tools", headers={"User-Agent": ""})
    assert (response.status_code, response.text) == (500, "Internal Server Error")
    assert response.headers["x-correlation-id"]
    assert host.requests() == {("GET", "<unmatched>", "500"): 1}


@ONLY_FULL
def test_request_for_a_host_name_it_does_not_trust_is_counted(run_host: RunHost) -> None:
    host = run_host({**EAGER, "ENVIRONMENT": "production"})
    assert host.get("/tools", headers={"Host": "api:8080"}).status_code == 400
    assert host.requests() == {("GET", "<unmatched>", "400"): 1}


def test_real_host_takes_part(real_host_or_skip: Path) -> None:
    """Every test above has then run against it."""
    assert (real_host_or_skip / "ordinaut" / "api" / "main.py").is_file()


IMPORT = """
import asyncio, json, sys
{imports}
import httpx

async def ask():
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://host") as client:
        told = (await client.get("/extensions")).json()
        page = await client.get("/ext/observability/metrics")
    return [plugin["status"]["state"] for plugin in told if plugin["id"] == "observability"], page.status_code

print(json.dumps(asyncio.run(ask())))
"""


def test_needs_no_event_loop_to_be_set_up_and_no_lifespan_to_answer(shape: str, start_child: Any) -> None:
    create = "lean" if shape == "lean stand-in" else "full"
    imports = (
        "from ordinaut.api.main import app"
        if shape == "real host"
        else f"from ordinaut_ext_observability.demo.standin_host import create_{create}_app; app = create_{create}_app()"
    )
    cwd = Path(os.environ["ORDINAUT_HOST_DIR"]) if shape == "real host" else None
    child = start_child("-c", IMPORT.format(imports=imports), environ=EAGER, cwd=cwd)
    assert child.process.wait(20) == 0, child.err
    assert json.loads(child.out.splitlines()[-1]) == [["loaded"], 200]
