"""A real Prometheus that scrapes a service of ours, and the comparison of its answers with ours over the same samples."""

from __future__ import annotations

import json
import math
import os
import shutil
import subprocess
from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from operator import itemgetter
from pathlib import Path
from random import Random
from typing import Any

import httpx
import pytest

from ordinaut_ext_observability.history.series import NAME, STALE, Labels, Series, labels_of
from ordinaut_ext_observability.promql.errors import QueryError
from ordinaut_ext_observability.promql.evaluate import evaluate
from ordinaut_ext_observability.promql.parse import parse
from ordinaut_ext_observability.promql.query import Limits, Query
from tests.promql.generated import STEP_MS, Queries
from tests.promql.run import run_to_end
from tests.promql.scraped import Service, serving

SCRAPES = 48
"""At an interval of `STEP_MS`: 12 seconds, twice the longest range."""

DIFFERENCES = {
    "version 3: ranges and lookback are open on the left": "no range begins at a sample",
    "version 3: `.` of a pattern matches a newline": "no label has one",
    "version 3: `holt_winters` has another name, and is experimental": "not made",
    "later: `sum` and `avg` make up for rounding": "nothing that is rounded is rounded to integers or compared for equality",
    "later: sums of infinite values are infinite, not NaN": "lines are fitted to finite values",
    "later: a counter that began near zero is extrapolated less, if at all": "new counters begin high",
    "later: counts of buckets that differ by rounding are equal": "each bucket has counts of its own",
    "later: `atan2` drops the metric's name": "it is made of aggregations",
    "later: the deviation of one value that is NaN or infinite is NaN, not 0": "it is made of finite ones",
    "later: `predict_linear` minds `@` at each step of a range": "not made together",
    "later: functions that version 2.42 does not have": "not made",
    "no version: parts of a date that is NaN are those of the first second that Go counts; here NaN": "not made",
}
"""Differences between answers of version 2.42, which Debian has, and ours, which are those of 3; and how each is kept out."""

LOOKBACK_MS = 2_000

_GLOBAL = f"global: {{scrape_interval: {STEP_MS}ms, scrape_timeout: {STEP_MS}ms, evaluation_interval: 1s}}\n"
_SCRAPE = 'scrape_configs: [{job_name: service, static_configs: [{targets: ["127.0.0.1:%d"]}]}]\n'


class Prometheus:
    """Its API."""

    def __init__(self, client: httpx.Client) -> None:
        self._client = client

    def is_ready(self) -> bool:
        try:
            return self._client.get("/-/ready").status_code == 200
        except httpx.TransportError:
            return False

    def ask(self, path: str, **parameters: str) -> Any:
        """The answer's data, or the text of its error."""
        body = json.loads(self._client.post(f"/api/v1/{path}", data=parameters).content)
        return body["data"] if body["status"] == "success" else body["error"]

    def samples(self) -> Samples:
        found = self.ask("query", query='{__name__=~".+"}[1h]')
        return Samples([_series(one) for one in found["result"]])


def _series(one: Any) -> Series:
    times = array("q", (round(float(time) * 1000) for time, _ in one["values"]))
    return Series(labels_of(one["metric"]), times, array("d", (float(value) for _, value in one["values"])))


class Samples:
    """The samples that Prometheus has, with the marks of series' ends: its API does not show them, but a scrape without the series."""

    def __init__(self, series: list[Series]) -> None:
        [self.scrapes] = (list(one.timestamps) for one in series if (NAME, "up") in one.labels)
        self._series = [self._ended(one) for one in series]

    def _ended(self, series: Series) -> Series:
        samples = dict(zip(series.timestamps, series.values, strict=True))
        ends = {time for before, time in pairwise(self.scrapes) if before in samples and time not in samples}
        ordered = sorted({**samples, **dict.fromkeys(ends, STALE)}.items(), key=itemgetter(0))
        return Series(series.labels, *map(list, zip(*ordered, strict=True)))

    def select(self, matchers: Any, start_ms: int, end_ms: int) -> Iterator[Series]:
        for labels, times, values in self._series:
            first, last = bisect_left(times, start_ms), bisect_right(times, end_ms)
            value_of = dict(labels).get
            if first < last and all(matcher.matches(value_of(matcher.name, "")) for matcher in matchers):
                yield Series(labels, times[first:last], values[first:last])


def seconds(milliseconds: int) -> str:
    return f"{milliseconds // 1000}.{milliseconds % 1000:03}"


@contextmanager
def scraped(folder: Path, free_port: Callable[[], int], eventually: Callable[..., bool]) -> Iterator[Prometheus]:
    """A Prometheus that has scraped and does so no more; without one on PATH the test is skipped, in CI it fails."""
    program = shutil.which("prometheus")
    if program is None:
        if os.environ.get("CI") == "true":
            pytest.fail("prometheus is not on PATH")
        pytest.skip("prometheus is not on PATH")

    @contextmanager
    def running(config: str) -> Iterator[Prometheus]:
        (folder / "prometheus.yml").write_text(config)
        port = free_port()
        options = [f"--config.file={folder / 'prometheus.yml'}", f"--storage.tsdb.path={folder / 'data'}"]
        options += [f"--web.listen-address=127.0.0.1:{port}", f"--query.lookback-delta={LOOKBACK_MS}ms"]
        with (folder / "log").open("ab") as log:
            process = subprocess.Popen([program, *options], stdout=log, stderr=log)
        try:
            with httpx.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False, timeout=30) as client:
                prometheus = Prometheus(client)
                assert eventually(prometheus.is_ready, 30), (folder / "log").read_text()
                yield prometheus
        finally:
            process.terminate()
            process.wait()

    service = Service(seed=1)
    with serving(service) as port, running(_GLOBAL + _SCRAPE % port):
        assert eventually(lambda: service.scrapes > SCRAPES, 120), (folder / "log").read_text()
    # It is started again without the service: it keeps the samples, and gets no more while it is asked.
    with running(_GLOBAL) as prometheus:
        yield prometheus


