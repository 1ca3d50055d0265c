"""Reading the routing from what the configuration file has under `alertmanager`.

It is taken whole or not at all: half a tree of routes tells the wrong people. Names that Alertmanager has and this does
not are refused by name.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any, Final

from pydantic import SecretStr

from ordinaut_ext_observability.alerts.routing.intervals import TimeInterval, TimeIntervals
from ordinaut_ext_observability.alerts.routing.matchers import make_matcher, matchers_text, sort_matchers
from ordinaut_ext_observability.alerts.routing.original import original_of
from ordinaut_ext_observability.alerts.routing.routes import InhibitRule, Integration, Receiver, Route, Routing
from ordinaut_ext_observability.alerts.routing.schema import (
    EscalationConfig,
    EscalationsConfig,
    GlobalConfig,
    InhibitConfig,
    ReceiverConfig,
    RouteConfig,
    RoutingConfig,
)
from ordinaut_ext_observability.errors import ObservabilityError
from ordinaut_ext_observability.promql.matchers import LabelMatcher
from ordinaut_ext_observability.settings.reading import Section, read_usable


class RoutingError(ObservabilityError):
    """The configuration cannot be used; the message names each place and what is wrong there, and holds no secret."""


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


def read_routing(data: Mapping[str, Any]) -> Routing:
    """The routing that this mapping describes. Raises `RoutingError` with every problem and its place."""
    config, told = read_usable(RoutingConfig, _copied(data))
    problems = [f"{'.'.join(map(str, place))}: {problem}" for place, problem in told.items()]
    receivers = {receiver.name: _receiver(receiver, config.global_) for receiver in config.receivers}
    if problems := problems or [*_names_given_twice(config), *_unknown_names(config), *_lacking(receivers)]:
        raise RoutingError("; ".join(problems))
    named = (*config.time_intervals, *config.mute_time_intervals)
    return Routing(
        _route(config.route, Route(config.route.receiver or ""), "{}"),
        receivers,
        tuple(_inhibit_rule(rule) for rule in config.inhibit_rules),
        {each.name: TimeIntervals(tuple(TimeInterval(**dict(one)) for one in each.time_intervals)) for each in named},
        config.global_.resolve_timeout,
        original_of(data),
    )


def read_escalations(data: list[Any], routing: Routing) -> tuple[EscalationConfig, ...]:
    """The escalation policies, of which the first that matches counts. Raises `RoutingError`, as for the routing."""
    config, told = read_usable(EscalationsConfig, _copied({"escalations": data}))
    problems = [f"{'.'.join(map(str, place))}: {problem}" for place, problem in told.items()]
    receivers = [name for name, receiver in routing.receivers.items() if receiver.integrations]
    for number, policy in enumerate(config.escalations if not told else ()):
        for at, level in enumerate(policy.levels):
            place = f"escalations.{number}.levels.{at}"
            if level.receiver not in receivers:
                known = ", ".join(receivers)
                problems.append(f"{place}.receiver: {level.receiver!r} tells nobody; there are {known}")
            unknown = sorted(set(level.active_time_intervals) - routing.time_intervals.keys())
            problems += [f"{place}: there is no time interval {name!r}" for name in unknown]
    if problems:
        raise RoutingError("; ".join(problems))
    return tuple(config.escalations)


def _copied(data: Any) -> Any:
    """The data anew: reading empties it of what is wrong."""
    if isinstance(data, Mapping):
        return {key: _copied(value) for key, value in data.items()}
    return [_copied(value) for value in data] if isinstance(data, list) else data


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
    if _matchers(root):
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
    inherited = Route(
        config.receiver or parent.receiver,
        group_by,
        parent.group_wait_ms if config.group_wait is None else config.group_wait,
        config.group_interval or parent.group_interval_ms,
        config.repeat_interval or parent.repeat_intervals_ms,
    )
    children = [(child, f"{key}/{matchers_text(_matchers(child))}") for child in config.routes]
    return replace(
        inherited,
        matchers=_matchers(config),
        continues=config.continue_,
        mute_time_intervals=tuple(config.mute_time_intervals),
        active_time_intervals=tuple(config.active_time_intervals),
        routes=tuple(_route(child, inherited, child_key) for child, child_key in children),
        key=key,
    )


def _inhibit_rule(config: InhibitConfig) -> InhibitRule:
    return InhibitRule(_matchers(config, "source_"), _matchers(config, "target_"), tuple(config.equal))


def _matchers(config: RouteConfig | InhibitConfig, prefix: str = "") -> tuple[LabelMatcher, ...]:
    """The matchers of all three ways to write them."""
    matchers: list[LabelMatcher] = list(getattr(config, f"{prefix}matchers"))
    for name, operator in (("match", "="), ("match_re", "=~")):
        given: dict[str, str] = getattr(config, f"{prefix}{name}")
        matchers += [make_matcher(label, operator, value) for label, value in given.items()]
    return sort_matchers(matchers)


def _receiver(config: ReceiverConfig, common: GlobalConfig) -> Receiver:
    integrations = []
    for kind in _KINDS:
        for number, entry in enumerate(getattr(config, f"{kind}_configs")):
            options = _plain_options(entry)
            general = _plain_options(common)
            for name, global_name in _FROM_GLOBAL.get(kind, {}).items():
                if options.get(name) is None:
                    options[name] = general.get(global_name)
            if "http_config" in options and options["http_config"] is None:
                options["http_config"] = general["http_config"]
            key = f"{config.name}/{kind}[{number}]"
            integrations.append(Integration(kind, key, options.pop("send_resolved"), options))
    return Receiver(config.name, tuple(integrations))


def _plain_options(section: Section) -> dict[str, Any]:
    """The fields under the names that the file has; what a file holds stands where it would be written itself."""
    options: dict[str, Any] = {}
    for name, info in type(section).model_fields.items():
        value = getattr(section, name)
        value = value.get_secret_value() if isinstance(value, SecretStr) else value
        value = _plain_options(value) if isinstance(value, Section) else value
        options[info.alias or name] = value
    for name in [name for name in options if name.endswith("_file") and name.removesuffix("_file") in options]:
        content = options.pop(name)
        if content is not None:
            options[name.removesuffix("_file")] = content
    return options
