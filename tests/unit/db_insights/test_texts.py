"""Sizes and times as they are shown."""

from __future__ import annotations

import pytest

from ordinaut_ext_observability.db.insights.report import bytes_text, duration_text


@pytest.mark.parametrize(
    ("number", "text"),
    [(0, "0 bytes"), (1023, "1023 bytes"), (1536, "1.5 kB"), (10 * 2**20, "10 MB"), (3 * 2**50, "3072 TB")],
)
def test_bytes(number: int, text: str) -> None:
    assert bytes_text(number) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 ms"), (0.0000042, "4 µs"), (0.0123, "12 ms"), (2.34, "2.3 s"), (59.6, "1 min"), (61, "1 min 1 s"),
        (7500, "2 h 5 min"), (86400, "1 d"), (86400 * 3 + 7200, "3 d 2 h"), (12.4, "12 s"), (86400 + 59, "1 d"),
    ],
)  # fmt: skip
def test_durations(seconds: float, text: str) -> None:
    assert duration_text(seconds) == text
