"""Ids of requests, traces and spans: random ones, and the rules for accepting a client's.

A generated correlation id is the request's W3C trace id, so one search finds its logs and its trace.
"""

from __future__ import annotations

import os
import re

from ordinaut_ext_observability.background.fork import reset_in_forked_child

_BYTES_PER_REQUEST = 24  # 16 for the trace id, 8 for the span id
_HEX_PER_REQUEST = 2 * _BYTES_PER_REQUEST
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
    """A pool of random hex digits: one system call serves 256 requests.

    Safe from any thread. A forked child starts with an empty pool, so it never repeats its parent's ids.
    """

    __slots__ = ("__weakref__", "_pool", "take_pooled")

    def __init__(self) -> None:
        self._pool: list[str] = []
        self.take_pooled = self._pool.pop
        """The digits of one request; raises IndexError when the pool is empty. A call less per request."""
        reset_in_forked_child(self)

    def take(self) -> str:
        """48 random hex digits: the first 32 are a trace id, the last 16 a span id."""
        try:
            return self.take_pooled()
        except IndexError:
            return self.refill()

    def refill(self) -> str:
        """Fill the pool, and return the digits of one request."""
        digits = os.urandom(_BYTES_PER_REQUEST * _REQUESTS_PER_REFILL).hex()
        self._pool += [digits[at : at + _HEX_PER_REQUEST] for at in range(0, len(digits), _HEX_PER_REQUEST)]
        return os.urandom(_BYTES_PER_REQUEST).hex()

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
