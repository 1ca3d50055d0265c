"""What the doctor says of the configuration's routes, and of the place of the store."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import yaml

from ordinaut_ext_observability.cli.doctor.findings import Kind
from ordinaut_ext_observability.cli.doctor.telling import telling
from ordinaut_ext_observability.settings.sections import ConfigFile
from ordinaut_ext_observability.settings.load import Settings, load_settings

GOOD = """
route: {receiver: a, routes: [{matchers: [severity=critical], receiver: b}]}
receivers: [{name: a, log_configs: [{}]}, {name: b, webhook_configs: [{url: "http://127.0.0.1/x"}]}]
"""
NOBODY = "nobody is told of critical alerts: they are logged"


@pytest.fixture(autouse=True)
def _clean(clean_process: pytest.MonkeyPatch) -> None:
    """Settings of nobody."""


def told(text: str, settings: Settings | None = None) -> list[tuple[Kind, str]]:
    given: dict[str, Any] = yaml.safe_load(text)
    settings = replace(settings or load_settings(), file=ConfigFile(alertmanager=given))
    return [(finding.kind, finding.sign) for finding in telling(settings) if finding.kind is not Kind.FACT]


def changed(**changes: Any) -> str:
    return yaml.safe_dump(yaml.safe_load(GOOD) | changes)


def test_nothing_is_said_of_routes_that_are_right() -> None:
    assert told(GOOD) == []


def test_default_routes_without_any_way_to_somebody_tell_the_log_alone(clean_process: pytest.MonkeyPatch) -> None:
    assert told("{}") == [(Kind.ADVICE, NOBODY)]
    clean_process.setenv("SLACK_WEBHOOK_URL", "https://hooks.slack.com/services/x")
    assert told("{}", load_settings()) == []


def test_refused_section_is_a_problem_with_its_place_and_reason() -> None:
    (refused, _) = told(changed(route={"receiver": "c"}))
    assert refused[0] is Kind.PROBLEM
    assert refused[1].endswith("route.receiver: there is no receiver 'c'; there are a, b")


@pytest.mark.parametrize(
    ("first", "second", "unreachable"),
    [
        ({"matchers": ["a=~x|y"]}, {"matchers": ["a=x", "b=1"]}, True),
        ({"matchers": ["a!=z"]}, {"matchers": ["a=x"]}, True),
        ({}, {"matchers": ["a=x"]}, True),
        ({"matchers": ["a=~x|y"]}, {"matchers": ["a=~x|y", "b=1"]}, True),
        ({"matchers": ["a=~x|y"], "continue": True}, {"matchers": ["a=x"]}, False),
        ({"matchers": ["a=~x|y"]}, {"matchers": ["a=z"]}, False),
        ({"matchers": ["a=x", "b=1"]}, {"matchers": ["a=x"]}, False),
        ({"matchers": ["a=x"]}, {"matchers": ["a=~x|y"]}, False),
    ],
)
def test_route_whose_alerts_an_earlier_one_takes_is_a_problem(first: Any, second: Any, unreachable: bool) -> None:
    found = told(changed(route={"receiver": "b", "routes": [{"receiver": "b", "routes": [first, second]}]}))
    assert [kind for kind, sign in found if "is never reached" in sign] == [Kind.PROBLEM] * unreachable


def test_what_a_route_inherits_from_its_parent_counts() -> None:
    child = {"routes": [{"matchers": ["a=~x|y"]}, {"matchers": ["b=1"]}], "matchers": ["a=x"]}
    ((_, sign),) = told(changed(route={"receiver": "b", "routes": [child]}))
    assert sign.startswith('the route {}/{a="x"}/{b="1"} is never reached: {}/{a="x"}/{a=~"x|y"}, which')


def test_empty_receivers_loose_inhibition_and_secrets_are_named() -> None:
    receivers = [*yaml.safe_load(GOOD)["receivers"], {"name": "c"}]
    receivers[1]["webhook_configs"][0]["http_config"] = {"basic_auth": {"password": "s3cr3t"}}
    found = told(
        changed(
            receivers=receivers,
            inhibit_rules=[{"source_matchers": ["a=b"], "target_matchers": ["c=d"]}],
        )
    )
    assert [sign.split(":")[0] for _, sign in found] == [
        "the receiver c has no integration",
        "inhibit_rules.0 has no equal",
        "alertmanager.receivers.1.webhook_configs.0.http_config.basic_auth.password is in plain text",
    ]
    assert "s3cr3t" not in str(found)


def test_store_that_goes_with_the_container_is_named(clean_process: pytest.MonkeyPatch) -> None:
    clean_process.setenv("ORDINAUT_OBS_STORE", "file:/dev/shm/folder/store.sqlite")
    ((kind, sign),) = told(GOOD, load_settings())
    assert kind is Kind.ADVICE
    assert sign.startswith("the store /dev/shm/folder/store.sqlite is on tmpfs: it is lost with the container")
    clean_process.setenv("ORDINAUT_OBS_STORE", "file:/proc/store.sqlite")
    assert told(GOOD, load_settings()) == []
