"""Queries become the nodes that Prometheus's own parser would give, or a message that says what is wrong."""

from __future__ import annotations

import asyncio
import os
import threading

import pytest

from ordinaut_ext_observability.background.fork import forks_held_off
from ordinaut_ext_observability.promql.aggregate import AGGREGATIONS
from ordinaut_ext_observability.promql.errors import BadQueryError
from ordinaut_ext_observability.promql.functions.calls import FUNCTIONS
from ordinaut_ext_observability.promql.guard import MAX_BRACKETS, MAX_BYTES, MAX_OPERATORS
from tests.promql.meaning import meaning
from ordinaut_ext_observability.promql.matchers import LabelMatcher
from ordinaut_ext_observability.promql.nodes import (
    Aggregation,
    Binary,
    Call,
    Matching,
    MatrixSelector,
    Number,
    String,
    Subquery,
    VectorSelector,
)
from ordinaut_ext_observability.promql.parse import format_query, parse


def metric(name: str, *others: LabelMatcher, **times) -> VectorSelector:
    return VectorSelector((LabelMatcher("__name__", "=", name), *others), **times)


X, Y = metric("x"), metric("y")
JOB = LabelMatcher("job", "=~", "a|b")


@pytest.mark.parametrize(
    ("text", "node"),
    [
        ("x{job=~'a|b'}", metric("x", JOB)),
        (":x:y", metric(":x:y")),
        ("x offset 1h30m", metric("x", offset_ms=5_400_000)),
        ("x offset -5", metric("x", offset_ms=-5_000)),
        ("x @ 1609746000.001", metric("x", at=1_609_746_000_001)),
        ("x @ -1.5 offset 1ms", metric("x", at=-1_500, offset_ms=1)),
        ("x @ 1_0 offset 1e1", metric("x", at=10_000, offset_ms=10_000)),
        ("x @ end()", metric("x", at="end")),
        ("x[5m] @ start()", MatrixSelector(metric("x", at="start"), 300_000)),
        ("x[ 300 ] # five minutes", MatrixSelector(X, 300_000)),
        ("x[1s1ms]", MatrixSelector(X, 1_001)),
        ("x[292y]", MatrixSelector(X, 292 * 365 * 86_400_000)),
        ("x[5m:]", Subquery(X, 300_000, None)),
        ("(x + y)[1h:30s] offset 1d @ 0", Subquery(Binary("+", X, Y), 3_600_000, 30_000, 86_400_000, 0)),
        ('{"my.metric", "l.x"!~"(c)d*"}', metric("my.metric", LabelMatcher("l.x", "!~", "(c)d*"))),
        ("-x ^ 2", Binary("*", Number(-1.0), Binary("^", X, Number(2.0)))),
        ("-x * 2", Binary("*", Binary("*", Number(-1.0), X), Number(2.0))),
        ("x - y - 1", Binary("-", Binary("-", X, Y), Number(1.0))),
        ("2 ^ 3 ^ 4", Binary("^", Number(2.0), Binary("^", Number(3.0), Number(4.0)))),
        ("x or y and x", Binary("or", X, Binary("and", Y, X))),
        ("+(x)", X),
        ("x > bool 0", Binary(">", X, Number(0.0), returns_bool=True)),
        ("x ATAN2 y", Binary("atan2", X, Y)),
        ("x + ignoring(a) y", Binary("+", X, Y, Matching(("a",)))),
        ("x * on(a) group_left(b) y", Binary("*", X, Y, Matching(("a",), on=True, many="left", include=("b",)))),
        ("1 + on() 2", Binary("+", Number(1.0), Number(2.0))),
        ("x / fill_left(0) y", Binary("/", X, Y, Matching(fill_left=0.0))),
        ("x / on() fill(-1) y", Binary("/", X, Y, Matching(on=True, fill_left=-1.0, fill_right=-1.0))),
        ('sum by (a, "b.c") (x)', Aggregation("sum", X, grouping=("a", "b.c"))),
        ("topk(3, x) without (a)", Aggregation("topk", X, Number(3.0), ("a",), without=True)),
        ("rate(x[5m])", Call("rate", (MatrixSelector(X, 300_000),), "vector")),
        ("vector(time())", Call("vector", (Call("time", (), "scalar"),), "vector")),
        ("label_join(x, 'a', '')", Call("label_join", (X, String("a"), String("")), "vector")),
    ],
)
def test_a_query_is_a_tree(text: str, node: object) -> None:
    assert repr(parse(text)) == repr(node)


