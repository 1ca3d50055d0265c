"""Findings about who is told of alerts, and where what was told is kept."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil

from ordinaut_ext_observability.alerts.routing.config import SECRETS, RoutingError, read_routing
from ordinaut_ext_observability.alerts.routing.defaults import default_config
from ordinaut_ext_observability.alerts.routing.routes import Route
from ordinaut_ext_observability.cli.doctor.findings import Finding, advice, fact, problem
from ordinaut_ext_observability.promql.matchers import LabelMatcher
from ordinaut_ext_observability.runtime.store import choose_store
from ordinaut_ext_observability.settings.load import Settings

_SLACK = "export SLACK_WEBHOOK_URL=https://hooks.slack.com/services/…"


def telling(settings: Settings) -> Iterator[Finding]:
    """Find whether somebody is told of alerts, by routes that say what was meant."""
    if settings.notifications.alertmanager_urls:
        yield fact(
            "people are told by Alertmanager, to which all alerts are posted: no route or channel of ours is used"
        )
        return
    given, default = settings.file.alertmanager, default_config(settings.notifications)
    try:
        routing = read_routing(given or default)
    except RoutingError as error:
        yield problem(f"alertmanager in the configuration file is refused: {error}", "The default routes are used.")
        given, routing = {}, read_routing(default)
    yield fact(f"{len(routing.routes)} routes, to {', '.join(routing.receivers)}")
    if given:
        yield from _unreachable(routing.route, ())
        empty = (name for name, each in routing.receivers.items() if not each.integrations)
        yield from (advice(f"the receiver {name} has no integration: it tells nobody") for name in empty)
        loose = (number for number, rule in enumerate(routing.inhibit_rules) if not rule.equal)
        yield from (advice(f"inhibit_rules.{number} has no equal: any source mutes all targets") for number in loose)
        yield from (
            advice(f"alertmanager.{place} is in plain text: {place.rpartition('.')[2]}_file names a file")
            for place in _secrets(given)
        )
    told = [*routing.route.match({"alertname": "Any", "severity": "critical"})]
    if {each.kind for route in told for each in routing.receivers[route.receiver].integrations} <= {"log", "function"}:
        yield advice("nobody is told of critical alerts: they are logged", "Name a way to somebody.", _SLACK)
    choice = choose_store(settings)
    if choice.kind == "file" and (kind := _file_system(choice.target)) in ("overlay", "tmpfs", "ramfs"):
        lost = f"the store {choice.target} is on {kind}: it is lost with the container, with what was told and silences"
        yield advice(lost, "Put it on a volume.", "export ORDINAUT_OBS_STORE=file:/VOLUME/store.sqlite")


def _unreachable(route: Route, held: tuple[LabelMatcher, ...]) -> Iterator[Finding]:
    """Find routes that never match; `held` is what holds of all alerts that come to this one's parent."""
    for number, child in enumerate(route.routes):
        known = (*held, *route.matchers, *child.matchers)
        for earlier in route.routes[:number]:
            if not earlier.continues and all(_follows(matcher, known) for matcher in earlier.matchers):
                why = f"{earlier.key}, which is before it and does not continue, takes all its alerts"
                yield problem(f"the route {child.key} is never reached: {why}")
                break
        yield from _unreachable(child, (*held, *route.matchers))


def _follows(matcher: LabelMatcher, known: tuple[LabelMatcher, ...]) -> bool:
    """Tell whether it matches wherever the known ones do, as far as equality says."""
    values = [each.equal_to for each in known if each.name == matcher.name]
    return matcher in known or any(value is not None and matcher.matches(value) for value in values)


def _secrets(value: Any, place: str = "") -> Iterator[str]:
    """The places of texts that are secrets."""
    for name, item in value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ():
        yield from _secrets(item, f"{place}.{name}" if place else str(name))
        if name in SECRETS and isinstance(item, str):
            yield f"{place}.{name}"


def _file_system(path: str) -> str:
    """The kind of the file system of a path; empty where this system does not tell."""
    kinds = {Path(each.mountpoint): each.fstype for each in psutil.disk_partitions(all=True)}  # the last one shows
    return next((kinds[folder] for folder in Path(path).resolve().parents if folder in kinds), "")
