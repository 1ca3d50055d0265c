"""Who is told: the tree of routes as Alertmanager reads it, and what is wrong with one, by its place."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from datetime import datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
import yaml

from pydantic import SecretStr

from ordinaut_ext_observability.alerts.routing.config import RoutingError, read_routing
from ordinaut_ext_observability.alerts.routing.defaults import default_config
from ordinaut_ext_observability.alerts.routing.matchers import matchers_text, parse_matchers
from ordinaut_ext_observability.alerts.routing.routes import Routing
from ordinaut_ext_observability.settings.parts import NotificationSettings

CONFIG = """
global: {resolve_timeout: 2m, slack_api_url: "https://hooks.example.com/secret"}
route:
  receiver: everybody
  group_by: [alertname]
  group_wait: 5s
  repeat_interval: [1h, 4h]
  routes:
  - matchers: ['severity="critical"', 'team=~"a|b"']
    receiver: night
    group_by: ['...']
    continue: true
  - match: {severity: critical}
    receiver: day
    active_time_intervals: [hours]
    routes:
    - {match_re: {node: "x.*"}, receiver: everybody}
  - {matchers: ['{team!="c", env=""}'], receiver: day}
receivers:
- name: everybody
  webhook_configs: [{url: "http://example.com/hook?key=secret", send_resolved: false}]
- name: night
  pagerduty_configs: [{routing_key: secretsecretsecretsecretsecretse}]
  slack_configs: [{channel: "#night"}]
- name: day
  log_configs: [{}]
inhibit_rules:
- {source_matchers: ['severity="critical"'], target_match: {severity: warning}, equal: [alertname]}
time_intervals:
- name: hours
  time_intervals:
  - {times: [{start_time: "09:00", end_time: "17:00"}], weekdays: ["monday:friday"], location: Europe/Berlin}