@pytest.mark.parametrize(
    ("text", "value"),
    [("1_000", 1_000), ("0x_1F", 31), (".5", 0.5), ("1e3", 1_000), ("1h30m", 5_400), ("010", 8), ("-inF", float("-inf")), ("- -2", 2)],
)  # fmt: skip
def test_numbers_are_read_as_go_reads_them(text: str, value: float) -> None:
    assert parse(text).value == value


@pytest.mark.parametrize(
    ("text", "value"),
    [(r"'a\'\"\n\x41\101'", "a'\"\nAA"), (r'"\xc3\xa9\u00e9\U0001F600"', "éé😀"), (r"`\n`", r"\n"), ("`a\\`", "a\\"), ('"# \'"', "# '")],
)  # fmt: skip
def test_texts_in_quotes_are_read_as_go_reads_them(text: str, value: str) -> None:
    assert parse(text).value == value


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "no expression"),
        ("x +", "expected after '+'"),
        ("x y", "unexpected 'y' at character 3"),
        ("x * / y", "unexpected '/' at character 5"),
        ("x[5m", "brackets"),
        ("nope(x)", "nope() is not a function known here"),
        ("rate(x)", "expected type matrix"),
        ("sum(x[5m])", "vector"),
        ("topk(x)", "expected 2"),
        ("quantile('a', x)", "scalar"),
        ("count_values(1, x)", "string"),
        ("1 > 2", "BOOL"),
        ("x + bool y", "bool"),
        ("x and 1", "set operator"),
        ("x and on(a) group_left() y", "grouping"),
        ("x and fill(0) y", "set operator"),
        ("1 + fill(0) x", "between instant vectors"),
        ("x + on(a) group_left(a) y", "'a'"),
        ('sum by ("") (x)', "must not be empty"),
        ("{}", "at least one"),
        ("{a!='x'}", "at least one"),
        ("{a=~'.*'}", "no empty label"),
        ("x{__name__='y'}", "twice"),
        ("x{__name__=~'y'}", "metric name must not be set twice"),
        ("{a='1' or b='2'}", "not supported; use a pattern"),
        ("{a=~'('}", "missing closing )"),
        ("(x)[5m]", "range"),
        ("x[0s]", "greater than 0"),
        ("x[5m1h]", "not a valid duration"),
        ("x[300y]", "292y"),
        ("x[5M]", "duration"),
        ("x @ * 5", "unexpected '*'"),
        ("x offset 1e300", "292y"),
        (f"x[{'9' * 5_000}s]", "292y"),
        ("x @ 1e300", "out of range"),
        ("x @ NaN", "out of range"),
        ("x @ -Inf", "out of range"),
        ("x offset -iNf", "out of range"),
        ("x offset NaN", "out of range"),
        ("x[Inf]", "out of range"),
        ("x offset 010", "decimal numbers"),
        ("sum(x) offset 5m", "offset"),
        ("x offset 5m offset 5m", "multiple"),
        ("-'a'", "unary"),
        (r"'\xff'", "not valid UTF-8"),
        (r"'\ud800'", "not valid UTF-8"),
        (r"'\q'", r"\q"),
        ("x + '\ud800'", "character 6"),
        ("x\0", "unexpected character"),
        # What Prometheus has, and what stands here for it.
        ("x[5m + 1m]", "duration expressions are not supported"),
        ("x[5m] anchored", "'anchored' is experimental"),
        ("info(x)", "info() is experimental"),
        ("limitk(2, x)", "limitk() is experimental"),
        ("histogram_count(x)", "use the series _bucket"),
        ("sort_by_label(x, 'a')", "sort_by_label() is experimental in Prometheus and not supported"),
    ],
)
def test_a_wrong_query_is_told_what_is_wrong(text: str, problem: str) -> None:
    with pytest.raises(BadQueryError) as refused:
        parse(text)
    assert problem in str(refused.value)


