"""How many refused requests are answered as such, and how many get a line in the log."""

from __future__ import annotations

from collections import Counter

from ordinaut_ext_observability.background.clock import Clock
from ordinaut_ext_observability.web.addresses import network_of

REFUSALS_PER_MINUTE = 20
"""Refusals of one network that are answered as such; further ones within the minute are answered 429."""

ALL_REFUSALS_PER_MINUTE = 300
"""The same for all networks together, however many addresses somebody has; so many are remembered, too."""

LINES_PER_MINUTE = 60
"""Lines about refusals: one a second is enough to see an attack, and no burden."""

_WINDOW_SECONDS = 60.0


class RefusalLimiter:
    """Counts refusals within the current minute. Each costs the same, whatever came before."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._window_ends = 0.0
        self._answered: Counter[str] = Counter()
        self._answered_in_all = 0
        self._lines = 0
        self._not_logged = 0

    def count(self, address: str) -> tuple[bool, int | None]:
        """Note a refusal: is it one too many, and the number of refusals without a line since the last line.

        Instead of that number None, where this one gets no line either.
        """
        now = self._clock.monotonic()
        if now >= self._window_ends:
            self._window_ends = now + _WINDOW_SECONDS
            self._answered = Counter()
            self._answered_in_all = self._lines = 0
        network = network_of(address)
        answered = self._answered[network]
        too_many = answered >= REFUSALS_PER_MINUTE or self._answered_in_all >= ALL_REFUSALS_PER_MINUTE
        if not too_many:
            self._answered[network] += 1
            self._answered_in_all += 1
        # The first of a network, and the one after which it is answered 429.
        if too_many or answered not in (0, REFUSALS_PER_MINUTE - 1) or self._lines >= LINES_PER_MINUTE:
            self._not_logged += 1
            return too_many, None
        not_logged, self._not_logged = self._not_logged, 0
        self._lines += 1
        return too_many, not_logged
