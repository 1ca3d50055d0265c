"""The newest values of workers, the scheduler, PostgreSQL and Redis, in words, as the history has them."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from math import inf, isnan
from pathlib import Path
from typing import Final

from ordinaut_ext_observability.history.history import History
from ordinaut_ext_observability.history.series import NAME
from ordinaut_ext_observability.promql.matchers import LabelMatcher

VALUES: Final = tomllib.loads(Path(__file__).with_name("values.toml").read_text("utf-8"))
"""Values by section."""
LOOKBACK_MS: Final = 5 * 60_000
"""Age from which on a sample is no current value: that of queries."""
_SIZES: Final = {
    "s": ((86_400, 86_400, " d"), (3_600, 3_600, " h"), (60, 60, " min"), (1, 1, " s"), (0, 0.001, " ms")),
    "B": ((1e9, 1e9, " GB"), (1e6, 1e6, " MB"), (0, 1e3, " kB")),
    "%": ((0, 0.01, "%"),),
}
"""By unit: the least value, what it is divided by, and the name."""


def read_values(history: History | None, section: str, now_ms: int) -> Iterator[tuple[str, str, bool]]:
    """The title, the value in words and whether it needs a look, of those that are known."""
    if history is None:
        return
    for each in VALUES[section]:
        least, most = each.get("ok", (-inf, inf))
        pairs = [(NAME, each["metric"]), *([each["label"]] if "label" in each else [])]
        matchers = [LabelMatcher(name, "=", value) for name, value in pairs]
        for series in history.select(matchers, now_ms - LOOKBACK_MS, now_ms):
            if series is not None and not isnan(value := series.values[-1]):
                yield each["title"], in_words(value, each.get("unit", "")), not least <= value <= most


def in_words(value: float | None, unit: str = "") -> str:
    """A number with its unit, as people write it: `in_words(90, "s")` is "1.5 min"; a dash where nothing is known."""
    if value is None or value != value:  # noqa: PLR0124 - true of a NaN alone
        return "-"
    if unit == "%" and 0.9985 < value < 1:
        return f"{int(value * 10_000) / 100:g}%"  # never rounded up to all
    size, name = next(((size, name) for least, size, name in _SIZES.get(unit, ()) if abs(value) >= least), (1, ""))
    number = value / size
    return f"{number:,.0f}{name}" if abs(number) >= 99.95 else f"{number:.3g}{name}"
