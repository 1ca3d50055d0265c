"""Reading the routing from what the configuration file has under `alertmanager`.

It is taken whole or not at all: half a tree of routes tells the wrong people. Names that Alertmanager has and this does
not are refused by name.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import replace
from typing import Any, Final, TypeVar
from urllib.parse import urlsplit

import yaml

from ordinaut_ext_observability.alerts.routing.matchers import matchers_text
from ordinaut_ext_observability.alerts.routing.routes import Integration, Receiver, Route, Routing
from ordinaut_ext_observability.alerts.routing.schema import (
    EscalationConfig,
    EscalationsConfig,
    GlobalConfig,
    ReceiverConfig,
    RouteConfig,
    RoutingConfig,
)
from ordinaut_ext_observability.errors import ObservabilityError
from ordinaut_ext_observability.settings.reading import Section, read_usable


class RoutingError(ObservabilityError):
    """The configuration cannot be used; the message names each place and what is wrong there, and holds no secret."""


_MOST_PROBLEMS: Final = 20
"""Mistakes that are named at one time."""
_KINDS: Final = ("slack", "pagerduty", "email", "webhook", "log", "function")
_FROM_GLOBAL: Final = {
    "slack": {"api_url": "slack_api_url"},
    "pagerduty": {"url": "pagerduty_url"},
    "email": {
        "from": "smtp_from",
        "smarthost": "smtp_smarthost",
        "hello": "smtp_hello",
        "auth_username": "smtp_auth_username",
        "auth_password": "smtp_auth_password",
        "require_tls": "smtp_require_tls",
    },
}
_NEEDED: Final = {
    "slack": ("api_url",),
    "pagerduty": ("routing_key",),
    "email": ("to", "from", "smarthost"),
    "webhook": ("url",),
}

SECRETS: Final = {
    *("api_url", "slack_api_url", "routing_key", "service_key", "auth_password", "smtp_auth_password", "password"),
    "credentials",
}
_OURS: Final = {"log_configs", "function_configs", "secret", "secret_file"}
"""Names that Alertmanager does not have: its tools refuse the whole file for one of them."""

SectionT = TypeVar("SectionT", bound=Section)


def read_routing(data: Mapping[str, Any]) -> Routing:
    """The routing that this mapping describes. Raises `RoutingError` with every problem and its place."""
    config = _read(RoutingConfig, data)
    receivers = {receiver.name: _receiver(receiver, config.global_) for receiver in config.receivers}
    _refuse([*_names_given_twice(config), *_unknown_names(config), *_lacking(receivers)])
    named = (*config.time_intervals, *config.mute_time_intervals)
    return Routing(
        _route(config.route, Route(config.route.receiver or ""), "{}"),
        receivers,
        tuple(config.inhibit_rules),
        {each.name: each for each in named},
        config.global_.resolve_timeout,
        original_of(data),
    )


def read_escalations(data: list[Any], routing: Routing) -> tuple[EscalationConfig, ...]:
    """The escalation policies, of which the first that matches counts. Raises `RoutingError`, as for the routing."""
    config, problems = _read(EscalationsConfig, {"escalations": data}), []
    receivers = [name for name, receiver in routing.receivers.items() if receiver.integrations]
    for number, policy in enumerate(config.escalations):
        for at, level in enumerate(policy.levels):
            place = f"escalations.{number}.levels.{at}"
            if level.receiver not in receivers:
                known = ", ".join(receivers)
                problems.append(f"{place}.receiver: {level.receiver!r} tells nobody; there are {known}")
            unknown = sorted(set(level.active_time_intervals) - routing.time_intervals.keys())
            problems += [f"{place}: there is no time interval {name!r}" for name in unknown]
    _refuse(problems)
    return tuple(config.escalations)


def _read(model: type[SectionT], data: Mapping[str, Any]) -> SectionT:
    config, told = read_usable(model, deepcopy(data))  # reading empties it of what is wrong
    _refuse([f"{'.'.join(map(str, place))}: {problem}" for place, problem in told.items()])
    return config


def _refuse(problems: Sequence[str]) -> None:
    if problems:
        raise RoutingError("; ".join(problems[:_MOST_PROBLEMS]))


def _names_given_twice(config: RoutingConfig) -> Iterator[str]:
    for place, entries in (
        ("receivers", config.receivers),
        ("time_intervals", (*config.time_intervals, *config.mute_time_intervals)),
    ):
        names = [entry.name for entry in entries]
        for name in sorted({name for name in names if names.count(name) > 1}):
            yield f"{place}: {name!r} is there twice"


def _unknown_names(config: RoutingConfig) -> Iterator[str]:
    root = config.route
    if root.receiver is None:
        yield "route.receiver: is missing"
    if root.all_matchers:
        yield "route.matchers: the root route must match every alert"
    if root.mute_time_intervals or root.active_time_intervals:
        yield "route: the root route must have no time intervals"
    receivers = [receiver.name for receiver in config.receivers]
    intervals = {each.name for each in (*config.time_intervals, *config.mute_time_intervals)}
    for place, route in _walk(root, "route"):
        if route.receiver is not None and route.receiver not in receivers:
            known = ", ".join(receivers) or "none"
            yield f"{place}.receiver: there is no receiver {route.receiver!r}; there are {known}"
        for name in sorted({*route.mute_time_intervals, *route.active_time_intervals} - intervals):
            yield f"{place}: there is no time interval {name!r}"
        if route.group_by and "..." in route.group_by and len(route.group_by) > 1:
            yield f"{place}.group_by: '...' stands alone"


def _walk(route: RouteConfig, place: str) -> Iterator[tuple[str, RouteConfig]]:
    yield place, route
    for number, child in enumerate(route.routes):
        yield from _walk(child, f"{place}.routes.{number}")


def _lacking(receivers: Mapping[str, Receiver]) -> Iterator[str]:
    for receiver in receivers.values():
        for integration in receiver.integrations:
            for name in _NEEDED.get(integration.kind, ()):
                if not integration.options.get(name):
                    yield f"receivers: {receiver.name}: {integration.kind}_configs needs {name}"


def _route(config: RouteConfig, parent: Route, key: str) -> Route:
    group_by = parent.group_by
    if config.group_by is not None:
        group_by = None if config.group_by == ["..."] else tuple(config.group_by)
    route = Route(
        config.receiver or parent.receiver,
        group_by,
        parent.group_wait_ms if config.group_wait is None else config.group_wait,
        config.group_interval or parent.group_interval_ms,
        config.repeat_interval or parent.repeat_intervals_ms,
        config.all_matchers,
        config.continue_,
        tuple(config.mute_time_intervals),
        tuple(config.active_time_intervals),
        key=key,
    )
    children = [_route(child, route, f"{key}/{matchers_text(child.all_matchers)}") for child in config.routes]
    return replace(route, routes=tuple(children))


def _receiver(config: ReceiverConfig, common: GlobalConfig) -> Receiver:
    integrations = []
    general = common.model_dump(by_alias=True)
    for kind in _KINDS:
        for number, entry in enumerate(getattr(config, f"{kind}_configs")):
            options = entry.model_dump(by_alias=True)
            for name, global_name in _FROM_GLOBAL.get(kind, {}).items():
                if options.get(name) is None:
                    options[name] = general.get(global_name)
            if "http_config" in options and options["http_config"] is None:
                options["http_config"] = general["http_config"]
            key = f"{config.name}/{kind}[{number}]"
            integrations.append(Integration(kind, key, options.pop("send_resolved"), options))
    return Receiver(config.name, tuple(integrations))


def original_of(data: Mapping[str, Any]) -> str:
    """The YAML of a configuration, for Alertmanager's own tools; secrets are `<secret>`, as it writes them."""
    return yaml.safe_dump(_shown(data), sort_keys=False, allow_unicode=True)


def _shown(value: Any, name: str = "") -> Any:
    if isinstance(value, Mapping):
        return {key: _shown(item, key) for key, item in value.items() if key not in _OURS}
    if isinstance(value, list):
        items = [_shown(item, name) for item in value]
        return items[0] if name == "repeat_interval" and items else items
    if name == "url" and isinstance(value, str):  # its path or query may be the key to it
        parts = urlsplit(value)
        return f"{parts.scheme}://{parts.hostname}/hidden"
    return "<secret>" if name in SECRETS and value is not None else value
