"""Counting runs exactly once although their rows appear late and out of order. Without I/O.

A row of `task_run` is written when an attempt ends, with the time at which the work on its item began, and is committed
before the item's row leaves `due_work`. So a run that is visible now and was not at the last reading belongs to an
item that, at the last reading, was

- not leased yet: then its work began after the last reading, give or take the clocks, or
- leased: then its work began shortly before or after the reading that saw the lease first.

The first are read by a window over the newest `started_at`. For the others each lease is watched: its task, and the
minutes in which its work must have begun. That is a handful of rows however long the item takes and however large the
table is. All attempts of an item share those minutes.
"""

from __future__ import annotations

import base64
import struct
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Annotated, Any, NamedTuple

from pydantic import BeforeValidator, PlainSerializer, PlainValidator

_MOST_WATCHED = 4096

_SLACK_SECONDS = 90.0
"""By how much the clocks of workers and server may differ, with the time between leasing and beginning."""

_LONGEST_SECONDS = 6 * 3600.0
"""Reach of the first reading; and a lease that was lost is watched for as long."""


class Lease(NamedTuple):
    """A row of `due_work` that has an owner; times are seconds since 1970."""

    item: int
    owner: str
    task: str
    waiting_since: float
    """Its work cannot have begun before."""
    locked_until: float
    run_at: float = 0.0
    """When the work was due."""


class Run(NamedTuple):
    """A row of `task_run`, as far as counting it once needs it."""

    id: int
    """The upper half of its random UUID: shorter, and as unique as is needed."""
    task: str
    owner: str
    started_at: float
    success: bool


class Bracket(NamedTuple):
    """Between when the runs of a task began that may still appear."""

    task: str
    since: float
    until: float


@dataclass(frozen=True, slots=True)
class Watch:
    """A lease that was seen."""

    bracket: Bracket
    locked_until: float
    cut: bool = False
    """True where the work may have begun before the bracket, further back than anybody looks."""
    gone_at: float | None = None
    """When the lease was first missed."""
    seen_run: bool = False
    succeeded: bool = False


Key = tuple[int, str]
"""Item and owner: a lease taken over is another one, and both owners may be at work."""


Watched = Annotated[
    dict[Key, Watch],
    PlainSerializer(lambda watched: list(watched.items())),
    BeforeValidator(lambda pairs: {tuple(key): watch for key, watch in pairs}),
]
"""Saved as pairs, since names in JSON are texts."""

_SEEN = struct.Struct("<QdI")


def _pack(seen: dict[int, tuple[float, str]]) -> dict[str, Any]:
    tasks = {task: number for number, task in enumerate(dict.fromkeys(task for _, task in seen.values()))}
    runs = b"".join(_SEEN.pack(number, started_at, tasks[task]) for number, (started_at, task) in seen.items())
    return {"tasks": list(tasks), "runs": base64.b64encode(runs).decode("ascii")}


def _unpack(packed: dict[str, Any]) -> dict[int, tuple[float, str]]:
    runs = _SEEN.iter_unpack(base64.b64decode(packed["runs"]))
    return {number: (started_at, packed["tasks"][task]) for number, started_at, task in runs}


SeenRuns = Annotated[dict[int, tuple[float, str]], PlainSerializer(_pack), PlainValidator(_unpack)]
"""When each run began, and its task; saved as twenty bytes each, and each task's id once."""


@dataclass(frozen=True, slots=True)
class Plan:
    """The next things to read; nothing is decided before `finish`."""

    now: float
    since: float
    """Beginning of the window over `started_at`."""
    brackets: list[Bracket]
    """Further minutes to read, of these tasks alone."""
    skipped: tuple[float, float] | None
    """Between when runs began that are given up, because nobody read for too long."""
    watched: dict[Key, Watch]


