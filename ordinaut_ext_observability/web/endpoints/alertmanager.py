"""Alertmanager's HTTP API, version 2: `amtool`, Grafana and a Prometheus that sends its alerts here use it unchanged.

https://github.com/prometheus/alertmanager/blob/main/api/v2/openapi.yaml
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

import orjson
from starlette.requests import Request
from starlette.responses import Response

from ordinaut_ext_observability.alerts.notifications.desk import AlertDesk, RefusedError
from ordinaut_ext_observability.background.daemon_threads import in_daemon_thread
from ordinaut_ext_observability.cluster.base import ClusterUnavailableError
from ordinaut_ext_observability.web import alertmanager_json as shapes
from ordinaut_ext_observability.web.alertmanager_json import InvalidError
from ordinaut_ext_observability.web.answers import JSON_HEADERS
from ordinaut_ext_observability.web.endpoints.base import Endpoint, context_of

MAX_BYTES: Final = 4 * 1024 * 1024
"""Longest body: what Prometheus sends at once (64 alerts) has a hundredth of it."""

Answer = Callable[[AlertDesk, Mapping[str, list[str]], Any], Any]
"""Makes an answer from the parameters and the body; runs on a thread of ours."""


def _status(desk: AlertDesk, _parameters: Mapping[str, list[str]], _body: Any) -> Any:
    return shapes.status(desk.routing().original, desk.started_ms)


def _receivers(desk: AlertDesk, _parameters: Mapping[str, list[str]], _body: Any) -> Any:
    return [{"name": name} for name in desk.routing().receivers]


def _alerts(desk: AlertDesk, parameters: Mapping[str, list[str]], _body: Any) -> Any:
    wanted, now_ms = shapes.alert_filter(parameters), desk.now_ms()
    return [shapes.alert(seen, now_ms) for seen in desk.alerts() if wanted(seen)]


def _post_alerts(desk: AlertDesk, _parameters: Mapping[str, list[str]], body: Any) -> Any:
    alerts, problem = shapes.read_alerts(body, desk.now_ms(), desk.routing().resolve_timeout_ms)
    desk.post(alerts)
    if problem:
        raise InvalidError(problem)


def _groups(desk: AlertDesk, parameters: Mapping[str, list[str]], _body: Any) -> Any:
    wanted = shapes.alert_filter(parameters)
    return shapes.groups([seen for seen in desk.alerts() if wanted(seen)], desk.now_ms())


def _silences(desk: AlertDesk, parameters: Mapping[str, list[str]], _body: Any) -> Any:
    now_ms = desk.now_ms()
    wanted = shapes.silence_filter(parameters, now_ms)
    found = sorted(filter(wanted, desk.silences()), key=lambda silence: (silence.state(now_ms), silence.ends_at_ms))
    return [shapes.silence(silence, now_ms) for silence in found]


def _post_silence(desk: AlertDesk, _parameters: Mapping[str, list[str]], body: Any) -> Any:
    silence = shapes.read_silence(body, desk.now_ms())
    try:
        return {"silenceID": desk.set_silence(silence)}
    except KeyError:
        raise InvalidError(f"silence {silence.id} not found", 404) from None


def _silence(desk: AlertDesk, parameters: Mapping[str, list[str]], _body: Any) -> Any:
    (identity,) = parameters["silence_id"]
    for silence in desk.silences():
        if silence.id == identity:
            return shapes.silence(silence, desk.now_ms())
    raise InvalidError(f"silence {identity} not found", 404)


def _delete_silence(desk: AlertDesk, parameters: Mapping[str, list[str]], _body: Any) -> Any:
    (identity,) = parameters["silence_id"]
    try:
        desk.expire_silence(identity)
    except KeyError:
        raise InvalidError(f"silence {identity} not found", 404) from None


async def _healthy(_request: Request) -> Response:
    return Response("OK", headers={"Cache-Control": "no-store"}, media_type="text/plain")


def _endpoint(path: str, description: str, **answers: Answer) -> Endpoint:
    """An endpoint, with the maker of its answer by method."""

    async def handle(request: Request) -> Response:
        desk = context_of(request).desk
        try:
            parameters = {name: request.query_params.getlist(name) for name in request.query_params}
            parameters |= {name: [value] for name, value in request.path_params.items()}
            body = await _read_json(request) if request.method == "POST" else None
            method = "GET" if request.method == "HEAD" else request.method
            made = await in_daemon_thread(answers[method], desk, parameters, body)
        except InvalidError as error:
            return Response(orjson.dumps(error.content), error.status_code, JSON_HEADERS)
        except RefusedError as error:
            return Response(orjson.dumps(str(error)), 400, JSON_HEADERS)
        except ClusterUnavailableError as error:
            return Response(orjson.dumps(f"the store does not answer: {error}"), 503, JSON_HEADERS)
        return Response(b"" if made is None else orjson.dumps(made), headers=JSON_HEADERS)

    said = {200: "As Alertmanager answers.", 400: _ERROR, 422: _ERROR, 503: _ERROR}
    said |= {404: _ERROR} if "{" in path else {}
    return Endpoint(f"/api/v2{path}", "operator", handle, description, said, methods=tuple(answers))


async def _read_json(request: Request) -> Any:
    body = b""
    async for piece in request.stream():
        body += piece
        if len(body) > MAX_BYTES:
            raise InvalidError(f"the body is longer than {MAX_BYTES // 1024 // 1024} MB", 413)
    try:
        return orjson.loads(body)
    except ValueError:
        raise InvalidError("the body is not JSON") from None


_ERROR: Final = "An error as Alertmanager gives it: a text, or code and message."
_OK: Final = {200: "OK"}

ENDPOINTS = (
    _endpoint("/status", "Alertmanager's API: version and configuration, without secrets", GET=_status),
    _endpoint("/receivers", "Alertmanager's API: who may be told", GET=_receivers),
    _endpoint(
        "/alerts", "Alertmanager's API: alerts that fire; ?filter=, silenced, active", GET=_alerts, POST=_post_alerts
    ),
    _endpoint("/alerts/groups", "Alertmanager's API: the same as they are told together", GET=_groups),
    _endpoint(
        "/silences", "Alertmanager's API: silences; POST makes or changes one", GET=_silences, POST=_post_silence
    ),
    _endpoint("/silence/{silence_id}", "Alertmanager's API: one silence", GET=_silence, DELETE=_delete_silence),
    Endpoint("/-/healthy", "scrape", _healthy, "Alertmanager's API: it answers", _OK, ("text/plain",)),
    Endpoint("/-/ready", "scrape", _healthy, "Alertmanager's API: it answers", _OK, ("text/plain",)),
)
