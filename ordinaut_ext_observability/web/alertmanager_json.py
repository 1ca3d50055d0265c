"""The shapes of Alertmanager's API: what is asked for, posted and answered."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

from ordinaut_ext_observability.alerts.notifications.alert import NotifiedAlert, rfc3339
from ordinaut_ext_observability.alerts.notifications.desk import SeenAlert
from ordinaut_ext_observability.alerts.notifications.silences import Silence
from ordinaut_ext_observability.alerts.routing.matchers import make_matcher, match_all, parse_matchers
from ordinaut_ext_observability.errors import ObservabilityError
from ordinaut_ext_observability.promql.errors import QueryError
from ordinaut_ext_observability.promql.matchers import LabelMatcher, compile_regex
from ordinaut_ext_observability.promql.times import parse_time
from ordinaut_ext_observability.version import __version__

SPOKEN_VERSION: Final = "0.27.0"
"""The Alertmanager whose API this is."""
_STILL_FIRES_MS: Final = 180_000
"""End that is shown of an alert of our own which fires: so far ahead as Prometheus puts it."""
_LABEL_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_MAX_ALERTS: Final = 5_000

Texts = Mapping[str, list[str]]


class InvalidError(ObservabilityError):
    """What was asked for cannot be answered; the message says why."""

    def __init__(self, message: str, status_code: int = 400, code: int | None = None) -> None:
        """`code` is the number that Alertmanager gives with a 422."""
        super().__init__(message)
        self.status_code = status_code
        self.content: Any = message if code is None else {"code": code, "message": message}


def status(original: str, started_ms: int) -> dict[str, Any]:
    """The answer to `/status`."""
    version = {"version": SPOKEN_VERSION, "revision": __version__, "branch": "ordinaut-ext-observability"}
    return {
        "cluster": {"status": "disabled", "peers": []},
        "versionInfo": {**version, "buildUser": "", "buildDate": "", "goVersion": ""},
        "config": {"original": original},
        "uptime": rfc3339(started_ms),
    }


def alert(seen: SeenAlert, now_ms: int) -> dict[str, Any]:
    """One alert with its status."""
    each, muted = seen.alert, seen.muted
    return {
        "annotations": dict(each.annotations),
        "endsAt": rfc3339(now_ms + _STILL_FIRES_MS if each.ends_at_ms is None else each.ends_at_ms),
        "fingerprint": each.fingerprint,
        "receivers": [{"name": name} for name in dict.fromkeys(route.receiver for route in seen.routes)],
        "startsAt": rfc3339(each.starts_at_ms),
        "status": {
            "inhibitedBy": muted.inhibited_by,
            "silencedBy": muted.silenced_by,
            "mutedBy": muted.muted_by,
            "state": seen.state,
        },
        "updatedAt": rfc3339(each.updated_at_ms),
        "generatorURL": each.generator_url,
        "labels": dict(each.labels),
    }


def groups(found: Iterable[SeenAlert], now_ms: int) -> list[dict[str, Any]]:
    """The alerts by receiver and group."""
    made: dict[tuple[str, tuple[tuple[str, str], ...]], dict[str, Any]] = {}
    for seen in found:
        for route in seen.routes:
            labels = route.group_labels(seen.alert.labels)
            shown = {"labels": labels, "receiver": {"name": route.receiver}, "routeLabels": {}, "alerts": []}
            made.setdefault((route.receiver, tuple(labels.items())), shown)["alerts"].append(alert(seen, now_ms))
    return [made[key] for key in sorted(made)]


def alert_filter(parameters: Texts) -> Callable[[SeenAlert], bool]:
    """A test of an alert: is it asked for? Raises `InvalidError` where a parameter is wrong."""
    matchers = _filter(parameters)
    flags = {name: _flag(parameters, name) for name in ("active", "silenced", "inhibited", "muted")}
    _flag(parameters, "unprocessed")
    pattern = parameters.get("receiver", [""])[0]
    try:
        receiver = compile_regex(pattern) if pattern else None
    except QueryError as error:
        raise InvalidError(f"failed to parse receiver param: {error}") from None

    def wanted(seen: SeenAlert) -> bool:
        muted = seen.muted
        reasons: dict[str, object] = {"silenced": muted.silenced_by, "inhibited": muted.inhibited_by}
        reasons |= {"muted": muted.muted_by, "active": seen.state == "active"}
        if any(found and not flags[name] for name, found in reasons.items()):
            return False
        if receiver is not None and not any(receiver.fullmatch(route.receiver) for route in seen.routes):
            return False
        return match_all(matchers, seen.alert.labels)

    return wanted


def silence_filter(parameters: Texts, now_ms: int) -> Callable[[Silence], bool]:
    """A test of a silence: is it asked for? Its matchers must be about what the filter names."""
    matchers = _filter(parameters)
    flags = {name: _flag(parameters, name) for name in ("active", "pending", "expired")}

    def wanted(silence: Silence) -> bool:
        values = {matcher.name: matcher.value for matcher in silence.matchers}
        return flags[silence.state(now_ms)] and match_all(matchers, values)

    return wanted


def silence(each: Silence, now_ms: int) -> dict[str, Any]:
    """One silence."""
    return {
        "id": each.id,
        "status": {"state": each.state(now_ms)},
        "updatedAt": rfc3339(each.updated_at_ms),
        "comment": each.comment,
        "createdBy": each.created_by,
        "endsAt": rfc3339(each.ends_at_ms),
        "startsAt": rfc3339(each.starts_at_ms),
        "matchers": [
            {
                "isEqual": matcher.operator[0] == "=",
                "isRegex": matcher.operator[1:] == "~",
                "name": matcher.name,
                "value": matcher.value,
            }
            for matcher in each.matchers
        ],
        "annotations": ({} if each.kind == "silence" else {"kind": each.kind}) | dict(each.annotations),
    }


def read_alerts(body: Any, now_ms: int, resolve_timeout_ms: int) -> tuple[list[NotifiedAlert], str]:
    """The alerts of a body that can be taken, and what is wrong with the others. Raises `InvalidError`."""
    if not isinstance(body, list) or len(body) > _MAX_ALERTS:
        raise InvalidError(f"a list of at most {_MAX_ALERTS} alerts is expected")
    alerts, problems = [], []
    for each in body:
        try:
            alerts.append(_read_alert(each, now_ms, resolve_timeout_ms))
        except InvalidError as error:
            problems.append(str(error))
    return alerts, "; ".join(dict.fromkeys(problems))


def _read_alert(each: Any, now_ms: int, resolve_timeout_ms: int) -> NotifiedAlert:
    if not isinstance(each, dict):
        raise InvalidError("an alert is an object with labels")
    labels = {name: value for name, value in _texts(each, "labels").items() if value}
    if not labels:
        raise InvalidError("at least one label pair required")
    if wrong := [name for name in labels if not _LABEL_NAME.fullmatch(name)]:
        raise InvalidError(f'invalid label set: invalid name "{wrong[0][:100]}"')
    starts, ends = _time(each, "startsAt"), _time(each, "endsAt")
    if starts is None:
        starts = now_ms if ends is None else min(now_ms, ends)
    if ends is not None and ends < starts:
        raise InvalidError("start time must be before end time")
    timed_out = ends is None
    ends = now_ms + resolve_timeout_ms if ends is None else ends
    url = each.get("generatorURL") or ""
    if not isinstance(url, str):
        raise InvalidError("generatorURL must be a text")
    return NotifiedAlert(labels, _texts(each, "annotations"), starts, ends, now_ms, url, timed_out)


def read_silence(body: Any, now_ms: int) -> Silence:
    """The silence of a body; its id is empty where it is a new one. Raises `InvalidError`."""
    if not isinstance(body, dict):
        raise InvalidError("a silence is an object with matchers, startsAt, endsAt, createdBy and comment")
    for name in ("comment", "createdBy", "endsAt", "matchers", "startsAt"):
        if body.get(name) is None:
            raise InvalidError(f"{name} in body is required", 422, 602)
    given = body["matchers"]
    if not isinstance(given, list) or not given:
        raise InvalidError("matchers in body should have at least 1 items", 422, 612)
    texts = {name: body.get(name) or "" for name in ("id", "comment", "createdBy")}
    if not all(isinstance(text, str) and len(text) <= 1000 for text in texts.values()):
        raise InvalidError("id, comment and createdBy must be texts of at most 1000 characters")
    return Silence(
        texts["id"],
        tuple(map(_read_matcher, given)),
        _time(body, "startsAt") or now_ms,
        _time(body, "endsAt") or now_ms,
        now_ms,
        texts["createdBy"],
        texts["comment"],
        annotations=tuple(_texts(body, "annotations").items()),
    )


def _read_matcher(given: Any) -> LabelMatcher:
    name, value = (given.get("name"), given.get("value")) if isinstance(given, dict) else (None, None)
    if not isinstance(name, str) or not isinstance(value, str) or not name:
        raise InvalidError("a matcher is an object with name, value, isRegex and isEqual")
    operator = ("=" if given.get("isEqual", True) else "!") + ("~" if given.get("isRegex") else "")
    try:
        return make_matcher(name, "!=" if operator == "!" else operator, value)
    except ValueError as error:
        raise InvalidError(f"invalid matcher: {error}") from None


def _texts(each: Mapping[str, Any], name: str) -> dict[str, str]:
    found = each.get(name) or {}
    if not isinstance(found, dict) or not all(isinstance(value, str) for value in found.values()):
        raise InvalidError(f"{name} must be an object of texts")
    return found


def _time(each: Mapping[str, Any], name: str) -> int | None:
    """The time in milliseconds; None where there is none, or Go's zero."""
    text = each.get(name)
    if not text or str(text).startswith("0001-01-01T00:00:00"):
        return None
    try:
        return parse_time(text if isinstance(text, str) and "T" in text else "")
    except ValueError:
        raise InvalidError(f"{name} must be a time such as 2026-11-23T22:19:04.123Z") from None


def _filter(parameters: Texts) -> list[LabelMatcher]:
    try:
        return [matcher for text in parameters.get("filter", []) for matcher in parse_matchers(text)]
    except ValueError as error:
        raise InvalidError(f"bad matcher format: {error}") from None


def _flag(parameters: Texts, name: str) -> bool:
    text = parameters.get(name, ["true"])[0]
    if text not in ("true", "false"):
        raise InvalidError(f"{name} must be true or false")
    return text == "true"
