"""The recent trouble of one process: the errors it knows of, and its requests that failed or were slow."""

from __future__ import annotations

from collections import deque
from typing import Any, Final

from ordinaut_ext_observability.trouble.errors import ErrorGroups

ROUTES: Final = 100
"""Routes remembered; past it the one goes that has had no such request for the longest time."""
PER_ROUTE: Final = 10
"""Requests remembered of each: a route that always fails does not push out the others'."""


class RecentTrouble:
    """The groups of errors, and requests by route. One thread at a time adds a request; all else is safe from any."""

    def __init__(self, errors: ErrorGroups, slow_seconds: float) -> None:
        """A request is slow from `slow_seconds` on."""
        self.errors = errors
        self.slow_seconds = slow_seconds
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
