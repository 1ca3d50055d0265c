"""When a schedule is due next: the few forms of cron and rrule that the demo's tasks use."""

from __future__ import annotations

import re
from datetime import datetime, timedelta

_EVERY = re.compile(r"FREQ=(SECONDLY|MINUTELY|HOURLY);INTERVAL=(\d+)")
_SECONDS = {"SECONDLY": 1, "MINUTELY": 60, "HOURLY": 3600}


def next_run(kind: str, expression: str, after: datetime) -> datetime | None:
    """The first instant after this one at which the schedule is due; None when there is none.

    Raises:
        ValueError: the schedule cannot be read.
    """
    if kind == "once":
        due = datetime.fromisoformat(expression)
        return due if due > after else None
    if kind == "cron":
        if expression != "* * * * *":
            raise ValueError(f"the demo knows no cron schedule {expression!r}")
        return after.replace(second=0, microsecond=0) + timedelta(minutes=1)
    every = _EVERY.fullmatch(expression)
    if kind != "rrule" or every is None:
        raise ValueError(f"the demo knows no {kind} schedule {expression!r}")
    return after + timedelta(seconds=_SECONDS[every[1]] * int(every[2]))
