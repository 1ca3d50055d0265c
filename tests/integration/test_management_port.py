"""The management port: metrics and probes on a thread, a socket and an event loop of their own."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest

from fastapi import FastAPI
from prometheus_client.parser import text_string_to_metric_families
from starlette.middleware.trustedhost import TrustedHostMiddleware

MOUNT = "/ext/observability"
TOKEN = "an-operators-token-0123456789"
SCRAPE_TOKEN = "a-scrapers-token-0123456789"
THREAD = "observability-management"
PUBLIC = ("/health/live", "/health/ready", "/health/startup")
SCRAPE = ("/metrics", "/health")
OPERATOR = ("/", "/config")


def make_app() -> FastAPI:
    app = FastAPI()
    app.state.release = threading.Event()
    app.state.blocked = threading.Event()

    @app.get("/tasks/{task_id}")
    async def show(task_id: str) -> str:
        return task_id

    @app.get("/block")
    async def block() -> str:
        """Holds the event loop, as code without an await does."""
        app.state.blocked.set()
        app.state.release.wait(10)
        return "released"

    return app


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def management_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == THREAD]


def port_of(served: Any) -> int:
    return int(served.runtime.ports.notes()["management_port"].rpartition(":")[2])


def accepts(host: str, port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection((host, port), 1.0):
        return True
    return False


@pytest.fixture
def managed(serve: Any) -> Iterator[Callable[..., tuple[Any, httpx.Client]]]:
    """Serves an application with a management port; gives the server and a client of that port."""
    with contextlib.ExitStack() as stack:

        def run(app: FastAPI | None = None, **settings: str) -> tuple[Any, httpx.Client]:
            served = serve(app or make_app(), **{"MANAGEMENT_PORT": "0", **settings})
            base = f"http://127.0.0.1:{port_of(served)}"
            return served, stack.enter_context(httpx.Client(base_url=base, timeout=5, trust_env=False, verify=False))

        yield run


@contextlib.contextmanager
def blocked_loop(served: Any) -> Iterator[None]:
    """The host's event loop held by a request until the end of the block."""
    state = served.app.state
    thread = threading.Thread(target=lambda: served.get("/block"))
    thread.start()
    try:
        assert state.blocked.wait(5)
        yield
    finally:
        state.release.set()
        thread.join(5)


def test_port_is_off_by_default(serve: Any) -> None:
    served = serve(make_app(), OPERATOR_TOKEN=TOKEN)
    assert served.get("/tasks/1").status_code == 200
    assert management_threads() == []
    index = served.get(f"{MOUNT}/", headers=bearer(TOKEN)).json()
    assert index["management_port"] == "off: ORDINAUT_OBS_MANAGEMENT_PORT is not set"


def test_configured_port_is_the_one_that_is_opened(serve: Any, free_port: Callable[[], int]) -> None:
    port = free_port()
    served = serve(make_app(), OPERATOR_TOKEN=TOKEN, MANAGEMENT_PORT=str(port))
    assert httpx.get(f"http://127.0.0.1:{port}/health/live", trust_env=False, verify=False).status_code == 200
    index = served.get(f"{MOUNT}/", headers=bearer(TOKEN)).json()
    assert index["management_port"] == f"http://127.0.0.1:{port}"
    assert served.log.line(event_type="management_port")["url"] == f"http://127.0.0.1:{port}"


def test_public_and_scrape_tiers_are_served_at_the_root_and_under_the_mount_path(managed: Any) -> None:
    _, client = managed()
    paths = [f"{prefix}{path}" for prefix in ("", MOUNT) for path in PUBLIC + SCRAPE]
    assert {path: client.get(path).status_code for path in paths} == dict.fromkeys(paths, 200)


def test_operator_endpoints_are_not_there_whatever_the_token(managed: Any) -> None:
    served, client = managed(OPERATOR_TOKEN=TOKEN)
    for path in OPERATOR:
        assert served.get(f"{MOUNT}{path}", headers=bearer(TOKEN)).status_code == 200
        for prefix in ("", MOUNT):
            response = client.get(f"{prefix}{path}", headers=bearer(TOKEN))
            assert (response.status_code, response.json()["error"]) == (404, "not_found"), f"{prefix}{path}"


def test_nothing_of_the_host_is_served(managed: Any) -> None:
    _, client = managed()
    for path in ("/tasks/1", "/docs", "/openapi.json", "/nowhere"):
        response = client.get(path)
        assert (response.status_code, response.json()["error"]) == (404, "not_found"), path


