"""Any model is read as far as it is right, and what is wrong is told by its place."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import Field, field_validator

from ordinaut_ext_observability.settings.reading import Section, Unusable, read_usable


class Route(Section):
    receiver: str = Field(max_length=5)
    labels: dict[str, int] = {}


class Sender(Section):
    host: str
    port: int = 25

    @field_validator("port")
    @classmethod
    def _fail(cls, port: int) -> int:
        return port // (port - 1)


class Alerts(Section):
    interval_seconds: float = Field(default=30.0, gt=0)
    routes: list[Route] = []
    sender: Sender | None = None


class Sections(Section):
    alerts: Alerts = Alerts()
    title: str = "none"


@pytest.mark.parametrize(
    ("alerts", "used", "told"),
    [
        ({"interval_seconds": "7"}, {"interval_seconds": 7.0}, {}),
        ({"interval_seconds": -1}, {}, {("interval_seconds",): "must be more than 0.0"}),
        ({"interval_seconds": Unusable("is gone")}, {}, {("interval_seconds",): "is gone"}),
        ({"interval": 1}, {}, {("interval",): "no such name; there are interval_seconds, routes, sender"}),
        ({"routes": {"a": 1}}, {}, {("routes",): "must be a list"}),
        (
            {"routes": [{"receiver": "a"}, {"reciever": "b"}, 3, {"receiver": "c"}, {"receiver": "d", "labels": []}]},
            {"routes": [Route(receiver="a"), Route(receiver="c")]},
            {
                ("routes", 1, "receiver"): "is missing",
                ("routes", 1, "reciever"): "no such name; there are receiver, labels",
                ("routes", 2): "must be a mapping with receiver, labels",
                ("routes", 4, "labels"): "must be a mapping of names to values",
            },
        ),
        ({"sender": 5}, {}, {("sender",): "must be a mapping with host, port"}),
        ({"sender": {"port": 7}, "interval_seconds": 7}, {"interval_seconds": 7.0}, {("sender", "host"): "is missing"}),
    ],
)
def test_what_is_right_takes_effect_and_the_rest_is_told_by_its_place(
    alerts: dict[str, Any], used: dict[str, Any], told: dict[tuple[Any, ...], str]
) -> None:
    read, wrong = read_usable(Sections, {"alerts": alerts, "title": "mine"})
    assert read == Sections(alerts=Alerts(**used), title="mine")
    assert wrong == {("alerts", *place): words for place, words in told.items()}


def test_a_fault_in_a_validator_leaves_the_defaults() -> None:
    read, wrong = read_usable(Sections, {"alerts": {"sender": {"host": "h", "port": 1}}})
    assert (read, wrong) == (Sections(), {("alerts",): "cannot be used"})


def test_what_is_no_mapping_at_all_leaves_the_defaults() -> None:
    assert read_usable(Sections, "text") == (Sections(), {(): "must be a mapping with alerts, title"})
