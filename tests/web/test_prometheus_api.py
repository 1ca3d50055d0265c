"""Prometheus's HTTP API as its clients speak it: what comes in, the JSON that goes out, limits and errors."""

from __future__ import annotations

import asyncio
import math
import socket
import struct
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import quote

import pytest
from fastapi import FastAPI
from hypothesis import given
from hypothesis import strategies as st

from ordinaut_ext_observability.promql.parse import parse
from ordinaut_ext_observability.web import prometheus_json, queries
from ordinaut_ext_observability.promql.times import format_value
from tests.samples import FIRST, Samples

API = "/ext/observability/api/v1"
TOKEN = "an-operators-token-0123456789"
VIEWER = "a-viewers-token-0123456789012"


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


class Api:
    """The API over samples of the test."""

    def __init__(self, served: Any) -> None:
        self.served = served
        self.samples = Samples()
        self.queries: Any = served.face._endpoint_context.queries
        self.queries._source = lambda: self.samples

    def get(self, path: str, token: str = TOKEN, **parameters: Any) -> Any:
        return self.served.get(f"{API}{path}", params=parameters, headers=bearer(token))

    def post(self, path: str, **parameters: Any) -> Any:
        return self.served.post(f"{API}{path}", data=parameters, headers=bearer(TOKEN))

    def data(self, path: str, **parameters: Any) -> Any:
        answer = self.get(path, **parameters)
        assert answer.status_code == 200, answer.text[:500]
        assert answer.json()["status"] == "success"
        return answer.json()["data"]

    def error(self, path: str, **parameters: Any) -> tuple[int, str, str]:
        answer = self.post(path, **parameters)
        assert answer.headers["content-type"] == "application/json"
        assert answer.json().keys() == {"status", "errorType", "error"}, answer.text[:500]
        assert answer.json()["status"] == "error"
        return answer.status_code, answer.json()["errorType"], answer.json()["error"]


@pytest.fixture
def api(serve: Any) -> Api:
    return Api(serve(FastAPI(), OPERATOR_TOKEN=TOKEN, VIEWER_TOKEN=VIEWER))


def test_vector_is_written_as_prometheus_writes_it(api: Api) -> None:
    answer = api.get("/query", query='orders_total{job="api"}', time=f"{FIRST + 31}.5")
    assert answer.text == (
        '{"status":"success","data":{"resultType":"vector","result":[{"metric":{"__name__":"orders_total","job":"api"},'
        f'"value":[{FIRST + 31}.5,"3"]}}]}}}}'
    )
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["cache-control"] == "no-store"


def test_range_has_the_values_at_each_step(api: Api) -> None:
    data = api.data("/query_range", query="orders_total", start=FIRST, end=FIRST + 45, step="15s")
    assert data["resultType"] == "matrix"
    (series,) = data["result"]
    assert series["values"] == [[FIRST + 15 * number, str(number * 1.5).removesuffix(".0")] for number in range(4)]


def test_scalars_texts_and_ranges_at_one_time(api: Api) -> None:
    assert api.data("/query", query="1e23", time=1)["result"] == [1, "100000000000000000000000"]
    assert api.data("/query", query="'a\"b'", time=1) == {"resultType": "string", "result": [1, 'a"b']}
    assert len(api.data("/query", query="orders_total[1m]", time=FIRST + 600)["result"][0]["values"]) == 3
    now = api.data("/query", query="time()")["result"]
    assert float(now[1]) == now[0] > FIRST


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (1.0, "1"),
        (-0.0, "-0"),
        (0.1, "0.1"),
        (1e6, "1000000"),
        (1e20, "100000000000000000000"),
        (1e21, "1e+21"),
        (123456789012345680.0, "123456789012345680"),
        (1e-6, "0.000001"),
        (-1.5e-7, "-1.5e-07"),
        (5e-324, "5e-324"),
        (math.inf, "+Inf"),
        (-math.inf, "-Inf"),
        (math.nan, "NaN"),
        (2**0.5, "1.4142135623730951"),
    ],
)
def test_samples_are_written_as_go_writes_them(value: float, text: str) -> None:
    assert format_value(value) == text


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_every_number_reads_back_as_itself(value: float) -> None:
    for text in (format_value(value), format_value(value, exponents=False)):
        assert struct.pack("d", float(text)) == struct.pack("d", value)
    assert "e" not in format_value(value, exponents=False)


