"""`instrument_client`: an httpx client's requests are counted, and it behaves as it did before."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpx
import pytest

from ordinaut_ext_observability import current_runtime, current_traceparent, instrument_client
from ordinaut_ext_observability.correlation.context import request_ids

IDS = ("request-1", "1" * 32, "2" * 16, True)
TRACEPARENT = f"00-{'1' * 32}-{'2' * 16}-01"


class Handler(BaseHTTPRequestHandler):
    """Answers by the path, and keeps each request's `traceparent`."""

    protocol_version = "HTTP/1.1"
    release = threading.Event()

    def do_GET(self) -> None:
        self.server.traceparents.append(self.headers.get("traceparent"))
        if self.path == "/silent":
            self.release.wait(20)
            self.close_connection = True
            return
        body = self.path.encode() * 20_000
        self.send_response(302 if self.path == "/moved" else 503 if self.path == "/down" else 200)
        if self.path == "/moved":
            self.send_header("Location", "/here")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_POST = do_GET

    def log_message(self, *_: Any) -> None:
        """Nothing."""


@pytest.fixture(scope="module")
def server() -> Iterator[ThreadingHTTPServer]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.traceparents = []
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    yield server
    Handler.release.set()
    server.shutdown()
    server.server_close()


@pytest.fixture
def url(server: ThreadingHTTPServer, clean_process: pytest.MonkeyPatch) -> str:
    server.traceparents.clear()
    return f"http://127.0.0.1:{server.server_port}"


Call = Callable[..., Any]


def sync(url: str, call: Call, **options: Any) -> Any:
    with instrument_client(httpx.Client(base_url=url, trust_env=False, **options)) as client:
        return call(client)


def asynchronous(url: str, call: Call, **options: Any) -> Any:
    async def run() -> Any:
        async with instrument_client(httpx.AsyncClient(base_url=url, trust_env=False, **options)) as client:
            return await call(client)

    return asyncio.run(run())


BOTH = pytest.mark.parametrize("run", [sync, asynchronous])


def counted() -> dict[tuple[str, ...], float]:
    metrics = current_runtime().metrics
    seconds = {child.label_values: sum(child.counts) for child in metrics.http_client_seconds.children()}
    requests = {child.label_values[1:]: child.value for child in metrics.http_client_requests.children()}
    assert sum(seconds.values()) == sum(requests.values())
    assert {child.value for child in metrics.internal_errors.children()} <= {0}
    return requests


@BOTH
def test_each_request_counts_by_host_method_and_status(run: Call, url: str) -> None:
    assert run(url, lambda client: client.get("/here")).status_code == 200
    assert run(url, lambda client: client.post("/down")).status_code == 503
    assert counted() == {("GET", "200"): 1, ("POST", "503"): 1}
    hosts = {child.label_values[0] for child in current_runtime().metrics.http_client_seconds.children()}
    assert hosts == {url.removeprefix("http://")}


@BOTH
def test_a_redirect_is_followed_and_counts_for_itself(run: Call, url: str, server: Any) -> None:
    response = run(url, lambda client: client.get("/moved"), follow_redirects=True)
    assert (response.status_code, len(response.history), response.url.path) == (200, 1, "/here")
    assert counted() == {("GET", "302"): 1, ("GET", "200"): 1}


@BOTH
def test_exceptions_pass_and_count_by_their_type(run: Call, url: str, free_port: Any) -> None:
    with pytest.raises(httpx.ReadTimeout) as caught:
        run(url, lambda client: client.get("/silent"), timeout=0.05)
    assert caught.value.request.url.path == "/silent"
    with pytest.raises(httpx.ConnectError):
        run(f"http://127.0.0.1:{free_port()}", lambda client: client.get("/"))
    assert counted() == {("GET", "ReadTimeout"): 1, ("GET", "ConnectError"): 1}


def test_a_cancelled_request_counts_as_one(url: str) -> None:
    async def run() -> None:
        async with instrument_client(httpx.AsyncClient(base_url=url, trust_env=False)) as client:
            await asyncio.wait_for(client.get("/silent"), 0.05)

    with pytest.raises(TimeoutError):
        asyncio.run(run())
    assert counted() == {("GET", "CancelledError"): 1}


@BOTH
def test_the_trace_of_the_request_goes_out_unless_the_caller_sent_one(run: Call, url: str, server: Any) -> None:
    run(url, lambda client: client.get("/here"))
    token = request_ids.set(IDS)
    assert current_traceparent() == TRACEPARENT
    run(url, lambda client: client.get("/here"))
    run(url, lambda client: client.get("/here", headers={"traceparent": "theirs"}))
    request_ids.reset(token)
    assert server.traceparents == [None, TRACEPARENT, "theirs"]


def test_streams_hooks_and_transports_stay_what_they_were(url: str) -> None:
    seen: list[str] = []
    transport = httpx.HTTPTransport()
    hooks = {"request": [lambda request: seen.append("sent")], "response": [lambda response: seen.append("answered")]}
    with httpx.Client(base_url=url, transport=transport, event_hooks=hooks, trust_env=False) as client:
        assert instrument_client(client) is client
        assert client._transport is transport
        with client.stream("GET", "/here") as response:
            assert not response.is_stream_consumed
            assert len(b"".join(response.iter_bytes())) == len("/here") * 20_000
        assert response.elapsed.total_seconds() > 0
    assert seen == ["sent", "answered"]


def test_instrumented_twice_it_counts_once(url: str) -> None:
    client = httpx.Client(base_url=url, trust_env=False)
    with instrument_client(instrument_client(client)):
        client.get("/here")
    assert counted() == {("GET", "200"): 1}


def test_a_client_that_is_forgotten_goes_at_once(url: str) -> None:
    import weakref

    answer = httpx.MockTransport(lambda request: httpx.Response(200))
    client = instrument_client(httpx.Client(transport=answer))
    client.get(url)
    gone = weakref.ref(client)
    del client
    assert gone() is None


def test_hosts_without_end_are_counted_as_others(clean_process: Any) -> None:
    clean_process.setenv("ORDINAUT_OBS_LABEL_BUDGETS", '{"host": 2}')
    answer = httpx.MockTransport(lambda request: httpx.Response(200))
    with instrument_client(httpx.Client(transport=answer)) as client:
        for number in range(5):
            client.get(f"http://user:secret@host-{number}:81/path?query=1")
    hosts = {child.label_values[0] for child in current_runtime().metrics.http_client_requests.children()}
    assert hosts == {"host-0:81", "host-1:81", "__other__"}


def test_what_is_no_client_is_refused(clean_process: Any) -> None:
    with pytest.raises(TypeError, match=r"httpx\.Client or httpx\.AsyncClient, not 7"):
        instrument_client(7)


def test_switched_off_the_client_is_left_alone(clean_process: Any) -> None:
    clean_process.setenv("ORDINAUT_OBS_DISABLED", "1")
    client = httpx.Client()
    assert vars(instrument_client(client)) == vars(client)
    assert "_send_single_request" not in vars(client)
    client.close()


def test_our_failure_reaches_no_request(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    class Broken:
        def labels(self, *_: str) -> None:
            raise RuntimeError("ours")

    with instrument_client(httpx.Client(base_url=url, trust_env=False)) as client:
        monkeypatch.setitem(vars(current_runtime().metrics), "http_client_requests", Broken())
        assert client.get("/here").status_code == 200
        with pytest.raises(httpx.UnsupportedProtocol):
            client.get("gopher://host/")
    assert current_runtime().metrics.internal_errors.labels("http_client").value == 2
