"""Recent trouble: errors in groups, of all processes through a document that they share; requests of this one.

Errors of one fingerprint are a group. It is a digest of the exception's type and of the innermost functions of the
host's code it came through: the same for other lines, values and messages. Text alone is kept of an exception, so that
no frame and no exception lives longer. The message is not: it may hold any secret, and the log has it.
"""

from __future__ import annotations

import hashlib
import os
import threading
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from functools import lru_cache
from traceback import walk_tb
from typing import Any, Final

import orjson

from ordinaut_ext_observability.background.clock import Clock
from ordinaut_ext_observability.background.fork import reset_in_forked_child
from ordinaut_ext_observability.correlation.context import current_correlation_id
from ordinaut_ext_observability.logs import event_types as events
from ordinaut_ext_observability.logs.events import timestamp
from ordinaut_ext_observability.metrics.declarations import Metrics

MAX_GROUPS: Final = 100
"""More than a person looks through: 50 kB as JSON, 300 kB where all texts are as long as they may be."""
ERRORS_PER_SECOND: Final = 50
"""Errors looked at in a second: each takes 50 µs, one of a recursion that went too deep a millisecond."""
_SAME_SECONDS: Final = 5.0
"""Within this time an error that was logged and raised again is logged again, or leaves the application."""
_REMEMBERED: Final = 64
"""Errors of which that is noticed: as many as may be on their way at a time."""
ROUTES: Final = 100
"""Routes remembered; past it the one goes that has had no such request for the longest time."""
PER_ROUTE: Final = 10
"""Requests remembered of each: a route that always fails does not push out the others'."""
FRAMES: Final = 5
"""Functions in a fingerprint. With more of them, each way to a faulty function would make a group."""
MAX_TEXT_LENGTH: Final = 200
_INLINED: Final = ("<listcomp>", "<setcomp>", "<dictcomp>")
"""Code objects of Python 3.11; later ones have none for these."""
_NOT_THE_HOSTS: Final = ("<", f"{os.path.dirname(os.__file__)}/", f"{os.path.dirname(os.path.dirname(__file__))}/")  # noqa: PTH120
"""Paths of generated code, of the standard library and of this package begin with these."""

Group = dict[str, Any]
"""A group as JSON. Its instants are text in UTC, which sorts as they do; other texts are those of the newest error."""
Groups = dict[str, Group]
_ADDED, _LATER = ("count", "reopenings"), ("resolved_at", "reopened_at")
_NOTHING: Final = {"count": 0, "reopenings": 0, "resolved_at": "", "reopened_at": ""}


def describe(error: BaseException) -> tuple[str, dict[str, Any]]:
    """The fingerprint, 16 hexadecimal digits, and what is kept. Where no code is the host's, any counts."""
    kind = clean(f"{type(error).__module__}.{type(error).__qualname__}".removeprefix("builtins."))
    found = _functions(error, of_host=True) or _functions(error, of_host=False)
    frames, location = list(found)[:FRAMES], next(iter(found.values()), "")
    digest = hashlib.blake2b("\n".join((kind, *frames)).encode(), digest_size=8)
    kept = {"exception_type": kind, "frames": frames, "location": clean(location[-MAX_TEXT_LENGTH:])}
    return digest.hexdigest(), kept


def clean(text: str) -> str:
    """The text, cut to what is kept, in Unicode."""
    return text[:MAX_TEXT_LENGTH].encode(errors="replace").decode()


def raised_at(error: BaseException) -> tuple[object, int] | None:
    """The code and line that raised it, the same as long as it lives; None where it was not raised."""
    return next(((frame.f_code, line) for frame, line in reversed(list(walk_tb(error.__traceback__)))), None)


def _functions(error: BaseException, *, of_host: bool) -> dict[str, str]:
    """Functions and where in them, innermost first; each once, since the depth of a recursion is a value."""
    found: dict[str, str] = {}
    for frame, line in reversed(list(walk_tb(error.__traceback__))):
        code = frame.f_code
        if code.co_name not in _INLINED and (not of_host or _is_of_host(code.co_filename)):
            name = clean(f"{frame.f_globals.get('__name__')}:{code.co_qualname}")
            found.setdefault(name, f"{code.co_filename}:{line}")
    return found


@lru_cache(1024)
def _is_of_host(path: str) -> bool:
    return not ("site-packages" in path or "dist-packages" in path or path.startswith(_NOT_THE_HOSTS))


def is_open(group: Group) -> bool:
    """False where the group is resolved, and was not seen since."""
    return bool(group["last_seen"] > group["resolved_at"])


def add_groups(groups: Groups, seen: Groups) -> Groups:
    """Add what was seen to the groups, by fingerprint, and return them, `MAX_GROUPS` at most.

    The one resolved first goes before others; where none is resolved, the one not seen for the longest time.
    """
    for fingerprint, new in seen.items():
        groups[fingerprint] = _merge(groups[fingerprint], new) if fingerprint in groups else new
    while len(groups) > MAX_GROUPS:
        age = {name: (is_open(group), max(group["last_seen"], group["resolved_at"])) for name, group in groups.items()}
        del groups[min(groups, key=age.__getitem__)]
    return groups


def _merge(old: Group, new: Group) -> Group:
    merged: Group = {**max(new, old, key=lambda group: group["last_seen"])}
    merged["first_seen"] = min(old["first_seen"], new["first_seen"])
    merged |= {name: max(old[name], new[name]) for name in _LATER} | {name: old[name] + new[name] for name in _ADDED}
    if is_open(merged) and not is_open(old):
        merged |= {"reopenings": merged["reopenings"] + 1, "reopened_at": merged["last_seen"]}
    return merged