@pytest.mark.parametrize(
    ("path", "parameters"),
    [
        ("/query", {"query": "up", "time": FIRST + 60}),
        ("/query_range", {"query": "up", "start": FIRST, "end": FIRST + 60, "step": 15}),
        ("/series", {"match[]": "up"}),
        ("/labels", {}),
        ("/label/job/values", {}),
        ("/metadata", {"limit": 3}),
        ("/status/buildinfo", {}),
        ("/format_query", {"query": "a/b"}),
        ("/query", {"query": "up +"}),
        ("/query", {"query": "up", "time": "yesterday"}),
    ],
)
def test_get_and_post_give_the_same(api: Api, path: str, parameters: dict[str, Any]) -> None:
    got, posted = api.get(path, **parameters), api.post(path, **parameters)
    assert (got.status_code, got.text) == (posted.status_code, posted.text)


def test_body_comes_before_the_url_and_both_count(api: Api) -> None:
    both = api.served.post(f"{API}/query?query=2&time=7", data={"query": "1"}, headers=bearer(TOKEN))
    assert both.json()["data"]["result"] == [7, "1"]
    matches = {"match[]": "up"}
    both = api.served.post(f"{API}/series?match[]=orders_total", data=matches, headers=bearer(TOKEN))
    assert len(both.json()["data"]) == 3
    headers = bearer(TOKEN) | {"Content-Type": "application/x-www-form-urlencoded; charset=utf-8"}
    raw = api.served.post(f"{API}/query", content='query="ä+%C3%B6"&time=7'.encode(), headers=headers)
    assert raw.json()["data"]["result"] == [7, "ä ö"]
    headers = bearer(TOKEN) | {"Content-Type": "application/json"}
    other = api.served.post(f"{API}/query?query=2&time=7", content=b"query=1", headers=headers)
    assert other.json()["data"]["result"] == [7, "2"]


def test_series_labels_and_values(api: Api) -> None:
    up = [{"__name__": "up", "job": "api", "host.name": "a"}, {"__name__": "up", "job": "worker"}]
    assert api.data("/series", **{"match[]": "up"}) == up
    assert api.data("/series", **{"match[]": ["up", '{job="worker"}']}) == up
    assert api.data("/series", **{"match[]": "up", "start": FIRST - 99, "end": FIRST - 1}) == []
    assert api.data("/labels") == ["__name__", "host.name", "job"]
    assert api.data("/labels", **{"match[]": "orders_total"}) == ["__name__", "job"]
    assert api.data("/label/__name__/values") == ["orders_total", "up"]
    assert api.data("/label/job/values", **{"match[]": 'up{job=~"w.*"}'}) == ["worker"]
    assert api.data("/label/nothing/values") == []
    for name in ("host.name", "U__host_2e_name", quote("host.name", safe="")):
        assert api.data(f"/label/{name}/values") == ["a"]
    assert api.data("/label/U___5f_/values") == api.data("/label/U__host_/values") == []
    cut = api.get("/label/job/values", limit=1).json()
    assert (cut["data"], cut["warnings"]) == (["api"], ["results truncated due to limit"])


def test_metadata_tells_type_and_meaning(api: Api) -> None:
    told = api.data("/metadata")
    (requests,) = told["orchestrator_http_requests_total"]
    assert (requests["type"], requests["unit"]) == ("counter", "")
    assert requests["help"]
    one = api.data("/metadata", metric="orchestrator_http_request_duration_seconds")
    assert [entry["type"] for entry in one["orchestrator_http_request_duration_seconds"]] == ["histogram"]
    assert len(one) == 1
    assert api.data("/metadata", metric="nothing") == {}
    assert len(api.data("/metadata", limit=2)) == 2


def test_build_info_says_which_prometheus_it_speaks_like(api: Api) -> None:
    told = api.data("/status/buildinfo")
    assert told["version"].startswith("3.")
    assert told.keys() == {"version", "revision", "branch", "buildUser", "buildDate", "goVersion"}


def test_query_is_laid_out(api: Api) -> None:
    assert api.data("/format_query", query="sum by(job)(up)/2") == "sum by (job) (up) / 2"


def test_series_past_the_limit_are_left_out_with_a_warning(api: Api) -> None:
    whole, cut = (api.get("/query", query="up", time=FIRST, limit=limit).json() for limit in (2, 1))
    assert "warnings" not in whole
    assert len(whole["data"]["result"]) == 2
    assert len(cut["data"]["result"]) == 1
    assert cut["warnings"] == ["results truncated due to limit"]


def test_older_sample_is_taken_where_lookback_is_asked_for(api: Api) -> None:
    long_after = {"query": "orders_total", "time": FIRST + 585 + 400}
    assert api.data("/query", **long_after)["result"] == []
    assert len(api.data("/query", **long_after, lookback_delta="10m")["result"]) == 1


