"""The newest values of workers, the scheduler, PostgreSQL and Redis, in words, as the history has them."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from math import inf
from pathlib import Path
from typing import Final

from ordinaut_ext_observability.history.history import History
from ordinaut_ext_observability.history.series import NAME, is_stale
from ordinaut_ext_observability.promql.matchers import LabelMatcher
from ordinaut_ext_observability.web.page.svg import format_value

VALUES: Final = tomllib.loads(Path(__file__).with_name("values.toml").read_text())
"""Values by section."""
LOOKBACK_MS: Final = 5 * 60_000
"""Age from which on a sample is no current value: that of queries."""


def read_values(history: History | None, section: str) -> Iterator[tuple[str, str, bool]]:
    """The title, the value in words and whether it needs a look, of those that are known."""
    if history is None:
        return
    for each in VALUES[section]:
        now_ms, (least, most) = history.now_ms(), each.get("ok", (-inf, inf))
        pairs = [(NAME, each["metric"]), *([each["label"]] if "label" in each else [])]
        matchers = [LabelMatcher(name, "=", value) for name, value in pairs]
        for series in history.select(matchers, now_ms - LOOKBACK_MS, now_ms):
            if series is not None and not is_stale(value := series.values[-1]):
                yield each["title"], format_value(value, each.get("unit", "count")), not least <= value <= most