@pytest.mark.parametrize("name", sorted({*FUNCTIONS, *AGGREGATIONS}))
def test_the_library_knows_what_is_evaluated_and_checks_its_arguments(name: str) -> None:
    for arguments in ("'a'", "'a', 'b'", "x, x, x, x, x, x", "x[5m], x[5m]"):
        with pytest.raises(BadQueryError) as refused:
            parse(f"{name}({arguments})")
        assert "known here" not in str(refused.value)
        assert "experimental" not in str(refused.value)


def test_what_is_too_much_is_refused_with_what_would_be_accepted() -> None:
    most = "+".join(["x"] * (MAX_OPERATORS + 1))
    deepest = "(" * MAX_BRACKETS + "x" + ")" * MAX_BRACKETS
    for accepted in (most, deepest):
        parse(accepted)
    for refused, bound in (
        (f"{most}+x", MAX_OPERATORS),
        (f"({deepest})", MAX_BRACKETS),
        ("x" * (MAX_BYTES + 1), MAX_BYTES),
    ):
        with pytest.raises(BadQueryError, match=str(bound)):
            parse(refused)


def test_what_stands_in_quotes_and_comments_is_not_counted() -> None:
    much = "+(" * 500
    assert parse(f"x{{a='{much}'}} # {much}").matchers[1].value == much


def test_a_query_is_parsed_in_a_small_thread_in_an_event_loop_and_in_a_forked_child() -> None:
    usual = threading.stack_size()
    parsed: list[object] = []
    started = threading.Event()
    thread = threading.Thread(target=lambda: started.wait() and parsed.append(parse("small + thread")))
    threading.stack_size(256 * 1024)
    thread.start()
    threading.stack_size(usual)
    started.set()
    thread.join()

    async def in_the_loop() -> None:
        parsed.append(parse("event + loop"))

    asyncio.run(in_the_loop())
    if (child := os.fork()) == 0:
        os._exit(0 if parse("forked + child") else 1)
    assert os.waitpid(child, 0)[1] == 0
    assert len(parsed) == 2
    assert threading.stack_size() == usual


def test_a_query_does_not_wait_for_a_slow_store_that_holds_forks_off() -> None:
    held, done = threading.Event(), threading.Event()

    def hold() -> None:
        with forks_held_off():
            held.set()
            done.wait(5)

    thread = threading.Thread(target=hold)
    thread.start()
    held.wait()
    parsed = threading.Thread(target=lambda: parse("slow + store"))
    parsed.start()
    parsed.join(2)
    waits = parsed.is_alive()
    done.set()
    thread.join()
    assert not waits


LONG = "a_metric_with_a_name_of_some_length"


@pytest.mark.parametrize(
    ("text", "formatted"),
    [
        ("sum(x)by(job)>0 # up", "sum by (job) (x) > 0"),
        ("((x))+-(y*2)^2", "((x)) + -(y * 2) ^ 2"),
        ("(a-b)-(c-d)", "(a - b) - (c - d)"),
        ("(2^3)^(-1)", "(2 ^ 3) ^ (-1)"),
        ("(x+y)[90m:] offset -8d", "(x + y)[1h30m:] offset -8d"),
        ("""{'a.b',"c d"=~'"'}@1""", '{"c d"=~"\\"",__name__="a.b"} @ 1.000'),
        ("""{__name__='x',__name__!='y',a!~"",b!=''} @ -1.5""", '{__name__!="y",__name__="x",a!~"",b!=""} @ -1.500'),
        (r"""label_join(x,'a."','\n')""", r"""label_join(x, "a.\"", "\n")"""),
        ("x{a='@ 5', b='z group_left ('}@1", 'x{a="@ 5",b="z group_left ("} @ 1.000'),
        ("x*ignoring()group_left y", "x * ignoring () group_left () y"),
        ("topk without()(1e3,x)", "topk without () (1000, x)"),
        (
            f"sum(rate({LONG}[5m]))/on(job)(sum({LONG})+sum({LONG}))",
            f"  sum(rate({LONG}[5m]))\n/ on (job)\n  (sum({LONG}) + sum({LONG}))",
        ),
        (f"clamp({LONG} + {LONG} + {LONG},0,1)", f"clamp(\n    {LONG} + {LONG}\n  +\n    {LONG},\n  0,\n  1\n)"),
    ],
)
def test_a_query_is_formatted_as_prometheus_does(text: str, formatted: str) -> None:
    assert format_query(text) == formatted
    assert format_query(formatted) == formatted
    assert meaning(parse(formatted)) == meaning(parse(text))
