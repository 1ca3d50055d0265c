"""`/metrics` on the wire: formats, encodings, filters, hostile headers, and what it shares the page with."""

from __future__ import annotations

import gzip
import os
import shutil
import subprocess
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from fastapi import FastAPI
from prometheus_client import REGISTRY, Counter, Gauge
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text
from starlette.responses import PlainTextResponse

from ordinaut_ext_observability.web.endpoints import metrics

METRICS = "/ext/observability/metrics"
TEXT = "text/plain; version=0.0.4; charset=utf-8"
OPENMETRICS = "application/openmetrics-text; version=1.0.0; charset=utf-8"
PROMETHEUS_ACCEPT = (
    "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,"
    "application/openmetrics-text;version=0.0.1;q=0.5,"
    "text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,text/plain;version=0.0.4;q=0.3,*/*;q=0.2"
)
TRACE_ID = "4bf92f3577b34da6a3ce929d0e0e4736"
SAMPLED = f"00-{TRACE_ID}-00f067aa0ba902b7-01"


def make_app() -> FastAPI:
    app = FastAPI()
    app.add_api_route("/tasks/{task_id}", lambda task_id: task_id)
    return app


@pytest.fixture
def busy(serve: Any) -> Any:
    """An application that has answered requests of several kinds."""
    served = serve(make_app(), ALERTS="false")  # whose series come while a test looks
    for path in ("/tasks/1", "/tasks/2", "/nowhere"):
        served.get(path, headers={"traceparent": SAMPLED})
    served.post("/tasks/1", content=b"body")
    return served


@pytest.fixture
def user_counter() -> Iterator[Counter]:
    """A metric of the host's own, on prometheus_client's default registry."""
    counter = Counter("shop_orders", "Orders taken.", ["kind"])
    yield counter
    REGISTRY.unregister(counter)


def test_format_follows_the_accept_header(serve: Any) -> None:
    expected = {
        "*/*": TEXT,
        "": TEXT,
        "text/plain": TEXT,
        "application/openmetrics-text": OPENMETRICS,
        "application/openmetrics-text; version=1.0.0": f"{OPENMETRICS}; escaping=underscores",
        "application/openmetrics-text; version=9.9.9": TEXT,
        PROMETHEUS_ACCEPT: f"{OPENMETRICS}; escaping=allow-utf-8",
        "text/plain; version=1.0.0; escaping=allow-utf-8": "text/plain; version=1.0.0; charset=utf-8; escaping=allow-utf-8",
        "text/plain;q=0.9,application/openmetrics-text;q=0.1": TEXT,
        "application/openmetrics-text;q=0": TEXT,
        "application/json": TEXT,
        "text/html,application/xhtml+xml,*/*;q=0.8": TEXT,
        ";;;,,,q=;": TEXT,
    }
    served = serve(make_app())
    answers = {accept: served.get(METRICS, headers={"Accept": accept}) for accept in expected}
    assert {accept: answer.headers["content-type"] for accept, answer in answers.items()} == expected
    for answer in answers.values():
        assert answer.text.endswith("# EOF\n") is answer.headers["content-type"].startswith(OPENMETRICS)


def test_answer_depends_on_the_headers_and_is_not_stored(busy: Any) -> None:
    headers = busy.get(METRICS).headers
    assert {name.strip().lower() for name in headers["vary"].split(",")} >= {"accept", "accept-encoding"}
    assert headers["cache-control"] == "no-store"


@pytest.mark.parametrize("accept", [TEXT, OPENMETRICS])
def test_gzip_holds_the_same_series(busy: Any, accept: str) -> None:
    plain = busy.get(METRICS, headers={"Accept": accept, "Accept-Encoding": "identity"})
    with busy.client.stream("GET", METRICS, headers={"Accept": accept, "Accept-Encoding": "gzip"}) as packed:
        body = b"".join(packed.iter_raw())
    assert packed.headers["content-encoding"] == "gzip"
    assert int(packed.headers["content-length"]) == len(body)
    assert "content-encoding" not in plain.headers
    assert _series(gzip.decompress(body).decode()) >= _series(plain.text)


