"""What is handed out of a table, and what a reader sees while it is written."""

from __future__ import annotations

from array import array

import pytest

from ordinaut_ext_observability.history.series import NAME
from ordinaut_ext_observability.history.table import Table


@pytest.fixture
def table():
    return Table(retention_ms=1000, max_series=1000)


def labels(name, number):
    return ((NAME, name), ("number", str(number)))


def trim(table):
    for _ in table.trim():
        pass


def write(table, time_ms, names):
    rows = [table.open(each) for each in names]
    table.append(time_ms, rows, array("d", range(len(rows))))
    trim(table)


def test_a_selection_by_name_looks_at_no_other_series(table, equal, selected):
    write(table, 1, [*(labels("many", number) for number in range(500)), labels("one", 1)])
    assert list(table.select([equal(NAME, "one")], 0, 1)) == [(labels("one", 1), array("q", [1]), array("d", [500.0]))]
    assert list(table.select([equal(NAME, "none")], 0, 1)) == []
    assert selected(table, equal("number", "1")) == {"many,number=1": [(1, 1.0)], "one,number=1": [(1, 500.0)]}


def test_a_selection_pauses_every_64_series_that_it_looks_at(table, equal):
    write(table, 1, [labels("many", number) for number in range(500)])
    assert list(table.select([equal("number", "none")], 0, 1)) == [None] * (500 // 64)


def test_series_that_were_read_together_share_their_times(table):
    names = [labels("n", number) for number in range(3)]
    for time_ms in range(5):
        write(table, time_ms, names)
    first, second, third = table.select([], 1, 3)
    assert first.timestamps is second.timestamps is third.timestamps
    assert first.timestamps == array("q", [1, 2, 3])


def test_a_selection_that_pauses_sees_the_table_as_it_was(table):
    names = [labels("n", number) for number in range(130)]
    for time_ms in range(0, 1000, 10):
        write(table, time_ms, names)
    selection = table.select([], 0, 10**6)
    before = next(selection)
    for time_ms in range(1000, 1600, 10):
        write(table, time_ms, names[:3])
    after = [series for series in selection if series is not None]
    assert {series.timestamps[-1] for series in after} == {before.timestamps[-1]} == {990}


def test_what_was_handed_out_does_not_change(table):
    write(table, 1, [labels("n", 1)])
    (series,) = table.select([], 0, 10)
    write(table, 2, [labels("n", 1)])
    table.shift(-1)
    assert (list(series.timestamps), list(series.values)) == ([1], [0.0])


def test_a_tick_that_makes_no_sense_changes_nothing(table, selected):
    write(table, 1, [labels("n", 1)])
    row = table.open(labels("n", 1))
    for rows, values in (([row], []), ([row, row], [1.0, 2.0])):
        with pytest.raises(ValueError):
            table.append(2, rows, array("d", values))
    write(table, 2, [labels("n", 1)])
    assert selected(table) == {"n,number=1": [(1, 0.0), (2, 0.0)]}


def test_series_that_ended_make_room_the_oldest_first(selected):
    table = Table(retention_ms=10**6, max_series=3)
    write(table, 1, [labels("n", number) for number in (1, 2, 3)])
    write(table, 2, [labels("n", number) for number in (1, 2)])
    write(table, 3, [labels("n", 1)])
    assert table.has_room()
    write(table, 4, [labels("n", 1), labels("n", 4)])
    assert sorted(selected(table)) == ["n,number=1", "n,number=2", "n,number=4"]


def test_a_series_that_ended_is_dropped_after_its_last_sample(table, selected):
    write(table, 0, [labels("n", 1), labels("n", 2)])
    for time_ms in range(100, 1100, 100):
        write(table, time_ms, [labels("n", 1)])
    assert len(selected(table)["n,number=2"]) == 2
    write(table, 1100, [labels("n", 1)])
    assert len(selected(table)["n,number=2"]) == 1
    write(table, 1200, [labels("n", 1)])
    assert "n,number=2" not in selected(table)
    assert table.series_count == 2
    for time_ms in range(1300, 2700, 100):
        write(table, time_ms, [labels("n", 1)])
    assert (table.series_count, table.sample_count) == (1, 11)


def test_a_series_that_was_opened_and_not_written_leaves_no_trace(table, selected):
    write(table, 1, [labels("n", 1)])
    rows = [table.open(labels("n", 1))]
    for time_ms in (2, 3, 4):
        assert table.open(labels("n", 2)) is table.open(labels("n", 2))
        table.append(time_ms, rows, array("d", [0.0]))
    assert sorted(selected(table)) == ["n,number=1"]
    write(table, 5, [labels("n", 1), labels("n", 2)])
    assert selected(table)["n,number=2"] == [(5, 1.0)]
    table.open(labels("n", 3))
    for time_ms in range(1500, 1700, 10):
        table.append(time_ms, rows, array("d", [0.0]))
    for time_ms in range(3000, 3200, 10):
        table.append(time_ms, rows, array("d", [0.0]))
        trim(table)
    assert table.series_count == 1


def test_readers_in_other_threads_see_whole_ticks(eager_switching):
    import threading

    table, ended, wrong = Table(retention_ms=200, max_series=100), threading.Event(), []

    def read():
        while not ended.is_set():
            for series in table.select([], 0, 10**9):
                if series is not None and any(
                    value == value and value != time
                    for time, value in zip(series.timestamps, series.values, strict=True)
                ):
                    wrong.append(series)

    readers = [threading.Thread(target=read) for _ in range(3)]
    for reader in readers:
        reader.start()
    for time_ms in range(1, 3000):
        rows = [table.open(labels("n", number)) for number in range(20) if (time_ms // 37 + number) % 5]
        table.append(time_ms, rows, array("d", [time_ms] * len(rows)))
        trim(table)
    ended.set()
    for reader in readers:
        reader.join()
    assert wrong == []
