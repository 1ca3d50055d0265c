"""One process's side of the relay: the vectors it publishes, and under which id."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable
from typing import NamedTuple

from ordinaut_ext_observability.metrics.family import AnyFamily
from ordinaut_ext_observability.relay.base import Published, Refused, RelayStore
from ordinaut_ext_observability.relay.totals import Baseline
from ordinaut_ext_observability.relay.vector import (
    About,
    NumberReader,
    Numbers,
    counting,
    encode,
    measuring,
)

_REMEMBERED = 8
"""Vectors of which the numbers are kept, so that after a fold it is known what was folded."""


_MAX_UNANSWERED = 4
"""Vectors of which it is not known whether the store has them; then the last one is sent again and again, unchanged."""


class _Made(NamedTuple):
    """A vector, and what it was made of before the baseline was subtracted."""

    sequence: int
    counted: Numbers
    numbers: Numbers
    content: bytes


class Incarnation:
    """The counts of this process since it began, or since its previous incarnation was folded.

    They only grow. An incarnation that was folded, as one is that was stopped for long, is not continued: its counts
    are in the retired total. What was counted since is published under a new id.
    """

    def __init__(self, families: Callable[[], list[AnyFamily]], serves: Callable[[], bool]) -> None:
        self._counts = NumberReader(lambda: counting(families()))
        self._gauges = NumberReader(lambda: measuring(families()))
        self._serves = serves
        self._baseline: Baseline | None = None
        self._begin()

    def _begin(self) -> None:
        self.id = os.urandom(16).hex()
        self.sequence = 0
        self._last_store = ""
        self._made: deque[_Made] = deque(maxlen=_REMEMBERED)
        self._unanswered = 0

    def begin_at(self, counted: Numbers) -> None:
        """Take a new id; what was counted until then is not this incarnation's."""
        self._baseline = Baseline(counted)
        self._begin()

    def forked(self) -> None:
        """In a forked child: what the parent counted is the parent's."""
        self.begin_at(self._counts.read())

    def numbers(self) -> Numbers:
        """What this incarnation counted until now."""
        return self._since_baseline(self._counts.read())

    def publish(self, store: RelayStore, *, ended: bool = False) -> tuple[Published, Numbers]:
        """Store what was counted until now, under a new id if it must be; the answer, and what was stored.

        Raises:
            StoreUnavailableError: the store does not answer. It may have stored the vector all the same.
        """
        for _ in range(2):
            answer, numbers = self._publish_once(store, ended=ended)
            if isinstance(answer, Published):
                return answer, numbers
            self.begin_at(self._counted_at(answer.sequence))
        raise RuntimeError("a new incarnation was refused")

    def _publish_once(self, store: RelayStore, *, ended: bool) -> tuple[Published | Refused, Numbers]:
        made = self._make(ended=ended)
        answer = store.publish(self.id, made.sequence, made.content, last_store=self._last_store)
        self._unanswered = 0
        if isinstance(answer, Published):
            self._last_store = answer.store
        return answer, made.numbers

    def _make(self, *, ended: bool) -> _Made:
        """The next vector. It is remembered before the store is asked, which may take it and the answer be lost."""
        if self._unanswered >= _MAX_UNANSWERED:
            return self._made[-1]
        counted = self._counts.read()
        numbers = self._since_baseline(counted)
        content = encode(About(self._serves(), ended, os.getpid()), numbers, self._gauges.read())
        self.sequence += 1
        self._unanswered += 1
        self._made.append(_Made(self.sequence, counted, numbers, content))
        return self._made[-1]

    def _since_baseline(self, counted: Numbers) -> Numbers:
        return counted if self._baseline is None else self._baseline.subtract_from(counted)

    def _counted_at(self, sequence: int | None) -> Numbers:
        """What had been counted when the vector of this sequence was made.

        Where the store does not know the sequence, the last one made before the one that was just refused.
        """
        if sequence is None:
            sequence = self._made[-1].sequence - 1
        upto = [vector for vector in self._made if vector.sequence <= sequence]
        return (upto[-1] if upto else self._made[0]).counted