def test_no_gzip_where_it_is_not_accepted(serve: Any) -> None:
    served = serve(make_app())
    for accept_encoding in ("gzip;q=0", "identity", "br", "", "gzip;q=0, *;q=0"):
        response = served.get(METRICS, headers={"Accept-Encoding": accept_encoding})
        assert "content-encoding" not in response.headers, accept_encoding
        assert response.text.startswith("# HELP")


def test_head_answers_without_a_body(busy: Any) -> None:
    response = busy.client.head(METRICS)
    assert response.status_code == 200
    assert response.headers["content-type"] == TEXT
    assert response.content == b""


def test_other_methods_are_refused(serve: Any) -> None:
    served = serve(make_app())
    statuses = {method: served.client.request(method, METRICS).status_code for method in ("POST", "PUT", "DELETE")}
    assert statuses == {"POST": 405, "PUT": 405, "DELETE": 405}


def test_filter_by_name(busy: Any) -> None:
    wanted = ["orchestrator_http_requests_total", "ordinaut_observability_build_info"]
    response = busy.get(METRICS, params={"name[]": wanted})
    assert {family.name for family in parse_text(response.text)} == {
        "orchestrator_http_requests",
        "ordinaut_observability_build_info",
    }


def test_filter_by_the_name_of_a_sample(busy: Any) -> None:
    response = busy.get(METRICS, params={"name[]": "orchestrator_http_request_duration_seconds_bucket"})
    (family,) = parse_text(response.text)
    assert family.name == "orchestrator_http_request_duration_seconds"


def test_filter_applies_to_metrics_of_other_code(busy: Any, user_counter: Counter) -> None:
    user_counter.labels("book").inc()
    text = busy.get(METRICS, params={"name[]": "shop_orders_total"}).text
    assert 'shop_orders_total{kind="book"} 1.0' in text
    assert "orchestrator_" not in text


def test_unknown_names_give_an_empty_page(busy: Any) -> None:
    params = {"name[]": ["no_such_metric", "", "ы" * 300]}
    assert busy.get(METRICS, params=params).text == ""
    assert busy.get(METRICS, params=params, headers={"Accept": OPENMETRICS}).text == "# EOF\n"


def test_a_hundred_names_are_accepted(busy: Any) -> None:
    response = busy.get(METRICS, params={"name[]": [f"name_{number}" for number in range(100)]})
    assert response.status_code == 200


def test_too_many_names_are_refused_as_json(busy: Any) -> None:
    response = busy.get(METRICS, params={"name[]": [f"name_{number}" for number in range(101)]})
    assert response.status_code == 400
    assert response.json()["error"] == "too_many_names"
    assert response.json()["request_id"] == response.headers["x-correlation-id"]


def test_other_query_parameters_are_ignored(busy: Any) -> None:
    assert "orchestrator_http_requests_total" in busy.get(METRICS, params={"name": "x", "format": "json"}).text


@pytest.mark.parametrize("name", ["Accept", "Accept-Encoding"])
def test_hostile_headers_get_an_answer(serve: Any, name: str) -> None:
    served = serve(make_app(), {"http": "h11", "h11_max_incomplete_event_size": 1_000_000})
    for value in (
        "a," * 50_000,
        "text/plain;" + "a=b;" * 25_000,
        "x" * 100_000,
        "gzip;q=" + "9" * 90_000,
        "application/openmetrics-text;q=nan",
        '"' * 100_000,
    ):
        response = served.get(METRICS, headers={name: value})
        assert response.status_code == 200
        assert "# TYPE" in response.text


def test_headers_that_are_not_text_get_an_answer(busy: Any) -> None:
    request = b"GET %b HTTP/1.1\r\nHost: x\r\nConnection: close\r\nAccept: \xff\xfe;q=\xe9\r\n\r\n" % METRICS.encode()
    assert busy.raw(request).startswith(b"HTTP/1.1 200 ")


def test_path_answers_without_a_redirect(busy: Any) -> None:
    assert busy.get(METRICS).status_code == 200
    assert busy.get("/metrics").status_code == 200


def test_root_serves_the_same_metrics(busy: Any) -> None:
    names = {family.name for family in parse_text(busy.get("/metrics").text)}
    assert names == {family.name for family in parse_text(busy.get(METRICS).text)}
    assert "orchestrator_http_requests" in names