@dataclass
class Comparison:
    """Numbers of queries by what became of them."""

    queries: int = 0
    answers: int = 0
    """Queries that had a result of one series or more, and of these not all NaN."""
    errors: int = 0
    """Queries that both refuse."""
    differences: list[str] = field(default_factory=list)


def compare(prometheus: Prometheus, number: int, seed: int) -> Comparison:
    """Ask both the same queries, at times from the middle of what was scraped to its end."""
    samples = prometheus.samples()
    at, within = _phases({time % STEP_MS for time in samples.scrapes})
    first, last = samples.scrapes[0] // STEP_MS, (samples.scrapes[-1] + LOOKBACK_MS) // STEP_MS
    random = Random(seed)
    comparison = Comparison()
    for _ in range(number):
        start, fixed = (random.randrange((first + last) // 2, last) * STEP_MS + at for _ in range(2))
        text = Queries(random, fixed, within).query()
        is_range = random.random() < 0.3
        steps = random.randint(1, max(1, (last * STEP_MS - start) // STEP_MS)) if is_range else 0
        step = random.choice((1, 2, 3)) * STEP_MS
        theirs = _theirs(prometheus, text, start, start + steps * STEP_MS, step if is_range else 0)
        ours = _ours(samples, text, start, start + steps * STEP_MS, step if is_range else 0)
        when = f"range of {steps} steps of {step} ms from" if is_range else "instant"
        _note(comparison, text, ours, theirs, f"{when} {start}")
    return comparison


def _phases(scraped: set[int]) -> tuple[int, int]:
    """A time within `STEP_MS`, and what ranges within subqueries have more: so that none begins at a scrape or a step."""
    taken = scraped | {0}
    for within in range(1, STEP_MS):
        for at in range(1, STEP_MS):
            if not taken & {at, -within % STEP_MS, (at - within) % STEP_MS}:
                return at, within
    raise AssertionError("no time falls on no sample")


Values = dict[tuple[Labels, int], float]


def _theirs(prometheus: Prometheus, text: str, start: int, end: int, step: int) -> Values | str:
    if step:
        data = prometheus.ask("query_range", query=text, start=seconds(start), end=seconds(end), step=seconds(step))
    else:
        data = prometheus.ask("query", query=text, time=seconds(start))
    if isinstance(data, str):
        return data
    if data["resultType"] == "scalar":
        return {((), start): float(data["result"][1])}
    return {
        (labels_of(one["metric"]), round(float(time) * 1000)): float(value)
        for one in data["result"]
        for time, value in one.get("values") or [one["value"]]
    }


def _ours(samples: Samples, text: str, start: int, end: int, step: int) -> Values | str:
    try:
        query = Query(parse(text), start, end, step, lookback_ms=LOOKBACK_MS, subquery_step_ms=1000)
        value: Any = run_to_end(evaluate(query, samples, Limits())).value
    except QueryError as error:
        return str(error)
    if isinstance(value, float):
        return {((), start): value}
    if step:
        return {
            (one.labels, time): number for one in value for time, number in zip(one.timestamps, one.values, strict=True)
        }
    return {(labels, start): number for labels, number in value}


def _note(comparison: Comparison, text: str, ours: Values | str, theirs: Values | str, when: str) -> None:
    comparison.queries += 1
    if isinstance(ours, str) or isinstance(theirs, str):
        comparison.errors += 1
        if not (isinstance(ours, str) and isinstance(theirs, str)):
            comparison.differences.append(f"{text}  {when}\n  ours: {_short(ours)}\n  Prometheus's: {_short(theirs)}")
        return
    comparison.answers += any(value == value for value in ours.values())
    if text.startswith("sort") and when.startswith("instant") and all(value == value for value in ours.values()):
        ordered = list(ours.values()) == list(theirs.values())
        comparison.differences += [] if ordered else [f"{text} {when}: other order"]
    wrong = {key for key in ours.keys() | theirs.keys() if not _agree(ours.get(key), theirs.get(key))}
    if wrong:
        shown = [f"{dict(key[0])} at {key[1]}: {ours.get(key)} {theirs.get(key)}" for key in sorted(wrong)[:3]]
        comparison.differences.append(f"{text}  {when}\n  ours, Prometheus's: " + "\n    ".join(shown))


def _short(answer: Values | str) -> str:
    return answer if isinstance(answer, str) else f"{len(answer)} values"


def _agree(ours: float | None, theirs: float | None) -> bool:
    if ours is None or theirs is None:
        return False
    # Differences of equal sums are zero, or what rounding left of them.
    return math.isclose(ours, theirs, rel_tol=1e-9, abs_tol=1e-12) or (ours != ours and theirs != theirs)