"""


def read(text: str, **changes: Any) -> Routing:
    return read_routing({**yaml.safe_load(text), **changes})


@pytest.fixture(scope="module")
def routing() -> Routing:
    return read(CONFIG)


@pytest.mark.parametrize(
    ("labels", "receivers"),
    [
        ({"severity": "critical", "team": "a"}, ["night", "day"]),
        ({"severity": "critical", "team": "c"}, ["day"]),
        ({"severity": "critical", "node": "x1"}, ["everybody"]),
        ({"severity": "critical", "node": "ax1"}, ["day"]),
        ({"severity": "warning"}, ["day"]),
        ({"severity": "warning", "team": "c"}, ["everybody"]),
        ({"severity": "warning", "env": "prod"}, ["everybody"]),
        ({}, ["day"]),
    ],
)
def test_alert_takes_the_routes_that_amtool_says(
    routing: Routing, tmp_path: Path, labels: dict[str, str], receivers: list[str]
) -> None:
    assert [route.receiver for route in routing.route.match(labels)] == receivers
    amtool = shutil.which("amtool")
    if amtool is None:
        if os.environ.get("CI") == "true":
            pytest.fail("amtool is not installed")
        pytest.skip("amtool is not installed (Debian: prometheus-alertmanager)")
    (tmp_path / "alertmanager.yml").write_text(routing.original)
    command = [amtool, "config", "routes", "test", f"--config.file={tmp_path}/alertmanager.yml"]
    answer = subprocess.run([*command, *(f"{name}={value}" for name, value in labels.items())], capture_output=True)
    assert answer.stdout.decode().strip() == ",".join(receivers)


def test_routes_take_over_what_their_parents_say(routing: Routing) -> None:
    root, night, day, inner, last = routing.routes
    assert (root.group_wait_ms, root.group_interval_ms, root.repeat_intervals_ms) == (
        5000,
        300_000,
        (3_600_000, 14_400_000),
    )
    assert (night.group_by, day.group_by, inner.group_by) == (None, ("alertname",), ("alertname",))
    assert night.key == '{}/{severity="critical",team=~"a|b"}'
    assert inner.key == '{}/{severity="critical"}/{node=~"x.*"}'
    assert last.repeat_intervals_ms == (3_600_000, 14_400_000)
    assert routing.resolve_timeout_ms == 120_000


def test_integrations_have_what_is_said_of_them_and_for_all(routing: Routing) -> None:
    slack, pagerduty = routing.receivers["night"].integrations
    assert (slack.key, slack.options["api_url"], slack.send_resolved) == (
        "night/slack[0]",
        "https://hooks.example.com/secret",
        False,
    )
    assert (pagerduty.kind, pagerduty.send_resolved) == ("pagerduty", True)
    assert "secret" not in routing.original.replace("<secret>", "")


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"route": {}}, "route.receiver: is missing"),
        ({"route": {"receiver": "x"}}, "route.receiver: there is no receiver 'x'; there are everybody, night, day"),
        ({"route": {"receiver": "day", "group_wait": "soon"}}, "route.group_wait: is not a duration"),
        (
            {"route": {"receiver": "day", "routes": [{"matchers": ["a~b"]}]}},
            "route.routes.0.matchers: 'a~b' is no matcher",
        ),
        ({"route": {"receiver": "day", "matchers": ["a=b"]}}, "route.matchers: the root route must match every alert"),
        ({"route": {"receiver": "day", "routes": [{"mute_time_intervals": ["x"]}]}}, "there is no time interval 'x'"),
        ({"templates": ["*.tmpl"]}, "templates: no such name; there are global, route, receivers"),
        ({"receivers": [{"name": "day", "webhook_configs": [{}]}]}, "receivers: day: webhook_configs needs url"),
        ({"receivers": [{"name": "day"}, {"name": "day"}]}, "receivers: 'day' is there twice"),
        ({"receivers": [{"name": "a", "opsgenie_configs": []}]}, "receivers.0.opsgenie_configs: no such name"),
        (
            {"time_intervals": [{"name": "hours", "time_intervals": [{"weekdays": ["noday"]}]}]},
            "weekdays: is not a day",
        ),
        (
            {"time_intervals": [{"name": "hours", "time_intervals": [{"location": "Moon"}]}]},
            "location: is no time zone",
        ),
        (
            {
                "time_intervals": [
                    {"name": "n", "time_intervals": [{"times": [{"start_time": "22:00", "end_time": "6:00"}]}]}
                ]
            },
            "times: is no time such as 09:00",
        ),
        ({"route": {"receiver": "day", "routes": [{"match_re": {"a": "("}}]}}, "route.routes.0.match_re.a: regular"),
        ({"route": {"receiver": "day", "routes": [{"receiver": "x"}] * 400}}, "route.routes.19.receiver: there"),
    ],
)
def test_problem_is_told_by_its_place(changes: dict[str, Any], problem: str) -> None:
    with pytest.raises(RoutingError) as refused:
        read(CONFIG, **changes)
    assert problem in str(refused.value)
    assert "secret" not in str(refused.value)
    assert "routes.20" not in str(refused.value)


def test_severity_decides_where_nothing_is_configured() -> None:
    settings = NotificationSettings(
        slack_webhook_url=SecretStr("https://hooks.example.com/s"),
        pagerduty_routing_key=SecretStr("k" * 32),
        smtp_url=SecretStr("smtp://bot%40example.com:p%2Fw@mail.example.com"),
        email_to=("a@example.com", "b@example.com"),
        time_zone="America/New_York",
    )
    routing = read_routing(default_config(settings))

    def told(severity: str) -> list[str]:
        routes = routing.route.match({"alertname": "X", "severity": severity})
        receivers = [routing.receivers[route.receiver] for route in routes]
        return [each.kind for receiver in receivers for each in receiver.integrations]

    assert told("info") == told("") == ["log", "function"]
    assert told("warning") == ["slack", "log", "function", "email"]
    assert told("critical") == ["slack", "pagerduty", "email", "log", "function"]
    (mail,) = routing.receivers["warning-in-business-hours"].integrations
    assert {name: mail.options[name] for name in ("to", "from", "smarthost", "auth_username", "auth_password")} == {
        "to": "a@example.com, b@example.com",
        "from": "bot@example.com",
        "smarthost": "mail.example.com:587",
        "auth_username": "bot@example.com",
        "auth_password": "p/w",
    }
    assert read_routing(default_config(NotificationSettings())).receivers["critical"].integrations[0].kind == "log"


@pytest.mark.parametrize(
    ("local", "within"),
    [
        ("2026-03-27 08:59", False),
        ("2026-03-27 09:00", True),
        ("2026-03-27 17:00", False),
        ("2026-03-28 10:00", False),  # Saturday
        ("2026-03-30 09:00", True),  # the first Monday of summer time
        ("2026-03-30 16:59", True),
    ],
)
def test_hours_are_those_of_the_place_in_summer_and_winter(routing: Routing, local: str, within: bool) -> None:
    at = datetime.fromisoformat(local).replace(tzinfo=ZoneInfo("Europe/Berlin"))
    assert routing.time_intervals["hours"].contains(round(at.timestamp() * 1000)) is within


@pytest.mark.parametrize(
    ("interval", "days"),
    [
        ({"days_of_month": ["-3:-1"]}, [26, 27, 28]),
        ({"days_of_month": ["1:2", "30:31"]}, [1, 2]),
        ({"weekdays": ["sunday"], "months": ["february"], "years": ["2026:2027"]}, [1, 8, 15, 22]),
        ({"months": ["march:may"]}, []),
        ({"times": [{"start_time": "12:00", "end_time": "24:00"}], "days_of_month": ["28"]}, [28]),
    ],
)
def test_days_are_counted_from_both_ends_of_the_month(interval: dict[str, Any], days: list[int]) -> None:
    intervals = [{"name": "n", "time_intervals": [interval]}]
    routing = read(CONFIG, time_intervals=[*yaml.safe_load(CONFIG)["time_intervals"], *intervals])
    noons = [datetime(2026, 2, day, 12, tzinfo=ZoneInfo("UTC")) for day in range(1, 29)]
    contains = routing.time_intervals["n"].contains
    assert [noon.day for noon in noons if contains(round(noon.timestamp() * 1000))] == days


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ('{a="b"}', '{a="b"}'),
        ("a=b, c!=d", '{a="b",c!="d"}'),
        (' a =~ "x|y" ,', '{a=~"x|y"}'),
        (r'a="q\"\\n\n"', '{a="q\\"\\\\n\\n"}'),
        ('"odd name"="1"', '{odd name="1"}'),
        ("a=", '{a=""}'),
        ("{}", "{}"),
    ],
)
def test_matchers_are_read_in_every_form(text: str, written: str) -> None:
    assert matchers_text(parse_matchers(text)) == written


@pytest.mark.parametrize("text", ["a", "=b", "a=b c=d{", 'a="b', "a=~(", "{a=b}{c=d}"])
def test_text_that_is_no_matcher_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="."):
        parse_matchers(text)


def test_amlint_has_nothing_to_say_of_the_default_routes(tmp_path: Path) -> None:
    settings = NotificationSettings(
        slack_webhook_url="https://hooks.slack.com/services/x",
        pagerduty_routing_key="k" * 32,
        smtp_url="smtp://u:p@mail.example.org:587",
        email_to=("a@example.org",),
        webhook_url="https://example.org/hook",
    )
    config = tmp_path / "alertmanager.yml"
    config.write_text(read_routing(default_config(settings)).original)
    command = [str(Path(sys.executable).with_name("amlint")), "check", "--format=json", str(config)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    found = [(each["code"], each["where"]) for each in json.loads(done.stdout)]
    # Alertmanager has no log: to its tools a receiver that only logs has nothing.
    assert found == [("empty-receiver", "receivers[discard]"), ("empty-receiver", "receivers[info]")]