def test_root_takes_format_and_filter(busy: Any) -> None:
    response = busy.get(
        "/metrics", params={"name[]": "orchestrator_http_requests_total"}, headers={"Accept": OPENMETRICS}
    )
    assert response.headers["content-type"].startswith(OPENMETRICS)
    assert [family.name for family in parse_openmetrics(response.text)] == ["orchestrator_http_requests"]


def test_root_can_be_switched_off(serve: Any) -> None:
    assert serve(make_app(), ROOT_METRICS="false").get("/metrics").status_code == 404


@pytest.mark.parametrize("when", ["before", "after"])
def test_host_keeps_its_own_metrics_path(set_up: Any, serve_bare: Any, when: str) -> None:
    """Whether its route is registered before the extension is set up or after."""
    app = make_app()

    def own() -> PlainTextResponse:
        return PlainTextResponse("the host's own")

    if when == "before":
        app.add_api_route("/metrics", own)
    set_up(app)
    if when == "after":
        app.add_api_route("/metrics", own)
    served = serve_bare(app)
    assert served.get("/metrics").text == "the host's own"
    assert "orchestrator_" in served.get(METRICS).text


def test_host_keeps_its_catch_all_route(set_up: Any, serve_bare: Any) -> None:
    app = FastAPI()
    set_up(app)
    app.add_api_route("/{path:path}", lambda path: f"page {path}")
    served = serve_bare(app)
    assert served.get("/metrics").json() == "page metrics"
    assert "orchestrator_" in served.get(METRICS).text


def test_metrics_of_other_code_are_on_the_page(busy: Any, user_counter: Counter) -> None:
    user_counter.labels("book").inc(3)
    for path in (METRICS, "/metrics"):
        assert 'shop_orders_total{kind="book"} 3.0' in busy.get(path).text


def test_clash_with_other_code_is_ours_and_counted(busy: Any) -> None:
    clash = Gauge("orchestrator_http_requests_in_progress", "Not ours.")
    try:
        text = busy.get(METRICS).text
    finally:
        REGISTRY.unregister(clash)
    assert "Not ours." not in text
    assert text.count("# TYPE orchestrator_http_requests_in_progress ") == 1
    busy.expect("ordinaut_observability_metric_clashes_total", 1, metric="orchestrator_http_requests_in_progress")


def test_collector_that_raises_costs_only_its_own_metrics(busy: Any, user_counter: Counter) -> None:
    class Broken:
        def collect(self) -> Any:
            raise RuntimeError("broken")

        def describe(self) -> Any:
            return []

    broken = Broken()
    REGISTRY.register(broken)
    try:
        user_counter.labels("book").inc()
        response = busy.get(METRICS)
    finally:
        REGISTRY.unregister(broken)
    assert response.status_code == 200
    assert "shop_orders_total" in response.text
    assert "orchestrator_http_requests_total" in response.text
    assert busy.internal_errors() == {"foreign_metrics": 1}


@pytest.mark.parametrize("sampled", [True, False])
def test_exemplar_only_of_a_sampled_trace(serve: Any, sampled: bool) -> None:
    served = serve(make_app())
    served.get("/tasks/1", headers={"traceparent": SAMPLED if sampled else f"{SAMPLED[:-1]}0"})
    served.expect("orchestrator_http_requests_total", 1)
    text = served.get(METRICS, headers={"Accept": OPENMETRICS}).text
    exemplars = [
        sample.exemplar.labels
        for family in parse_openmetrics(text)
        for sample in family.samples
        if sample.exemplar is not None
    ]
    assert exemplars == ([{"trace_id": TRACE_ID}] if sampled else [])
    assert "# {" not in served.get(METRICS).text


def test_text_parses_with_the_clients_parser(busy: Any, user_counter: Counter) -> None:
    user_counter.labels('quote " slash \\ line \n').inc()
    busy.expect("orchestrator_http_requests_total", 4)
    families = {family.name: family for family in parse_text(busy.get(METRICS).text)}
    requests = {
        tuple(sample.labels.values()): sample.value for sample in families["orchestrator_http_requests"].samples
    }
    assert sum(requests.values()) == 4
    assert len(families) == len(list(parse_text(busy.get(METRICS).text)))