def test_scrape_shows_the_hosts_requests_and_not_its_own(managed: Any) -> None:
    served, client = managed()
    served.get("/tasks/1")
    served.expect("orchestrator_http_requests_total", 1)  # it is counted once it is answered
    for _ in range(2):
        page = client.get("/metrics").text
    requests = [
        sample
        for family in text_string_to_metric_families(page)
        for sample in family.samples
        if sample.name == "orchestrator_http_requests_total"
    ]
    assert [(sample.labels["endpoint"], sample.value) for sample in requests] == [("/tasks/{task_id}", 1)]


def test_scrape_token_is_asked_for_here_too(managed: Any) -> None:
    _, client = managed(SCRAPE_TOKEN=SCRAPE_TOKEN)
    for path in SCRAPE:
        assert client.get(path).status_code == 401
        assert client.get(path, headers=bearer(SCRAPE_TOKEN)).status_code == 200
    assert client.get("/health/live").status_code == 200


def test_allow_list_holds_here_too(managed: Any) -> None:
    _, client = managed(SCRAPE_ALLOW="10.0.0.0/8")
    assert [client.get(path).status_code for path in SCRAPE] == [403, 403]


def test_only_loopback_is_listened_on_by_default(managed: Any) -> None:
    served, _ = managed()
    port = port_of(served)
    assert accepts("127.0.0.1", port)
    assert not accepts("127.0.0.2", port)


def test_other_address_is_listened_on_when_the_setting_says_so(managed: Any) -> None:
    served, _ = managed(MANAGEMENT_HOST="0.0.0.0")
    assert accepts("127.0.0.2", port_of(served))


def test_ipv6_address_gives_a_usable_url(serve: Any) -> None:
    try:
        with socket.create_server(("::1", 0), family=socket.AF_INET6):
            pass
    except OSError as error:
        pytest.skip(f"no IPv6 loopback here: {error}")
    served = serve(make_app(), MANAGEMENT_PORT="0", MANAGEMENT_HOST="::1")
    assert (
        httpx.get(
            f"{served.runtime.ports.notes()['management_port']}/health/live", trust_env=False, verify=False
        ).status_code
        == 200
    )


def test_trusted_host_check_of_the_host_does_not_reach_it(managed: Any) -> None:
    app = make_app()
    app.add_middleware(TrustedHostMiddleware, allowed_hosts=["example.com"])
    served, client = managed(app)
    assert served.get(f"{MOUNT}/metrics").status_code == 400
    assert client.get("/metrics").status_code == 200


def test_answers_while_the_hosts_loop_is_blocked(managed: Any) -> None:
    served, client = managed(LOOP_BLOCKED_SECONDS="60")
    with blocked_loop(served):
        statuses = {path: client.get(path).status_code for path in PUBLIC + SCRAPE}
        with pytest.raises(httpx.TimeoutException):
            served.client.get(f"{MOUNT}/health/live", timeout=0.05)
    assert statuses == dict.fromkeys(PUBLIC + SCRAPE, 200)


def test_live_is_503_while_the_loop_is_blocked_for_too_long(managed: Any, eventually: Any) -> None:
    served, client = managed(LOOP_BLOCKED_SECONDS="0.5")  # shorter, and a busy machine blocks it, too
    assert eventually(lambda: client.get("/health/live").status_code == 200)
    with blocked_loop(served):
        assert eventually(lambda: client.get("/health/live").status_code == 503)
        assert client.get("/health/live").json() == {"status": "unavailable"}
        assert client.get("/health/ready").status_code == 503
        assert client.get("/health").status_code == 503
        assert client.get("/health/startup").status_code == 200
        assert client.get("/metrics").status_code == 200
    assert eventually(lambda: client.get("/health/live").status_code == 200)
    assert eventually(lambda: client.get("/health/ready").status_code == 200)


def test_ready_is_503_until_the_host_has_started(serve: Any, eventually: Any, free_port: Callable[[], int]) -> None:
    port = free_port()
    asked: dict[str, int] = {}

    @contextlib.asynccontextmanager
    async def lifespan(_: FastAPI) -> Any:
        for path in PUBLIC:
            asked[path] = httpx.get(f"http://127.0.0.1:{port}{path}", trust_env=False, verify=False).status_code
        yield

    app = FastAPI(lifespan=lifespan)
    serve(app, MANAGEMENT_PORT=str(port))
    assert asked == {"/health/live": 200, "/health/ready": 503, "/health/startup": 503}
    assert httpx.get(f"http://127.0.0.1:{port}/health/ready", trust_env=False, verify=False).status_code == 200