@dataclass
class RunCounter:
    """The time up to which runs were read, the leases watched, and the runs seen that may be read again."""

    read_until: float | None = None
    """None before the baseline."""
    any_run: bool = False
    unaccounted: int = 0
    """Runs that must have ended and were not seen."""
    watched: Watched = field(default_factory=dict)
    seen: SeenRuns = field(default_factory=dict)

    def plan(self, now: float, leases: Sequence[Lease]) -> Plan:
        """The things to read at this time, with these leases, which must have been read before the runs are."""
        now = max(now, self.read_until or now)  # the clock of another server, after a failover, may be behind
        oldest = now - _LONGEST_SECONDS
        due = (now if self.read_until is None else self.read_until) - _SLACK_SECONDS
        since = max(due, oldest)
        watched = dict(self.watched)
        for lease in leases:
            key = (lease.item, lease.owner)
            if key in watched:
                watched[key] = replace(watched[key], locked_until=lease.locked_until, gone_at=None)
                continue
            begun = lease.waiting_since - _SLACK_SECONDS if self.read_until is None else due
            bracket = Bracket(lease.task, max(begun, oldest), now + _SLACK_SECONDS)
            watched[key] = Watch(bracket, lease.locked_until, cut=begun < oldest)
        brackets = [
            watch.bracket._replace(until=min(watch.bracket.until, since))
            for watch in watched.values()
            if watch.bracket.since < since
        ]
        skipped = (due, since) if due < since else None
        return Plan(now, since, merged(brackets), skipped, watched)

    def finish(
        self,
        plan: Plan,
        leases: Sequence[Lease],
        runs: Iterable[Run],
        *,
        heartbeats: Mapping[str, float] | None = None,
        read_until: float | None = None,
    ) -> list[Run]:
        """The runs to count, of those that were read for the plan; none at the first reading.

        `heartbeats` are the last ones of workers that gave any lately. `read_until` is when the last run read began,
        where the window held more than was read.
        """
        first = self.read_until is None
        fresh = {run.id: run for run in runs if run.id not in self.seen}
        self.seen.update({run.id: (run.started_at, run.task) for run in fresh.values()})
        self.any_run = self.any_run or bool(fresh)
        self.read_until = plan.now if read_until is None else min(plan.now, read_until + _SLACK_SECONDS)
        _note_runs(plan.watched, fresh.values())
        self.watched = self._kept(plan.watched, plan.now, leases, heartbeats or {})
        self._discard_seen()
        return [] if first else list(fresh.values())

    def _kept(
        self, watched: dict[Key, Watch], now: float, leases: Sequence[Lease], heartbeats: Mapping[str, float]
    ) -> dict[Key, Watch]:
        present = {(lease.item, lease.owner) for lease in leases}
        taken_over = {lease.item for lease in leases}
        kept = {}
        for key, watch in watched.items():
            if key in present:
                kept[key] = watch
                continue
            item, owner = key
            gone_at = now if watch.gone_at is None else watch.gone_at
            # Past its lease an item may have gone to another worker and be finished by that one, while this owner is
            # still at work. Heartbeats are sent between items: one that came later says that it is not.
            lost = item in taken_over or watch.locked_until < now
            moved_on = watch.succeeded or heartbeats.get(owner, 0.0) > gone_at
            if moved_on or not lost or now - gone_at > _LONGEST_SECONDS:
                self._give_up(watch)
            else:
                kept[key] = replace(watch, gone_at=gone_at)
        while len(kept) > _MOST_WATCHED:
            self._give_up(kept.pop(min(kept, key=lambda key: kept[key].bracket.since)))
        return kept

    def _give_up(self, watch: Watch) -> None:
        if watch.cut and not watch.seen_run and self.any_run:
            self.unaccounted += 1

    def _discard_seen(self) -> None:
        """Keep the runs seen that may be read again; no others matter."""
        window = (self.read_until or 0.0) - _SLACK_SECONDS
        by_task: dict[str, list[Bracket]] = defaultdict(list)
        for watch in self.watched.values():
            by_task[watch.bracket.task].append(watch.bracket)
        self.seen = {
            number: (started_at, task)
            for number, (started_at, task) in self.seen.items()
            if started_at >= window
            or any(bracket.since <= started_at <= bracket.until for bracket in by_task.get(task, ()))
        }


def merged(brackets: Iterable[Bracket]) -> list[Bracket]:
    """The same minutes, none of them twice."""
    found: list[Bracket] = []
    for bracket in sorted(brackets):
        last = found[-1] if found else None
        if last is not None and last.task == bracket.task and bracket.since <= last.until:
            found[-1] = last._replace(until=max(last.until, bracket.until))
        else:
            found.append(bracket)
    return found


def _note_runs(watched: dict[Key, Watch], runs: Iterable[Run]) -> None:
    """Have the watches tell what the runs say of them."""
    by_owner: dict[tuple[str, str], list[Run]] = defaultdict(list)
    for run in runs:
        by_owner[run.task, run.owner].append(run)
    for key, watch in watched.items():
        task, since, until = watch.bracket
        outcomes = {run.success for run in by_owner.get((task, key[1]), ()) if since <= run.started_at <= until}
        if outcomes:
            watched[key] = replace(watch, seen_run=True, succeeded=watch.succeeded or True in outcomes)