@pytest.mark.parametrize(
    ("query", "missing"),
    [
        ("rate(orders_total[5m])", 240),
        ("orders_total offset 3m", 120),
        ("max_over_time(rate(orders_total[1m])[5m:1m] offset 1m)", 360),
        ("up and rate(orders_total[90s]) > 0", 30),
        ("orders_total @ 1435781300", 100),
    ],
)
def test_query_that_looks_back_too_far_is_told_since_when_there_is_history(api: Api, query: str, missing: int) -> None:
    (info,) = api.get("/query", query=query, time=FIRST + 60).json()["infos"]
    assert info.startswith("history is kept since 2015-07-01T20:10:00Z, ")
    assert f" {missing} s further back" in info


def test_query_within_history_is_told_nothing(api: Api) -> None:
    for query in ("up", "rate(orders_total[1m])", "1", "vector(time())"):
        assert api.get("/query", query=query, time=FIRST + 60).json().keys() == {"status", "data"}
    api.samples.kept_since_ms, api.samples.series = None, []
    assert api.get("/query", query="up").json()["infos"] == ["history has no samples yet"]


RANGE = {"query": "up", "start": FIRST, "end": FIRST + 60, "step": "15"}


@pytest.mark.parametrize(
    ("path", "parameters", "words"),
    [
        ("/query", {}, 'invalid parameter "query": '),
        ("/query", {"query": "up{"}, 'invalid parameter "query": '),
        ("/query", {"query": "up", "time": "yesterday"}, 'invalid parameter "time": cannot parse "yesterday"'),
        ("/query", {"query": "up", "time": "1e300"}, 'invalid parameter "time": cannot parse'),
        ("/query", {"query": "up", "time": "nan"}, 'invalid parameter "time": cannot parse'),
        ("/query", {"query": "up", "time": "2015-02-30T00:00:00Z"}, 'invalid parameter "time": cannot parse'),
        ("/query", {"query": "up", "timeout": "soon"}, 'invalid parameter "timeout": cannot parse "soon"'),
        ("/query", {"query": "up", "timeout": "0"}, 'invalid parameter "timeout": '),
        ("/query", {"query": "up", "limit": "-1"}, 'invalid parameter "limit": '),
        ("/query", {"query": "up", "limit": "few"}, 'invalid parameter "limit": '),
        ("/query", {"query": "up", "lookback_delta": "-5m"}, 'invalid parameter "lookback_delta": '),
        ("/query_range", RANGE | {"end": FIRST - 1}, 'invalid parameter "end": end timestamp must not be before start'),
        ("/query_range", RANGE | {"step": "0"}, 'invalid parameter "step": zero or negative'),
        ("/query_range", RANGE | {"step": "-1"}, 'invalid parameter "step": zero or negative'),
        ("/query_range", RANGE | {"step": ""}, 'invalid parameter "step": cannot parse ""'),
        ("/query_range", RANGE | {"step": "1m30h"}, 'invalid parameter "step": cannot parse "1m30h"'),
        ("/query_range", RANGE | {"step": "9" * 12 + "y"}, 'invalid parameter "step": cannot parse'),
        ("/query_range", RANGE | {"start": ""}, 'invalid parameter "start": cannot parse ""'),
        ("/query_range", RANGE | {"end": FIRST + 11_001, "step": "1"}, "exceeded maximum resolution of 11,000 points"),
        ("/query_range", RANGE | {"query": "up[5m]"}, 'invalid expression type "range vector" for range query'),
        ("/query_range", RANGE | {"query": "'a'"}, 'invalid expression type "string" for range query'),
        ("/series", {}, "no match[] parameter provided"),
        ("/series", {"match[]": "up + 1"}, 'invalid parameter "match[]": '),
        ("/series", {"match[]": "{}"}, 'invalid parameter "match[]": '),
        ("/labels", {"match[]": "1"}, 'invalid parameter "match[]": '),
        ("/format_query", {"query": "1 +"}, 'invalid parameter "query": '),
    ],
)
def test_bad_parameters_are_400_and_say_what_is_wrong(
    api: Api, path: str, parameters: dict[str, Any], words: str
) -> None:
    status, error_type, error = api.error(path, **parameters)
    assert (status, error_type) == (400, "bad_data")
    assert words in error


def test_most_points_of_a_range_are_answered(api: Api) -> None:
    data = api.data("/query_range", query="vector(1)", start=0, end=11_000, step=1)
    assert len(data["result"][0]["values"]) == 11_001


