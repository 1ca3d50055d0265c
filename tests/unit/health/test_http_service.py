"""A check of a service, against real servers on sockets."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from ordinaut_ext_observability import HealthMonitor
from ordinaut_ext_observability.health.services import HttpServiceCheck
from ordinaut_ext_observability.health.model import HealthStatus, Outcome
from ordinaut_ext_observability.settings.sections import HttpCheckEntry

HEALTHY, DEGRADED, UNHEALTHY = HealthStatus.HEALTHY, HealthStatus.DEGRADED, HealthStatus.UNHEALTHY
SECRET = "hunter2XcorrectY"


class Service:
    """A server that answers as told, and notes what it was asked."""

    def __init__(self) -> None:
        self.status = 200
        self.headers: dict[str, str] = {}
        self.body = b"body"
        self.takes_seconds = 0.0
        self.answer = threading.Event()
        self.answer.set()
        self.requests: list[tuple[str, str, dict[str, str]]] = []
        self.connections: set[Any] = set()
        service = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def handle_one_request(self) -> None:
                service.connections.add(self.client_address)
                super().handle_one_request()

            def respond(self) -> None:
                service.requests.append((self.command, self.path, dict(self.headers)))
                time.sleep(service.takes_seconds)
                service.answer.wait(10)
                self.send_response(service.status)
                for name, value in service.headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(service.body)))
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(service.body)

            do_GET = do_HEAD = do_POST = do_OPTIONS = respond

            def log_message(self, *_: Any) -> None:
                pass

        class Server(ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, request: Any, client_address: Any) -> None:
                """Who asks may hang up while the body is written."""

        self.server = Server(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        self._thread = threading.Thread(target=lambda: self.server.serve_forever(0.01), daemon=True)
        self._thread.start()

    def close(self) -> None:
        self.answer.set()
        self.server.shutdown()
        self._thread.join(10)
        self.server.server_close()


@pytest.fixture
def service() -> Iterator[Service]:
    made = Service()
    yield made
    made.close()


@pytest.fixture
def make_check(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., HttpServiceCheck]]:
    """Makes checks whose clients are closed at the end."""
    for variable in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(variable, raising=False)
    made: list[HttpServiceCheck] = []

    def make(url: str, **options: Any) -> HttpServiceCheck:
        # Not validated: also what the file may not say must be safe.
        made.append(HttpServiceCheck(HttpCheckEntry.model_construct(name="service", url=url, **options)))
        return made[-1]

    yield make
    for check in made:
        if check.client is not None:
            check.client.close()


def run_monitored(check: HttpServiceCheck, **options: Any) -> Any:
    """The result of one run in a monitor, where error texts are masked."""
    monitor = HealthMonitor()
    monitor.register_check("service", check, **options)
    return asyncio.run(monitor.run_all_checks())["service"]


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        (200, HEALTHY),
        (204, HEALTHY),
        (302, HEALTHY),
        (399, HEALTHY),
        (401, UNHEALTHY),
        (404, UNHEALTHY),
        (503, UNHEALTHY),
    ],
)
def test_status_code_is_judged(service: Service, make_check: Any, status: int, expected: HealthStatus) -> None:
    service.status, service.body = status, b""
    outcome = make_check(f"{service.url}/health").run()
    assert outcome.status is expected
    assert outcome.details["status_code"] == status
    assert outcome.message == ("" if expected is HEALTHY else f"answered {status}")


def test_expected_statuses_may_be_others(service: Service, make_check: Any) -> None:
    service.status = 401
    assert make_check(service.url, expected_statuses=[401]).run().status is HEALTHY
    service.status = 200
    assert make_check(service.url, expected_statuses=[401]).run().status is UNHEALTHY


def test_redirects_are_answers(service: Service, make_check: Any) -> None:
    service.status, service.headers = 302, {"Location": f"{service.url}/elsewhere"}
    assert make_check(f"{service.url}/health").run().details["status_code"] == 302
    assert [path for _, path, _ in service.requests] == ["/health"]


@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS", "POST"])
def test_method_path_and_headers_are_the_ones_given(service: Service, make_check: Any, method: str) -> None:
    check = make_check(f"{service.url}/a/b?c=d", method=method, headers={"X-Api-Key": SECRET, "User-Agent": "me"})
    assert check.run().status is HEALTHY
    ((asked, path, headers),) = service.requests
    assert (asked, path) == (method, "/a/b?c=d")
    assert (headers["X-Api-Key"], headers["User-Agent"]) == (SECRET, "me")


def test_credentials_of_the_url_are_sent_as_basic(service: Service, make_check: Any) -> None:
    make_check(service.url.replace("//", "//me:pw@")).run()
    assert service.requests[0][2]["Authorization"] == "Basic bWU6cHc="


def test_an_answer_that_takes_long_is_degraded(service: Service, make_check: Any) -> None:
    service.takes_seconds = 0.03
    outcome = make_check(service.url, slow_seconds=0.02).run()
    assert outcome.status is DEGRADED
    assert outcome.message.endswith("more than 0.02 s")
    assert make_check(service.url, slow_seconds=60).run().status is HEALTHY


def test_the_body_is_not_waited_for(make_check: Any) -> None:
    """A server that sends its headers and then nothing has answered."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        ended = threading.Event()

        def serve() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(65536)
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n")
                ended.wait(10)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            outcome = make_check(f"http://127.0.0.1:{listener.getsockname()[1]}", timeout_seconds=0.3).run()
        finally:
            ended.set()
            thread.join(10)
    assert outcome.status is HEALTHY


