"""`ordinaut-observability query`: what it asks, the table it prints, and its words where there is no answer."""

from __future__ import annotations

import io
import json
import subprocess
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from fastapi import FastAPI
from rich.console import Console

from ordinaut_ext_observability.cli.query import print_answer
from tests.samples import FIRST, Samples

TOKEN = "an-operators-token-0123456789"
VIEWER = "a-viewers-token-0123456789012"
MOUNT = "/ext/observability"

Query = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def query(invoke_command: Query) -> Query:
    return partial(invoke_command, "query")


@pytest.fixture
def url(serve: Any) -> str:
    """A service with the samples; the token is in its URL."""
    served = serve(FastAPI(), OPERATOR_TOKEN=TOKEN, VIEWER_TOKEN=VIEWER)
    samples = Samples()
    served.face._endpoint_context.queries._source = lambda: samples
    return str(served.url).replace("://", f"://operator:{TOKEN}@")


def lines(done: subprocess.CompletedProcess[str]) -> list[str]:
    assert done.stderr == ""
    return [line.rstrip() for line in done.stdout.splitlines()]


def at(seconds: float) -> tuple[str, str]:
    return "--time", str(FIRST + seconds)


def test_table_has_the_labels_that_differ_and_the_values(query: Query, url: str) -> None:
    done = query("up", "--url", url, *at(15))
    assert done.returncode == 0
    assert lines(done) == ["up", "host.name  job     value", "a          api         1", "           worker      1"]


def test_only_series_is_named_above_its_value(query: Query, url: str) -> None:
    assert lines(query("orders_total / 9", "--url", url, *at(15))) == [
        '{job="api"}',
        "              value",
        "0.16666666666666666",
    ]


def test_number_is_printed_as_it_is(query: Query, url: str) -> None:
    assert lines(query("1e3 * 2", "--url", url)) == ["2000"]
    assert lines(query("'[red]a'", "--url", url)) == ["[red]a"]


def test_range_is_drawn(query: Query, url: str) -> None:
    done = lines(query("up", "--url", url, *at(105), "--range", "105s", "--step", "15s"))
    assert done[0] == "up"
    assert done[1].split() == ["host.name", "job", "min", "max", "last", "20:10:00Z", "to", "20:11:45Z"]
    assert done[2].split() == ["a", "api", "1", "1", "1", "▁▁▁▁▁▁▁▁"]
    assert done[3].split() == ["worker", "0", "1", "1", "▁█▁█▁█▁█"]


def test_times_without_a_sample_are_left_blank(query: Query, url: str) -> None:
    done = lines(query("orders_total < 20 or orders_total > 40", "--url", url, *at(585), "--range", "585s"))
    assert done[2].startswith("  0  58.5  58.5  ▁▁▁")
    drawn = done[2].rpartition("58.5  ")[2]
    assert "▃             ▆" in drawn
    assert len(drawn) == 40


def test_remarks_stand_below(query: Query, url: str) -> None:
    done = lines(query("rate(orders_total[5m])", "--url", url, *at(60)))
    assert done[-1].startswith("history is kept since 2015-07-01T20:10:00Z")
    assert lines(query("nothing", "--url", url)) == ["No series."]


def test_json_is_the_services_answer(query: Query, url: str) -> None:
    done = query("up", "--url", url, "--json", *at(15))
    assert json.loads(done.stdout)["data"]["resultType"] == "vector"
    failed = query("up +", "--url", url, "--json")
    assert (failed.returncode, json.loads(failed.stdout)["errorType"]) == (1, "bad_data")


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        (("up +",), 1, "parse error"),
        (("up + on () up", *at(15)), 1, "match"),
        (("up", "--range", "often"), 2, "--range often: give a duration as 1h"),
        (("up", "--range", "1h", "--step", "x"), 1, 'cannot parse "x" to a valid duration'),
        (("up", "--range", "1h", "--time", "x"), 2, "--time x: give a duration as 1h, and a time as 20"),
        (("up", "--time", "x"), 1, 'cannot parse "x" to a valid timestamp'),
        (("up", "--range", "1h", "--step", "1ms"), 1, "11,000 points"),
    ],
)
def test_query_that_is_wrong_is_explained(
    query: Query, url: str, arguments: tuple[str, ...], status: int, words: str
) -> None:
    done = query(*arguments, "--url", url)
    assert (done.returncode, done.stderr) == (status, "")
    assert words in done.stdout
    assert 'invalid parameter "query"' not in done.stdout
    assert len(done.stdout.splitlines()) == 1


def test_viewers_and_the_mount_path_are_enough(query: Query, url: str) -> None:
    base = url.replace(f"operator:{TOKEN}@", "")
    for given in (base, f"{base}/", f"{base}{MOUNT}", f"{base}{MOUNT}/"):
        assert lines(query("1", "--url", given, "--token", VIEWER)) == ["1"]


def test_service_that_does_not_answer_is_2_and_says_what_to_do(
    query: Query, url: str, serve: Any, serve_bare: Any
) -> None:
    base = url.replace(f"operator:{TOKEN}@", "")
    for arguments, words in (
        (("--url", base), "--token"),
        (("--url", base, "--token", "wrong"), "The token is wrong. --token takes"),
        (("--url", "http://127.0.0.1:1"), "does not answer"),
        (("--url", "127.0.0.1"), "begin the URL with http"),
        (("--url", serve_bare(FastAPI()).url), "not with a query API"),
    ):
        done = query("up", *arguments)
        assert (done.returncode, done.stderr) == (2, "")
        assert words in done.stdout


@pytest.mark.parametrize("width", [80, 120])
def test_table_fits_the_terminal_and_keeps_every_number(width: int) -> None:
    points = [[FIRST + 15 * number, str(number / 7)] for number in range(240)]
    series = [
        {"metric": {"endpoint": f"/tasks/{{task_id}}/a-rather-long-path/{name}", "code": name * 3}, "values": points}
        for name in "ab"
    ]
    printed = io.StringIO()
    console = Console(file=printed, width=width, force_terminal=True, no_color=True, highlight=False)
    assert print_answer(console, {"status": "success", "data": {"resultType": "matrix", "result": series}}) == 0
    table = printed.getvalue()
    assert max(len(line) for line in _plain(table)) <= width
    assert table.count(f"{239 / 7:.6g}") == 4
    assert "█" in table


def _plain(text: str) -> list[str]:
    from rich.text import Text

    return [Text.from_ansi(line).plain for line in text.splitlines()]