def test_openmetrics_parses_with_the_clients_parser(busy: Any, user_counter: Counter) -> None:
    user_counter.labels('quote " slash \\ line \n').inc()
    busy.expect("orchestrator_http_requests_total", 4)
    families = list(parse_openmetrics(busy.get(METRICS, headers={"Accept": OPENMETRICS}).text))
    names = [family.name for family in families]
    assert len(set(names)) == len(names)
    assert {"orchestrator_http_requests", "shop_orders"} <= set(names)


def test_promtool_accepts_the_page(busy: Any) -> None:
    promtool = shutil.which("promtool")
    if promtool is None:
        if os.environ.get("CI") == "true":
            pytest.fail("promtool is not on PATH")
        pytest.skip("promtool is not on PATH")
    busy.expect("orchestrator_http_requests_total", 4)
    text = busy.get(METRICS).text
    checked = subprocess.run([promtool, "check", "metrics"], input=text.encode(), capture_output=True, check=False)
    assert (checked.returncode, checked.stderr.decode()) == (0, "")


def test_requests_at_the_time_of_a_scrape_are_on_it(serve: Any) -> None:
    """A scrape shows every request answered before it, also where no access line would have them recorded."""
    served = serve(make_app(), ACCESS_LOG="false")
    for number in range(1, 30):
        served.get("/tasks/1")
        text = served.get(METRICS, params={"name[]": "orchestrator_http_requests_total"}).text
        assert f'endpoint="/tasks/{{task_id}}",method="GET",status_code="200"}} {number}.0' in text


def test_a_foreign_collector_that_hangs_hides_no_other(busy: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    let_go = threading.Event()

    class Hanging:
        def describe(self) -> list[Any]:
            return []

        def collect(self) -> list[Any]:
            let_go.wait(30.0)
            return []

    monkeypatch.setattr("ordinaut_ext_observability.web.endpoints.metrics.FOREIGN_TIMEOUT_SECONDS", 0.2)
    hanging = Hanging()
    REGISTRY.register(hanging)  # type: ignore[arg-type]
    behind = Gauge("behind_the_hanging_one", "Theirs.")
    try:
        for _ in range(2):
            assert "behind_the_hanging_one 0.0" in busy.get(METRICS).text
        assert busy.internal_errors()["foreign_metrics"] >= 2
    finally:
        let_go.set()
        REGISTRY.unregister(hanging)  # type: ignore[arg-type]
        REGISTRY.unregister(behind)


def test_many_scrapes_at_once_are_all_complete(busy: Any) -> None:
    import httpx

    texts: list[str] = []

    def scrape() -> None:
        texts.append(
            httpx.get(f"{busy.url}{METRICS}", headers={"Accept": OPENMETRICS}, trust_env=False, verify=False).text
        )

    threads = [threading.Thread(target=scrape) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(texts) == 20
    assert all(text.endswith("# EOF\n") for text in texts)


def _series(text: str) -> set[str]:
    return {line.rpartition(" ")[0] for line in text.splitlines() if not line.startswith("#")}


def test_scrapes_that_wait_for_a_rendering_are_bounded(
    serve: Any, eventually: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those of clients that went away wait on: without a bound they would come up without end."""
    monkeypatch.setattr(metrics, "MAX_WAITING", 2)
    release = threading.Event()

    class Slow:
        def collect(self) -> Iterator[Any]:
            release.wait(10)
            yield from ()

    slow: Any = Slow()
    served = serve(make_app())
    REGISTRY._collector_to_names[slow] = []  # registered without being asked
    try:
        waiting = [threading.Thread(target=served.get, args=(METRICS,)) for _ in range(2)]
        for thread in waiting:
            thread.start()
        service = served.face._endpoint_context.scrapes
        assert eventually(lambda: service._waiting == 2)
        answer = served.get(METRICS)
        assert (answer.status_code, answer.json()["error"]) == (503, "too_many_scrapes")
        assert served.get("/ext/observability/health/live").status_code == 200
    finally:
        release.set()
        del REGISTRY._collector_to_names[slow]
    for thread in waiting:
        thread.join(10)
    assert served.get(METRICS).status_code == 200
    assert service._waiting == 0