class ErrorGroups:
    """The groups as one process knows them. Safe from any thread."""

    def __init__(self, release: str, metrics: Metrics, clock: Clock, event: events.LogEvent) -> None:
        self._release = release
        self._metrics = metrics
        self._clock = clock
        self._event = event
        self.reset_after_fork()
        reset_in_forked_child(self)

    def reset_after_fork(self) -> None:
        """Begin with nothing: what the parent saw is the parent's."""
        self._lock = threading.RLock()
        self._unsent: Groups = {}
        self._shared = b"{}"
        self._shared_at: float | None = None
        self._second = self._looked_at = 0
        self._recent: dict[tuple[object, ...], tuple[object, float]] = {}

    def note(self, error: object, where: str, log_call: object = None) -> None:
        """Count an error that left the application at a route, or was logged by a `log_call`. Never raises."""
        if isinstance(error, Exception):
            try:
                with self._lock:
                    outcome = self._note(error, where, log_call)
                self._metrics.errors_seen.labels(outcome).inc()
            except Exception:  # noqa: BLE001 - of classes that are not ours
                self._metrics.count_internal_error("trouble")

    def _note(self, error: Exception, where: str, log_call: object) -> str:
        second = int(self._clock.monotonic())
        self._looked_at = self._looked_at + 1 if second == self._second else 1
        self._second = second
        if self._looked_at > ERRORS_PER_SECOND:
            return "not_looked_at"
        if self._was_counted(error, log_call):
            return "counted_before"
        fingerprint, group = describe(error)
        group |= {"where": clean(where), "release": self._release, "correlation_id": current_correlation_id()}
        group["first_seen"] = group["last_seen"] = timestamp(self._clock.wall())
        add_groups(self._unsent, {fingerprint: {**group, **_NOTHING, "count": 1}})
        return "grouped"

    def _was_counted(self, error: BaseException, log_call: object) -> bool:
        """True where it, or what it was raised `from`, was noted elsewhere in this request just before.

        No reference is kept, so that another error may get its identity: it counts if the same call logs it.
        """
        root = error if error.__cause__ is None else error.__cause__
        key, now = (id(root), raised_at(root), current_correlation_id()), self._clock.monotonic()
        noted_by, noted_at = self._recent.get(key, (log_call, now))
        if noted_by != log_call and now - noted_at <= _SAME_SECONDS:
            return True
        self._recent[key] = (log_call, now)
        if len(self._recent) > _REMEMBERED:
            del self._recent[next(iter(self._recent))]
        return False

    def known(self) -> tuple[Groups, float | None]:
        """The groups of all processes as of so many seconds ago (None: of this one alone), and what it saw since."""
        with self._lock:
            age = None if self._shared_at is None else self._clock.monotonic() - self._shared_at
            return add_groups(orjson.loads(self._shared), self._unsent), age

    def newest_group(self) -> tuple[str, Group] | None:
        """The open group that was first seen, or reopened, last, and its fingerprint."""
        found = [(name, group) for name, group in self.known()[0].items() if is_open(group)]
        return max(found, key=lambda item: max(item[1]["first_seen"], item[1]["reopened_at"]), default=None)

    def resolve(self, fingerprint: str) -> None:
        """Mark a group, if there is one, as resolved until it is seen again."""
        with self._lock:
            group = self.known()[0].get(fingerprint)
            if group is None or not is_open(group):
                return
            resolved = {**group, **_NOTHING, "resolved_at": timestamp(self._clock.wall())}
            add_groups(self._unsent, {fingerprint: resolved})
        self._event(events.ERROR_RESOLVED, fingerprint=fingerprint, exception_type=group["exception_type"])

    @property
    def waits(self) -> bool:
        """True while something is unsent."""
        return bool(self._unsent)

    def exchange(self, shared: bytes, write: Callable[[bytes], bool]) -> None:
        """Add what is unsent to the document of all processes. What `write` does not take is sent the next time."""
        with self._lock:
            sent, self._unsent = self._unsent, {}
        groups: Groups = {}
        with suppress(ValueError):  # lost or damaged: the next one has what is known here
            groups = read if isinstance(read := orjson.loads(shared), dict) else {}
        content, written = b"", False
        try:
            content = orjson.dumps(add_groups(groups, sent))
            written = not sent or write(content)
        finally:
            with self._lock:
                if written:
                    self._shared, self._shared_at = content, self._clock.monotonic()
                else:
                    self._unsent = add_groups(sent, self._unsent)


class RecentTrouble:
    """The groups of errors, and requests by route. One thread at a time adds a request; all else is safe from any."""

    def __init__(self, errors: ErrorGroups, slow_seconds: float) -> None:
        """A request is slow from `slow_seconds` on."""
        self.errors = errors
        self.slow_seconds = slow_seconds
        self.reset_after_fork()
        reset_in_forked_child(self)

    def reset_after_fork(self) -> None:
        """Begin with none: those of the parent are the parent's to show."""
        self._requests: dict[str, deque[dict[str, Any]]] = {}

    def add_request(self, route: str, facts: dict[str, Any]) -> None:
        """Remember a request that failed or was slow."""
        self._requests[route] = newest = self._requests.pop(route, None) or deque(maxlen=PER_ROUTE)
        newest.append({"route": route, **facts})
        if len(self._requests) > ROUTES:
            del self._requests[next(iter(self._requests))]

    def requests(self) -> list[dict[str, Any]]:
        """All that are remembered."""
        return [request for newest in list(self._requests.values()) for request in list(newest)]