def test_matching_errors_are_422(api: Api) -> None:
    status, error_type, error = api.error(
        "/query", query="orders_total + on (job) group_left up + on () up", time=FIRST
    )
    assert (status, error_type) == (422, "execution")
    assert error


def test_both_ends_of_time_are_accepted(api: Api) -> None:
    """Clients that ask for everything send them."""
    ends = {"start": "-292273086-05-16T16:47:06Z", "end": "292277025-08-18T07:12:54.999999999Z"}
    assert len(api.data("/series", **{"match[]": "up"}, **ends)) == 2
    assert api.data("/query", query="1", time="2015-07-01T22:10:30.781+02:00")["result"] == [FIRST + 30.781, "1"]


HOSTILE = {
    "nested brackets": "(" * 2000 + "1" + ")" * 2000,
    "a long chain": "1" + "+1" * 3000,
    "minus signs": "-" * 7000 + "1",
    "a megabyte": 'up{a="' + "x" * 1_000_000 + '"}',
    "seventeen megabytes": "x" * 17_000_000,
    "a regular expression that backtracks": 'up{job=~"(a*)*b(a|a)*c(((a+)+)+)+"}',
    "a repeated repetition": 'up{job=~"((((a{1000}){1000}){1000}){1000})"}',
    "many steps of a subquery": "sum_over_time(up[90d:1ms])",
    "subqueries in subqueries": "max_over_time(" * 6 + "up" + "[1h:1s])" * 6,
    "control characters": "up\x00\x01\ufffe{",
}


@pytest.mark.parametrize("query", HOSTILE.values(), ids=HOSTILE)
def test_hostile_query_gets_an_answer_and_the_host_goes_on(api: Api, query: str) -> None:
    try:
        answer = api.post("/query", query=query, timeout="2s")
    except Exception as error:  # noqa: BLE001 - a body that long is not read to its end
        assert len(query) > 16 * 1024**2, error
    else:
        assert answer.json()["status"] == "error" or answer.status_code == 200
        assert answer.status_code in (200, 400, 422, 503)
    assert api.served.get("/ext/observability/health/live").status_code == 200
    assert api.served.internal_errors() == {}


def test_too_many_parameters_are_refused(api: Api) -> None:
    status, error_type, error = api.error("/query", **{f"p{number}": "1" for number in range(300)})
    assert (status, error_type) == (400, "bad_data")
    assert "200 parameters" in error


def test_long_answer_is_refused_in_its_middle(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prometheus_json, "MAX_ANSWER_BYTES", 10_000)
    status, error_type, error = api.error("/query_range", query="up", start=FIRST, end=FIRST + 9000, step=1)
    assert (status, error_type) == (422, "execution")
    assert "ask for fewer series" in error


def test_query_ends_at_its_timeout(api: Api, eventually: Any) -> None:
    api.samples.pauses = math.inf
    status, error_type, error = api.error("/query", query="up", timeout="1")
    assert (status, error_type) == (503, "timeout")
    assert "after 1 s" in error
    assert eventually(lambda: (api.samples.began, api.samples.ended) == (1, 1))


@pytest.mark.parametrize("wrapped", [False, True])
def test_query_of_a_client_that_went_away_ends(serve: Any, eventually: Any, wrapped: bool) -> None:
    app = FastAPI()
    if wrapped:  # as Ordinaut's own are, by layers that hand on messages through a task of theirs
        app.middleware("http")(lambda request, call_next: call_next(request))
    api = Api(serve(app, OPERATOR_TOKEN=TOKEN))
    api.samples.pauses = math.inf
    request = f"GET {API}/query?query=up HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {TOKEN}\r\n\r\n"
    with socket.create_connection(("127.0.0.1", api.served.port), 5) as connection:
        connection.sendall(request.encode())
        assert eventually(lambda: api.samples.began == 1)
    assert eventually(lambda: api.samples.ended == 1)
    api.served.expect("ordinaut_observability_queries_total", 1, outcome="canceled")