def test_taken_port_is_said_and_the_host_goes_on(serve: Any) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        served = serve(make_app(), OPERATOR_TOKEN=TOKEN, MANAGEMENT_PORT=str(port))
        assert served.get("/tasks/1").text == '"1"'
        assert served.get(f"{MOUNT}/metrics").status_code == 200
        note = served.get(f"{MOUNT}/", headers=bearer(TOKEN)).json()["management_port"]
        assert note == f"off: cannot listen on 127.0.0.1:{port}: Address already in use"
        line = served.log.line(event_type="management_port")
        assert (line["level"], line["message"]) == ("WARNING", "management port not opened")
        assert f"127.0.0.1:{port}" in line["reason"]


def test_address_of_another_machine_is_said_and_the_host_goes_on(serve: Any) -> None:
    served = serve(make_app(), MANAGEMENT_PORT="0", MANAGEMENT_HOST="192.0.2.1")
    assert served.get("/tasks/1").status_code == 200
    assert served.runtime.ports.notes()["management_port"].startswith("off: cannot listen on 192.0.2.1:")
    assert management_threads() == []


def test_stops_with_the_host(managed: Any) -> None:
    served, client = managed()
    port = port_of(served)
    assert client.get("/health/live").status_code == 200
    served.stop()
    assert not accepts("127.0.0.1", port)
    assert management_threads() == []


def test_opens_again_when_the_host_starts_again(managed: Any, serve_bare: Any) -> None:
    served, client = managed()
    served.stop()
    again = serve_bare(served.app)
    assert client.get("/health/ready").status_code == 200
    assert port_of(again) == client.base_url.port


def test_opens_without_a_lifespan_with_the_first_request(serve: Any) -> None:
    served = serve(make_app(), {"lifespan": "off"}, MANAGEMENT_PORT="0")
    assert management_threads() == []
    assert served.get("/tasks/1").status_code == 200
    assert (
        httpx.get(
            f"{served.runtime.ports.notes()['management_port']}/health/ready", trust_env=False, verify=False
        ).status_code
        == 200
    )


WORKERS = """
import os, time
from fastapi import FastAPI
from ordinaut_ext_observability.extension import ObservabilityExtension

server = os.getpid()
for _ in range(3):
    if os.fork() == 0:
        app = FastAPI()
        ObservabilityExtension().setup(app=app, mount_path="/ext/observability")
        app.state.ordinaut_observability._runtime.start()
        break
while os.getpid() == server or os.getppid() == server:
    time.sleep(0.02)
"""


@pytest.mark.parametrize("taken", [False, True])
def test_of_several_workers_one_speaks_about_the_port(
    start_child: Any, eventually: Any, free_port: Callable[[], int], *, taken: bool
) -> None:
    with contextlib.ExitStack() as stack:
        port = free_port()
        if taken:
            stack.enter_context(socket.create_server(("127.0.0.1", port)))
        child = start_child("-c", WORKERS, environ={"ORDINAUT_OBS_MANAGEMENT_PORT": str(port)})
        assert eventually(lambda: len(child.log_lines(event_type="management_port")) == 3, 30)
        lines = child.log_lines(event_type="management_port")
        said = sorted((line["level"], line["message"]) for line in lines)
        first = ("WARNING", "management port not opened") if taken else ("INFO", "management port open")
        assert said == sorted([first, *[("INFO", "management port not opened")] * 2])
        others = [line["reason"] for line in lines if line["level"] == "INFO" and "reason" in line]
        assert all(reason.startswith("Another worker process of this service serves this port") for reason in others)
        if not taken:
            assert httpx.get(f"http://127.0.0.1:{port}/health/live", trust_env=False, verify=False).status_code == 200
        child.end()


def test_a_resolver_that_does_not_answer_holds_nobody_up(serve: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    answering, resolve = threading.Event(), socket.getaddrinfo

    def resolve_late(host: Any, *arguments: Any, **options: Any) -> Any:
        if host == "slow.invalid":
            answering.wait(10)
        return resolve(host, *arguments, **options)

    monkeypatch.setattr(socket, "getaddrinfo", resolve_late)
    served = serve(make_app(), MANAGEMENT_PORT="9464", MANAGEMENT_HOST="slow.invalid")
    assert not answering.is_set()
    assert served.get("/tasks/1").status_code == 200
    assert served.runtime.ports.notes()["management_port"] == "off: cannot resolve 'slow.invalid': no answer"
    answering.set()
