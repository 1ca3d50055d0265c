"""The tree of routes, and what a route says: who is told, of which alerts together, how soon and how often."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

from ordinaut_ext_observability.alerts.routing.matchers import match_all
from ordinaut_ext_observability.promql.matchers import LabelMatcher

if TYPE_CHECKING:
    from ordinaut_ext_observability.alerts.routing.intervals import TimeIntervals
    from ordinaut_ext_observability.alerts.routing.schema import InhibitRule


@dataclass(frozen=True)
class Route:
    """A node of the tree. What a route does not say, the reader of the configuration took from its parent."""

    receiver: str
    group_by: tuple[str, ...] | None = ()
    """Names of the labels by which alerts are told together; None: by all, each alert alone (`...`)."""
    group_wait_ms: int = 30_000
    """Time from a group's first alert to its first notification."""
    group_interval_ms: int = 300_000
    """Time between two looks at a group that was told."""
    repeat_intervals_ms: tuple[int, ...] = (4 * 3_600_000,)
    """Times after which what still fires is told again: the first, the second, … repeat; the last one goes on."""
    matchers: tuple[LabelMatcher, ...] = ()
    continues: bool = False
    """Look on among the next siblings, too."""
    mute_time_intervals: tuple[str, ...] = ()
    active_time_intervals: tuple[str, ...] = ()
    routes: tuple[Route, ...] = ()
    key: str = "{}"
    """Matchers from the root to here, as Alertmanager writes them: the beginning of every group's key."""

    def match(self, labels: Mapping[str, str]) -> Iterator[Route]:
        """The routes for an alert of these labels: the deepest that match, the first of siblings unless it goes on."""
        if not match_all(self.matchers, labels):
            return
        found = False
        for child in self.routes:
            matched = list(child.match(labels))
            found = found or bool(matched)
            yield from matched
            if matched and not child.continues:
                break
        if not found:
            yield self

    def group_labels(self, labels: Mapping[str, str]) -> dict[str, str]:
        """The labels that name the group of an alert."""
        names = sorted(labels) if self.group_by is None else sorted(self.group_by)
        return {name: labels[name] for name in names if name in labels}


@dataclass(frozen=True)
class Integration:
    """One way in which a receiver is told."""

    kind: str
    """One of those in `channels`: `slack`, `pagerduty`, `email`, `webhook`, `log`, `function`."""
    key: str
    """Name that no other has: `operators/slack[0]`."""
    send_resolved: bool = True
    options: Mapping[str, Any] = field(default_factory=dict, repr=False)
    """What the channel is made from, validated. Holds secrets: never shown."""


class Receiver(NamedTuple):
    """Somebody who is told, by every one of these ways."""

    name: str
    integrations: tuple[Integration, ...] = ()


@dataclass(frozen=True)
class Routing:
    """All that the configuration says of who is told of what."""

    route: Route
    receivers: Mapping[str, Receiver]
    inhibit_rules: tuple[InhibitRule, ...] = ()
    time_intervals: Mapping[str, TimeIntervals] = field(default_factory=dict)
    """By name."""
    resolve_timeout_ms: int = 300_000
    """An alert that is posted without an end ends after this time unless it is posted again."""
    original: str = ""
    """The configuration in Alertmanager's YAML, without secrets, for `amtool config`."""

    @cached_property
    def routes(self) -> tuple[Route, ...]:
        """Every route, parents first."""

        def walk(route: Route) -> Iterator[Route]:
            yield route
            for child in route.routes:
                yield from walk(child)

        return tuple(walk(self.route))

    @cached_property
    def integrations(self) -> Mapping[str, Integration]:
        """Every integration, by its key."""
        return {each.key: each for receiver in self.receivers.values() for each in receiver.integrations}
