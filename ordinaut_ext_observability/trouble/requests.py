"""The newest requests that failed or were slow, by route."""

from __future__ import annotations

from collections import deque
from typing import Any, Final

ROUTES: Final = 100
"""Routes remembered; past it the one goes that has had no such request for the longest time."""
PER_ROUTE: Final = 10
"""Requests remembered of each: one that always fails does not push out the others'."""


class SlowRequests:
    """The requests of this process. One thread at a time adds them."""

    def __init__(self, slow_seconds: float) -> None:
        self.slow_seconds = slow_seconds
        """A request that takes as long is slow."""
        self._by_route: dict[str, deque[dict[str, Any]]] = {}

    def add(self, route: str, facts: dict[str, Any]) -> None:
        """Remember a request that failed or was slow."""
        self._by_route[route] = newest = self._by_route.pop(route, None) or deque(maxlen=PER_ROUTE)
        newest.append({"route": route, **facts})
        if len(self._by_route) > ROUTES:
            del self._by_route[next(iter(self._by_route))]

    def all(self) -> list[dict[str, Any]]:
        """All that are remembered, for any thread."""
        return [request for requests in list(self._by_route.values()) for request in list(requests)]