def test_a_service_that_is_not_there_is_unhealthy(make_check: Any, free_port: Callable[[], int]) -> None:
    result = run_monitored(make_check(f"http://u:{SECRET}@127.0.0.1:{free_port()}/"))
    assert result.status is UNHEALTHY
    assert result.message.startswith("ConnectError")
    assert SECRET not in result.message


def test_a_service_that_does_not_answer_in_time_is_unhealthy(service: Service, make_check: Any) -> None:
    service.answer.clear()
    result = run_monitored(make_check(service.url, timeout_seconds=0.03))
    assert result.status is UNHEALTHY
    assert result.message.startswith("ReadTimeout")


def test_a_service_that_speaks_something_else_is_unhealthy(make_check: Any) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(65536)
                connection.sendall(b"220 mail.example.com ESMTP\r\n")

        thread = threading.Thread(target=serve)
        thread.start()
        result = run_monitored(make_check(f"http://127.0.0.1:{listener.getsockname()[1]}"))
        thread.join(10)
    assert result.status is UNHEALTHY
    assert result.message.startswith("RemoteProtocolError")


def test_it_recovers_with_the_service(service: Service, make_check: Any) -> None:
    check = make_check(service.url, method="HEAD")
    statuses = []
    for service.status in (200, 500, 200):
        statuses.append(check.run().status)
    assert statuses == [HEALTHY, UNHEALTHY, HEALTHY]


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_the_connection_is_kept_between_runs(service: Service, make_check: Any, method: str) -> None:
    check = make_check(service.url, method=method)
    for _ in range(3):
        check.run()
    assert len(service.connections) == 1


def test_a_service_that_closes_connections_is_asked_again(service: Service, make_check: Any) -> None:
    check = make_check(service.url, method="HEAD")
    service.headers = {"Connection": "close"}
    for _ in range(2):
        assert check.run().status is HEALTHY


def test_a_header_that_cannot_be_sent_is_not_shown(service: Service, make_check: Any) -> None:
    result = run_monitored(make_check(service.url, headers={"X-Api-Key": f"{SECRET}\n"}))
    assert result.status is UNHEALTHY
    assert SECRET not in result.message


@pytest.mark.parametrize("url", ["https://127.0.0.1:{port}/", "ftp://127.0.0.1:{port}/", "http://[::1"])
def test_a_url_that_cannot_be_asked_is_unhealthy(service: Service, make_check: Any, url: str) -> None:
    result = run_monitored(make_check(url.format(port=service.server.server_port), timeout_seconds=1))
    assert result.status is UNHEALTHY
    assert result.message


def test_outcomes_show_neither_url_nor_headers(service: Service, make_check: Any) -> None:
    for service.status in (200, 500):
        check = make_check(f"{service.url}/?token={SECRET}", headers={"X-Api-Key": SECRET}, slow_seconds=1e-9)
        outcome = check.run()
        assert isinstance(outcome, Outcome)
        assert SECRET not in repr(outcome)
        assert set(outcome.details) == {"status_code", "seconds"}