def test_few_queries_run_some_wait_and_more_are_turned_away(
    api: Api, eventually: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(queries, "MAX_RUNNING", 2)
    monkeypatch.setattr(queries, "MAX_WAITING", 3)
    api.samples.pauses = math.inf
    request = (
        f"GET {API}/query?query=up HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {TOKEN}\r\nConnection: close\r\n\r\n"
    )
    waiting = [socket.create_connection(("127.0.0.1", api.served.port), 5) for _ in range(5)]
    try:
        for connection in waiting:
            connection.sendall(request.encode())
        assert eventually(lambda: api.queries._asked == 5)
        assert eventually(lambda: api.samples.began == 2)
        assert api.error("/query", query="up")[:2] == (503, "unavailable")
        api.samples.pauses = 0
        for connection in waiting:
            with connection.makefile("rb") as answer:
                assert b" 200 OK" in answer.readline()
    finally:
        for connection in waiting:
            connection.close()
    assert eventually(lambda: api.queries._asked == 0)
    assert api.samples.began == api.samples.ended == 5


def test_failure_of_ours_is_500_without_its_text(api: Api) -> None:
    def fail(*_: Any) -> Any:
        raise RuntimeError("hunter2")

    api.samples.select = fail  # type: ignore[method-assign]
    status, error_type, error = api.error("/query", query="up")
    assert (status, error_type) == (500, "internal")
    assert "hunter2" not in error
    assert api.served.internal_errors() == {"query": 1}


def test_process_without_history_says_so(api: Api) -> None:
    api.queries._source = lambda: None
    for path, parameters in (("/query", {"query": "up"}), ("/labels", {}), ("/series", {"match[]": "up"})):
        status, error_type, error = api.error(path, **parameters)
        assert (status, error_type) == (503, "unavailable")
        assert "keeps no history" in error
    assert api.data("/status/buildinfo")


def test_history_that_is_off_is_none(serve: Any) -> None:
    served = serve(FastAPI(), OPERATOR_TOKEN=TOKEN, HISTORY="false")
    answer = served.get(f"{API}/query?query=up", headers=bearer(TOKEN))
    assert (answer.status_code, answer.json()["errorType"]) == (503, "unavailable")


def test_queries_are_counted_with_what_they_cost(api: Api) -> None:
    api.data("/query", query="up")
    api.error("/query", query="up +")
    api.served.expect("ordinaut_observability_queries_total", 1, outcome="success")
    api.served.expect("ordinaut_observability_queries_total", 1, outcome="bad_data")
    assert api.served.value("ordinaut_observability_query_duration_seconds_count") == 2
    assert api.served.value("ordinaut_observability_overhead_seconds_total", component="query") > 0


def test_viewers_may_ask_and_strangers_may_not(api: Api) -> None:
    assert api.get("/query", VIEWER, query="1").status_code == 200
    refused = api.get("/query", "another-token-0123456789", query="1")
    assert refused.status_code == 401
    assert refused.json().keys() == {"error", "message", "request_id"}
    page = {"Origin": "https://elsewhere.example", "Sec-Fetch-Site": "cross-site"}
    asked = api.served.client.post(f"{API}/query", data={"query": "1"}, auth=("a", TOKEN), headers=page)
    assert asked.status_code == 200, "asking changes nothing"


def test_every_endpoint_is_described_once(api: Api) -> None:
    schema = api.served.app.openapi()
    described = [path for path in schema["paths"] if path.startswith(API)]
    assert len(described) == 10
    ids = [operation["operationId"] for path in schema["paths"].values() for operation in path.values()]
    assert len(set(ids)) == len(ids)


@pytest.mark.parametrize(
    ("path", "parameter"),
    [("/query", "query"), ("/series", "match[]"), ("/labels", "match[]"), ("/format_query", "query")],
)
def test_no_query_is_parsed_on_the_hosts_loop(
    api: Api, monkeypatch: pytest.MonkeyPatch, path: str, parameter: str
) -> None:
    def parse_elsewhere(text: str) -> Any:
        with pytest.raises(RuntimeError):
            asyncio.get_running_loop()
        return parse(text)

    language = "ordinaut_ext_observability.promql.parse"
    monkeypatch.setattr(f"{language}.parse", parse_elsewhere)
    monkeypatch.setattr(f"{language}.format_query", lambda text: parse_elsewhere(text) and text)
    assert api.get(path, **{parameter: "up"}).status_code == 200


def test_requests_take_no_thread_of_the_hosts_pool(serve: Any) -> None:
    app, release = FastAPI(), threading.Event()

    @app.get("/fill-the-pool")
    async def fill_the_pool() -> None:
        loop = asyncio.get_running_loop()
        loop.set_default_executor(ThreadPoolExecutor(1))
        loop.run_in_executor(None, release.wait, 30.0)

    api = Api(serve(app, OPERATOR_TOKEN=TOKEN))
    try:
        assert api.served.get("/fill-the-pool").status_code == 200
        assert api.data("/query", query="orders_total", time=FIRST)["resultType"] == "vector"
        for path, method in (("/api/v1/rules", api.served.get), ("/-/reload", api.served.post)):
            assert method(f"/ext/observability{path}", headers=bearer(TOKEN), timeout=10.0).status_code in (200, 503)
    finally:
        release.set()
