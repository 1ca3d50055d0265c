"""Processes of two versions share a store: what one does not know, it passes over, and nothing is misread."""

from __future__ import annotations

import orjson
import pytest

from ordinaut_ext_observability.background.clock import Clock
from ordinaut_ext_observability.cluster.base import ClusterUnavailableError
from ordinaut_ext_observability.cluster.sqlite import MEMORY
from ordinaut_ext_observability.metrics.budget import LabelBudgets
from ordinaut_ext_observability.metrics.family import Counter, Gauge
from ordinaut_ext_observability.metrics.snapshot import Definition
from ordinaut_ext_observability.relay.exchange import encode_entry, read_entry
from ordinaut_ext_observability.relay.series_list import SeriesList, encode_series
from ordinaut_ext_observability.relay.store import Entry, Publication
from ordinaut_ext_observability.relay.sqlite_store import SqliteRelayStore
from tests.unit.relay.test_publisher import Process

KNOWN = Definition("known_total", "counter", ("x",), ())


def read_lines(*lines: bytes) -> SeriesList:
    store, series = SqliteRelayStore(MEMORY, Clock()), SeriesList(LabelBudgets())
    try:
        assert store.append(store.join("p"), 0, lines)
        series.read(store)
    finally:
        store.close()
    return series


@pytest.mark.parametrize(
    ("line", "width"),
    [
        (b'[7,"wide_total","summary of a later version",["x"],[]]\n["a"]', 7),
        (b'[2,"known_total","counter",["x"],[],{"unit":"s"}]\n["newer"]', 2),
        (b'[5,"known_total","counter",["x"],[]]\n["wider than known"]', 5),
        (b'[3,"known_total"]\n["shorter"]', 3),
        (b'[2,"known_total","counter",["x"],[]]\n["more","values"]', 2),
        (b'[2,"known_total","counter",["x"],[]]\nno json', 2),
    ],
)
def test_series_of_another_version_does_not_move_the_others(line: bytes, width: int) -> None:
    series = read_lines(encode_series((KNOWN, ("a",))), line, encode_series((KNOWN, ("b",))))
    assert series.find((KNOWN, ("a",)))[1] == 0
    assert series.find((KNOWN, ("b",)))[1] == 2 + width
    assert (series.length, series.size) == (3, 4 + width)


@pytest.mark.parametrize("line", [b"", b"null", b"[]", b'["7"]', b"[0]", b"[true]", b"\xff\n[]"])
def test_list_that_does_not_say_how_wide_a_series_is_cannot_be_used(line: bytes) -> None:
    with pytest.raises(ClusterUnavailableError):
        read_lines(line)


def test_a_later_version_with_other_buckets_and_labels_publishes_beside_this_one() -> None:
    store = SqliteRelayStore(MEMORY, Clock())
    counter = Counter("known_total", "", ("x",))
    process = Process(store, counter)
    counter.labels("a").inc(3)
    process.exchange._publish()
    identity = store.join("later")
    known = len(store.read("", 0).series)
    later = [b'[4,"known_total","exponential histogram",["x"],[],{"schema":3}]\n["a"]']
    assert store.append(identity, known, later)
    assert store.publish(identity, Publication("later", 1, {2: 100, 3: 100, 4: 100}))
    counter.labels("b").inc(4)
    counter.labels("a").inc()
    assert process.shown() == {("known_total", ("a",)): 4, ("known_total", ("b",)): 4}
    store.close()


def test_entry_of_a_later_version_is_read_as_far_as_it_is_known() -> None:
    gauge = Gauge("depth", "", ("queue",))
    gauge.labels("a").set(3)
    fields = orjson.loads(encode_entry([gauge], serves=True, interval_seconds=2.0))
    fields["further"] = {"new": [1, 2]}
    fields["gauges"][0].append("unit")
    fields["gauges"][0][2][0].append(1_700_000_000)
    fields["gauges"].append(["odd", ["x"], [[["too", "many"], 1]]])
    said = read_entry(Entry("p", 3.0, orjson.dumps(fields)))
    assert (said.serves, said.living) == (True, True)
    assert [tuple(value) for value in said.gauges] == [("depth", ("queue",), ("a",), 3.0)]
    assert not read_entry(Entry("p", 5.0, orjson.dumps(fields))).living


@pytest.mark.parametrize("content", [b"", b"[]", b"{}", b"\xff", b'{"serves":1,"interval":"x","gauges":[]}'])
def test_entry_that_cannot_be_read_is_refused_as_such(content: bytes) -> None:
    with pytest.raises(ValueError, match="cannot be read"):
        read_entry(Entry("p", 0.0, content))
