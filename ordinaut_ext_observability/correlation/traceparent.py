"""Parsing of the W3C `traceparent` header, strictly as the recommendation says.

Source: https://www.w3.org/TR/trace-context/#traceparent-header
"""

from __future__ import annotations

import re

_HEADER = re.compile(rb"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-[\x21-\x7e]*)?")
_VERSION_00_LENGTH = 55
_MAX_LENGTH = 512
_ZERO_TRACE = "0" * 32
_ZERO_SPAN = "0" * 16


def parse_traceparent(value: bytes) -> tuple[str, str, bool] | None:
    """The trace id, the caller's span id and the sampled flag, or None where the header is invalid.

    Version ff is invalid, version 00 is exactly 55 characters, a later version may go on after a dash.
    """
    if len(value) > _MAX_LENGTH:
        return None
    match = _HEADER.fullmatch(value)
    if match is None:
        return None
    version = match[1]
    if version == b"ff" or (version == b"00" and len(value) != _VERSION_00_LENGTH):
        return None
    trace_id, span_id = match[2].decode(), match[3].decode()
    if trace_id == _ZERO_TRACE or span_id == _ZERO_SPAN:
        return None
    return trace_id, span_id, bool(int(match[4], 16) & 1)
