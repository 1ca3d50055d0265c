"""The few schedules of the demo."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from ordinaut_ext_observability.demo.scheduler import next_run

NOON = datetime(2026, 11, 25, 12, 0, 30, 5, tzinfo=UTC)


@pytest.mark.parametrize(
    ("kind", "expression", "expected"),
    [
        ("cron", "* * * * *", datetime(2026, 11, 25, 12, 1, tzinfo=UTC)),
        ("rrule", "FREQ=SECONDLY;INTERVAL=7", datetime(2026, 11, 25, 12, 0, 37, 5, tzinfo=UTC)),
        ("rrule", "FREQ=MINUTELY;INTERVAL=2", datetime(2026, 11, 25, 12, 2, 30, 5, tzinfo=UTC)),
        ("once", "2026-11-25T12:00:31+00:00", datetime(2026, 11, 25, 12, 0, 31, tzinfo=UTC)),
        ("once", "2026-11-25T12:00:30+00:00", None),
    ],
)
def test_next_run(kind: str, expression: str, expected: datetime | None) -> None:
    assert next_run(kind, expression, NOON) == expected


@pytest.mark.parametrize(("kind", "expression"), [("cron", "0 8 * * 1"), ("rrule", "FREQ=NEVER"), ("event", "a.topic")])
def test_schedule_that_cannot_be_read(kind: str, expression: str) -> None:
    with pytest.raises(ValueError, match="the demo knows no"):
        next_run(kind, expression, NOON)
