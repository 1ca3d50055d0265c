"""Every event that is logged: those of this package, and those that the host reports.

The log writes them, the audit keeps those marked `security`, the documentation lists them. A call names one of these
objects and gives its fields, so that mypy finds a misspelt event or a missing one:
`event(RELAY_OPEN, store="redis")`.
"""

# ruff: noqa: ARG005 - parameters that stand for fields

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, ParamSpec, Protocol

FieldsP = ParamSpec("FieldsP")

NAMES_OF_EVERY_LINE = frozenset(
    (
        *("timestamp", "level", "logger", "message", "event_type", "module", "function", "line", "process"),
        *("correlation_id", "request_id", "trace_id", "span_id", "task_context"),
    )
)


class Event(Generic[FieldsP]):
    """A kind of log line: its `event_type`, level and message, and the names of its fields in their order."""

    __slots__ = ("fields", "level", "message", "name", "security")

    def __init__(
        self, name: str, level: str, message: str, fields: Callable[FieldsP, None], *, security: bool = False
    ) -> None:
        """`fields` is never called; its parameters are the fields, those with a default may be left out.

        Raises:
            ValueError: a field has a name that every line has.
        """
        self.name = name
        self.level = level
        self.message = message
        self.fields: tuple[str, ...] = fields.__code__.co_varnames
        self.security = security
        if not NAMES_OF_EVERY_LINE.isdisjoint(self.fields):
            raise ValueError(f"a field of {name} has a name that every line has")


class HostEvent(Event[...]):
    """An event that the host reports: it gives the fields by name or in this order, and any others."""

    __slots__ = ()

    def __init__(self, name: str, level: str, message: str, fields: str) -> None:
        super().__init__(name, level, message, lambda: None, security=name == "security_event")  # type: ignore[misc]
        self.fields = tuple(fields.split())


class LogEvent(Protocol):
    """Logs one event, and never raises; a field of None is left out."""

    def __call__(self, event: Event[FieldsP], /, *args: FieldsP.args, **fields: FieldsP.kwargs) -> None: ...


_LEVELS = ("INFO", "WARNING", "ERROR")
_SERVERS = ("PostgreSQL", "Redis")
_PORTS = ("management port", "exporter")

ACCESS = {
    level: Event(
        "api_request",
        level,
        "request",
        lambda *, method, path, status_code, duration_ms, request_bytes, response_bytes, url_path: None,
    )
    for level in _LEVELS
}
"""A request was answered, slowly (WARNING), with a status of 500 or more (ERROR)."""
ACCESS_REFUSED = Event(
    "access_refused",
    "WARNING",
    "access refused",
    lambda *, tier, reason, client_address, refusals_not_logged: None,
    security=True,
)
COLLECTOR_PROBLEM = {
    server: Event(
        "collector_problem",
        "WARNING",
        f"{server} cannot be read",
        lambda *, collector, reason, part=None, exception_type=None, detail=None: None,
    )
    for server in _SERVERS
}
COLLECTOR_RECOVERED = {
    server: Event("collector_recovered", "INFO", f"{server} can be read again", lambda *, collector, part=None: None)
    for server in _SERVERS
}
COLLECTOR_FOLLOWER = Event(
    "collector_follower", "INFO", "this process reads the database for all no more", lambda: None
)
COLLECTOR_LEADER = Event("collector_leader", "INFO", "this process reads the database for all", lambda *, mode: None)
HEALTH_CHANGED = {
    level: Event(
        "health_transition", level, "health changed", lambda *, check, status, previous_status=None, reason=None: None
    )
    for level in _LEVELS
}
"""A check turned healthy, degraded or unknown (WARNING), unhealthy (ERROR)."""
PORT_NOT_OPENED = {
    port: Event("management_port", "WARNING", f"{port} not opened", lambda *, reason: None) for port in _PORTS
}
PORT_OF_ANOTHER_WORKER = {
    port: Event("management_port", "INFO", f"{port} not opened", lambda *, reason: None) for port in _PORTS
}
PORT_OPEN = {port: Event("management_port", "INFO", f"{port} open", lambda *, url: None) for port in _PORTS}
RELAY_FAILED = Event("relay", "WARNING", "relay store does not answer", lambda *, reason: None)
RELAY_OPEN = Event("relay", "INFO", "relay open", lambda *, store: None)
RELAY_RECOVERED = Event("relay", "INFO", "relay store answers again", lambda *, store: None)
REQUEST_ID_REJECTED = Event("request_id_rejected", "WARNING", "request id replaced", lambda *, reason, length: None)
SETTING_NOT_USED = Event("settings_problem", "WARNING", "setting not used", lambda *, variable, value, problem: None)
STEP_FAILED = Event("lifecycle", "ERROR", "our start or stop failed", lambda *, step, exception_type: None)

HOST_EVENTS = {
    row[0]: HostEvent(*row)
    for row in (
        ("api_request", "INFO", "API request", "method path status_code duration_ms agent_id"),
        ("external_tool_call", "INFO", "External tool call", "tool_address method status_code duration_ms url"),
        ("lease_acquired", "DEBUG", "Lease acquired", "worker_id task_id lease_duration_seconds"),
        ("lease_released", "DEBUG", "Lease released", "worker_id task_id duration_ms"),
        ("performance_alert", "WARNING", "Performance alert", "metric_name current_value threshold severity"),
        ("pipeline_step_completed", "INFO", "Pipeline step completed", "step_id tool_address success duration_ms"),
        ("pipeline_step_started", "INFO", "Pipeline step started", "step_id tool_address attempt"),
        ("scheduler_tick", "INFO", "Scheduler tick", "jobs_created lag_seconds"),
        ("security_event", "WARNING", "Security event", "security_event_type agent_id details"),
        ("task_completed", "INFO", "Task completed", "task_id run_id success duration_ms"),
        ("task_created", "INFO", "Task created", "task_id agent_id schedule_kind title"),
        ("task_started", "INFO", "Task started", "task_id run_id agent_id attempt"),
        ("worker_heartbeat", "DEBUG", "Worker heartbeat", "worker_id queue_depth active_leases"),
    )
}
"""By name. Their level is ERROR where `success` is false; an `api_request` that has an access line is DEBUG."""

EVENTS = tuple(
    event
    for value in list(globals().values())
    for event in (value.values() if isinstance(value, dict) else (value,))
    if isinstance(event, Event)
)
