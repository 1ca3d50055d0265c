"""Ids of requests, traces and spans: random ones, and the rules for accepting a client's.

A generated correlation id is the request's W3C trace id, so one search finds its logs and its trace.
"""

from __future__ import annotations

import os
import re

from ordinaut_ext_observability.background.fork import reset_in_forked_child

_TRACE_ID_BYTES = 16
_SPAN_ID_BYTES = 8
_REQUESTS_PER_REFILL = 256

MAX_ID_LENGTH = 128
"""Longest correlation id accepted from a client, in characters."""

match_client_id = re.compile(rb"[A-Za-z0-9._-]{1,128}").fullmatch
"""Matches a correlation id that may enter logs and response headers unescaped."""

_TRACEPARENT = re.compile(
    rb"(?!ff|00.{54})[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})(?:-[\x21-\x7e]*)?"
)
_MAX_TRACEPARENT_LENGTH = 512


class RandomIds:
    """A pool of pairs: a trace id of 32 random hex digits, a span id of 16. Two system calls serve 256 requests.

    Safe from any thread. A forked child starts with an empty pool, so it never repeats its parent's ids.
    """

    __slots__ = ("__weakref__", "_pool", "take_pooled")

    def __init__(self) -> None:
        self._pool: list[tuple[str, str]] = []
        self.take_pooled = self._pool.pop
        """A pair; raises IndexError when the pool is empty. A call less per request."""
        reset_in_forked_child(self)

    def take(self) -> tuple[str, str]:
        """A trace id and a span id."""
        try:
            return self.take_pooled()
        except IndexError:
            return self.refill()

    def refill(self) -> tuple[str, str]:
        """Fill the pool, and return a pair that was never in it: other threads may have emptied it again."""
        trace_ids = os.urandom(_TRACE_ID_BYTES * _REQUESTS_PER_REFILL).hex(" ", _TRACE_ID_BYTES).split()
        span_ids = os.urandom(_SPAN_ID_BYTES * _REQUESTS_PER_REFILL).hex(" ", _SPAN_ID_BYTES).split()
        self._pool += zip(trace_ids, span_ids, strict=True)
        return os.urandom(_TRACE_ID_BYTES).hex(), os.urandom(_SPAN_ID_BYTES).hex()

    def reset_after_fork(self) -> None:
        self._pool.clear()


random_ids = RandomIds()


def parse_traceparent(value: bytes) -> tuple[str, str, bool] | None:
    """The trace id, the caller's span id and the sampled flag of a W3C header, or None where it is invalid.

    Version ff is invalid, version 00 is exactly 55 characters, a later version may go on after a dash.
    Source: https://www.w3.org/TR/trace-context/#traceparent-header
    """
    match = _TRACEPARENT.fullmatch(value) if len(value) <= _MAX_TRACEPARENT_LENGTH else None
    return None if match is None else (match[1].decode(), match[2].decode(), bool(int(match[3], 16) & 1))
