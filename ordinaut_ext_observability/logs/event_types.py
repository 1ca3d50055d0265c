"""Every event that is logged: those of this package, and those that the host reports.

The log writes them, the audit keeps those marked `security`, docs/events.md lists them. An event is declared as a
function whose parameters are its fields; a call names it and gives them, checked by mypy:
`event(RELAY_OPEN, store="redis")`.
"""

# ruff: noqa: N802 - what is declared as a function is a constant

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Generic, ParamSpec, Protocol

FieldsP = ParamSpec("FieldsP")

NAMES_OF_EVERY_LINE = {
    *("timestamp", "level", "logger", "message", "event_type", "module", "function", "line", "process"),
    *("correlation_id", "request_id", "trace_id", "span_id", "task_context"),
}

_CATEGORIES = {
    "error": ("audit_failed", "lifecycle"),
    "integration": ("collector_", "external_tool_", "notification", "relay"),
    "request": ("api_request", "request_"),
    "task": ("lease_", "pipeline_", "task_"),
}
"""Beginnings of the names of their events; the others are `system`, and those marked so `security`."""


class Event(Generic[FieldsP]):
    """A kind of log line: its `event_type`, level, message and category, and the names of its fields in their order."""

    __slots__ = ("category", "fields", "level", "message", "name", "security", "types")

    # Not a dataclass: the host imports this with its loggers, and `dataclasses` costs as much as all of our part.
    def __init__(
        self, name: str, level: str, message: str, fields: tuple[str, ...] = (), *, security: bool = False
    ) -> None:
        self.name = name
        self.level = level
        self.message = message
        self.fields = fields
        self.security = security
        self.types: dict[str, Any] = {}  # annotations of those fields that have one
        listed = [category for category, beginnings in _CATEGORIES.items() if name.startswith(beginnings)]
        self.category = "security" if security else listed[0] if listed else "system"


class LogEvent(Protocol):
    """Logs one event, and never raises; a field of None is left out."""

    def __call__(self, event: Event[FieldsP], /, *args: FieldsP.args, **fields: FieldsP.kwargs) -> None: ...


def declare(
    name: str, level: str, message: str, *, security: bool = False
) -> Callable[[Callable[FieldsP, None]], Event[FieldsP]]:
    """Decorator: make an event of a function. Raises ValueError where a field has a name that every line has."""

    def make(function: Callable[FieldsP, None]) -> Event[FieldsP]:
        fields = function.__code__.co_varnames
        if not NAMES_OF_EVERY_LINE.isdisjoint(fields):
            raise ValueError(f"a field of {name} has a name that every line has")
        event: Event[FieldsP] = Event(name, level, message, fields, security=security)
        event.types = function.__annotations__
        return event

    return make


def _declare_each(
    values: tuple[str, ...], name: str, level: str, message: str
) -> Callable[[Callable[FieldsP, None]], dict[str, Event[FieldsP]]]:
    """Decorator: make an event for each value, which stands in its level or message in place of `{}`."""
    return lambda function: {
        value: declare(name, level.format(value), message.format(value))(function) for value in values
    }


_LEVELS = ("INFO", "WARNING", "ERROR")  # of what goes well, badly, wrong
_SERVERS = ("PostgreSQL", "Redis")
_PORTS = ("management port", "exporter")
_Text = str | None

_ACCESS_FIELDS = ("method", "path", "status_code", "duration_ms", "request_bytes", "response_bytes", "url_path")
ACCESS: dict[str, Event[...]] = {level: Event("api_request", level, "request", _ACCESS_FIELDS) for level in _LEVELS}


