"""Escalation policies: who else is told of what still fires, as the configuration file has it under `escalations`.

escalations:
- matchers: [severity="critical"]
  levels: [{receiver: lead, after: 10m, repeat: 30m}, {receiver: head, after: 1h}]
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Any

from pydantic import Field

from ordinaut_ext_observability.alerts.routing.config import RoutingError, copied
from ordinaut_ext_observability.alerts.routing.routes import Routing
from ordinaut_ext_observability.alerts.routing.schema import Duration, Matchers
from ordinaut_ext_observability.settings.reading import Section, read_usable


class Level(Section):
    receiver: str
    after: Duration
    """Milliseconds from the first notification of a group."""
    repeat: Annotated[Duration, Field(gt=0)] | None = None
    """Milliseconds between notifications of this receiver; None: as the group's route has it."""
    active_time_intervals: list[str] = Field(default=[])
    """Times in which the level is reached; then it stays until the group is resolved."""


class Policy(Section):
    matchers: Matchers = Field(default=[])
    levels: list[Level] = Field(min_length=1, max_length=10)
    ack_timeout: Annotated[Duration, Field(gt=0)] = 4 * 3_600_000
    """Milliseconds for which an acknowledgement holds that names no time."""

    def matches(self, labels: Mapping[str, str]) -> bool:
        """Tell whether it is about an alert of these labels."""
        return all(matcher.matches(labels.get(matcher.name, "")) for matcher in self.matchers)


class _Policies(Section):
    escalations: list[Policy] = Field(default=[], max_length=100)


def read_escalations(data: list[Any], routing: Routing) -> tuple[Policy, ...]:
    """The policies, of which the first that matches counts. Raises `RoutingError` with every problem and its place."""
    config, told = read_usable(_Policies, copied({"escalations": data}))
    problems = [f"{'.'.join(map(str, place))}: {problem}" for place, problem in told.items()]
    if problems := problems or list(_unknown_names(config, routing)):
        raise RoutingError("; ".join(problems))
    return tuple(config.escalations)


def _unknown_names(config: _Policies, routing: Routing) -> Iterator[str]:
    known = ", ".join(routing.receivers)
    for number, policy in enumerate(config.escalations):
        for at, level in enumerate(policy.levels):
            place = f"escalations.{number}.levels.{at}"
            if level.receiver not in routing.receivers:
                yield f"{place}.receiver: there is no receiver {level.receiver!r}; there are {known}"
            for name in sorted(set(level.active_time_intervals) - routing.time_intervals.keys()):
                yield f"{place}: there is no time interval {name!r}"