@declare("access_refused", "WARNING", "access refused", security=True)
def ACCESS_REFUSED(*, tier: str, reason: str, client_address: str, refusals_not_logged: int) -> None: ...
@declare("audit_failed", "ERROR", "security events cannot be kept; further ones are counted")
def AUDIT_FAILED(*, reason: str) -> None: ...
@_declare_each(_SERVERS, "collector_problem", "WARNING", "{} cannot be read")
def COLLECTOR_PROBLEM(
    *, collector: str, reason: str, part: _Text = None, exception_type: _Text = None, detail: _Text = None
) -> None: ...
@_declare_each(_SERVERS, "collector_recovered", "INFO", "{} can be read again")
def COLLECTOR_RECOVERED(*, collector: str, part: _Text = None) -> None: ...
@declare("deployment", "INFO", "deployment", security=True)
def DEPLOYMENT(
    *, version: str, environment: str, success: bool, commit: str, duration_seconds: float, test_coverage: float
) -> None: ...
@declare("alert_firing", "WARNING", "alert fires")
def ALERT_FIRING(*, alert: str, severity: _Text, labels: str, summary: _Text) -> None: ...
@declare("alert_resolved", "INFO", "alert is resolved")
def ALERT_RESOLVED(*, alert: str, severity: _Text, labels: str, summary: _Text) -> None: ...
@_declare_each(("firing", "resolved"), "notification", "INFO", "notification: {}")
def NOTIFICATION(*, receiver: str, reason: str, group: str, firing: int, resolved: int) -> None: ...
@declare("notification_failed", "WARNING", "notification not sent")
def NOTIFICATION_FAILED(*, integration: str, reason: str) -> None: ...
@declare("notification_recovered", "INFO", "notifications are sent again")
def NOTIFICATION_RECOVERED(*, integration: str) -> None: ...
@declare("alerts_escalated", "WARNING", "alerts escalated", security=True)
def ALERTS_ESCALATED(*, group: str, receiver: str, reason: str) -> None: ...
@declare("escalations_refused", "ERROR", "escalations section not used; nothing escalates")
def ESCALATIONS_REFUSED(*, reason: str) -> None: ...
@declare("silence_changed", "INFO", "silence changed", security=True)
def SILENCE_CHANGED(*, silence: str, kind: str, matchers: str, until: str, by: str, comment: str) -> None: ...
@declare("routing_refused", "ERROR", "alertmanager section not used; severity decides who is told")
def ROUTING_REFUSED(*, reason: str) -> None: ...
@declare("rule_file_refused", "WARNING", "rule file not used; its rules from before stay in effect")
def RULE_FILE_REFUSED(*, file: str, line_number: int, reason: str) -> None: ...
@declare("rules_loaded", "INFO", "alert rules loaded")
def RULES_LOADED(*, rules: int, files: int) -> None: ...
@declare("collector_follower", "INFO", "this process reads the database for all no more")
def COLLECTOR_FOLLOWER() -> None: ...
@declare("collector_leader", "INFO", "this process reads the database for all")
def COLLECTOR_LEADER(*, mode: str) -> None: ...
@_declare_each(_LEVELS, "health_transition", "{}", "health changed")
def HEALTH_CHANGED(*, check: str, status: str, previous_status: _Text = None, reason: _Text = None) -> None: ...
@declare("log_file", "WARNING", "log file cannot be written; its lines are dropped")
def LOG_FILE_FAILED(*, reason: str) -> None: ...
@declare("log_level_changed", "WARNING", "level of a logger changed", security=True)
def LOG_LEVEL_CHANGED(
    *, changed_logger: str, previous_level: str, new_level: str, source: str, seconds: int | None, client_address: _Text
) -> None: ...
@declare("operator_action", "INFO", "operator action", security=True)
def OPERATOR_ACTION(*, method: str, endpoint: str, client_address: str, status_code: int) -> None: ...
@_declare_each(_PORTS, "management_port", "WARNING", "{} not opened")
def PORT_NOT_OPENED(*, reason: str) -> None: ...
@_declare_each(_PORTS, "management_port", "INFO", "{} not opened")
def PORT_OF_ANOTHER_WORKER(*, reason: str) -> None: ...
@_declare_each(_PORTS, "management_port", "INFO", "{} open")
def PORT_OPEN(*, url: str) -> None: ...
@declare("event_loop_blocked", "WARNING", "event loop is blocked")
def EVENT_LOOP_BLOCKED(*, blocked_seconds: float, stack: list[str], requests: list[dict[str, Any]]) -> None: ...
@declare("error_group_resolved", "INFO", "group of errors resolved", security=True)
def ERROR_RESOLVED(*, fingerprint: str, exception_type: str) -> None: ...
@declare("relay", "WARNING", "relay store does not answer")
def RELAY_FAILED(*, reason: str) -> None: ...
@declare("relay", "INFO", "relay open")
def RELAY_OPEN(*, store: _Text) -> None: ...
@declare("relay", "INFO", "relay store answers again")
def RELAY_RECOVERED(*, store: _Text) -> None: ...
@declare("request_id_rejected", "WARNING", "request id replaced")
def REQUEST_ID_REJECTED(*, reason: str, length: int) -> None: ...
@declare("scrubbing_off", "WARNING", "nothing is scrubbed: secrets and personal data are written as they are")
def SCRUBBING_OFF() -> None: ...
@declare("settings_problem", "WARNING", "setting not used")
def SETTING_NOT_USED(*, variable: str, value: str, problem: str) -> None: ...
@declare("spans", "WARNING", "collector takes no spans; they are dropped and counted")
def SPANS_NOT_SENT(*, spans: int) -> None: ...
@declare("tracing", "WARNING", "tracing asked for, and the extra tracing is not installed")
def TRACING_NOT_INSTALLED(*, missing: str) -> None: ...
@declare("lifecycle", "ERROR", "our start or stop failed")
def STEP_FAILED(*, step: str, exception_type: str) -> None: ...


HOST_EVENTS: dict[str, Event[...]] = {
    name: Event(name, level, message, tuple(fields.split()), security=name == "security_event")
    for name, level, message, fields in (
        ("api_request", "INFO", "API request", "method path status_code duration_ms agent_id"),
        ("external_tool_call", "INFO", "External tool call", "tool_address method status_code duration_ms url"),
        ("lease_acquired", "DEBUG", "Lease acquired", "worker_id task_id lease_duration_seconds"),
        ("lease_released", "DEBUG", "Lease released", "worker_id task_id duration_ms"),
        ("performance_alert", "WARNING", "Performance alert", "metric_name current_value threshold severity"),
        ("pipeline_step_completed", "INFO", "Pipeline step completed", "step_id tool_address success duration_ms"),
        ("pipeline_step_started", "INFO", "Pipeline step started", "step_id tool_address attempt"),
        ("scheduler_tick", "INFO", "Scheduler tick", "jobs_created lag_seconds"),
        ("security_event", "WARNING", "Security event", "security_event_type agent_id details result severity context"),
        ("task_completed", "INFO", "Task completed", "task_id run_id success duration_ms"),
        ("task_created", "INFO", "Task created", "task_id agent_id schedule_kind title"),
        ("task_started", "INFO", "Task started", "task_id run_id agent_id attempt"),
        ("worker_heartbeat", "DEBUG", "Worker heartbeat", "worker_id queue_depth active_leases"),
    )
}
"""By name. Their level is ERROR where `success` is false; an `api_request` that has an access line is DEBUG."""

EVENTS: tuple[Event[Any], ...] = tuple(
    event
    for value in list(globals().values())
    for event in (value.values() if isinstance(value, dict) else (value,))
    if isinstance(event, Event)
)
