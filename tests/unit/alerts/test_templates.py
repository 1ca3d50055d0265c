"""Templates: what is refused when they are compiled, what fails when they are expanded, and their bounds.

What they expand to is compared with Prometheus in tests/integration/test_templates_agree_with_promtool.py.
"""

from __future__ import annotations

import re
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ordinaut_ext_observability.alerts.templates import MAX_TEXT, TemplateError, compile_template
from ordinaut_ext_observability.promql.errors import ExecutionError

SAMPLES = [({"job": "b"}, 2.0), ({"job": "a", "__value__": "v"}, 1.0)]


def expand(text, *, value=1234.5678, samples=SAMPLES):
    return compile_template(text).expand(
        {"job": "api", "i": "1"}, value, {"zone": "x"}, "http://e/p", lambda _: samples
    )


@pytest.mark.parametrize(
    ("text", "expanded"),
    [
        ("{{ $labels.job }} {{ $value | humanizePercentage }}", "api 1.235e+05%"),
        ("{{ with query `up` }}{{ . | sortByLabel `job` | first | label `job` }}{{ end }}", "a"),
        ("{{ range query `up` }}{{ .Labels.job }}={{ .Value }} {{ end }}", "b=2 a=1 "),
    ],
)
def test_a_template_expands_to_a_text(text, expanded):
    assert expand(text) == expanded


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("ab {{ $value", "$value is not supported"),
        ('{{ "a }}', '"a is not supported'),
        ("{{/* a }}", "/* is not supported"),
        ("{{ ", "the end of the template is not supported"),
        ("{{ }}", "}} cannot stand here"),
        ("{{ if $value }}x", "else or end expected instead of the end of the template"),
        ("{{ if 1 }}{{ else }}{{ else }}", "end expected instead of else"),
        ("{{ end }}", "the end of the template expected instead of end"),
        ("{{ $x := 1 }}", "$x is not supported; there are $labels, $value,"),
        ("{{ range $i, $x := query `up` }}{{ end }}", "$i is not supported; there are $labels, $value,"),
        ("{{ define `x` }}{{ end }}", "function define is not supported; there are first, humanize, humanize1024,"),
        ("{{ if gt $value 1.0 }}{{ end }}", "function gt is not supported; there are first, humanize, humanize1024,"),
        ("{{ $labels.job | reReplaceAll `a` `b` }}", "function reReplaceAll is not supported; there are"),
        ("{{ printf `%s` now }}", "now cannot stand here (a function among arguments needs brackets)"),
        ("{{ (query `q` | first).Labels.job }}", ").Labels.job is not supported"),
        ("{{ 0x10 }}", "0x10 is not supported"),
        ("{{ 'a' }}", "'a' is not supported"),
        (r'{{ "\x41" }}', r'"\x41" is not supported'),
        ("{{ printf `%x` 1 }}", "printf: %x is not supported; there are %s %v %d %f %e %g %q %%"),
        ("{{ printf `%s` }}", "printf: the format takes 1 values, not 0"),
        ("{{ printf `%%%d` 1 2 }}", "printf: the format takes 1 values, not 2"),
        ("{{ `%d` | printf }}", "printf takes a format in quotes first"),
        ("{{ toUpper }}", "toUpper takes 1 arguments, not 0"),
        ("{{ $value | humanize 1 }}", "humanize takes 1 arguments, not 2"),
        ("{{ $value | $labels }}", "a function expected instead of $labels"),
        ("{{ $value | `first` }}", "a function expected instead of first"),
        ("{{ $value 1 }}", "}} expected instead of 1"),
        ("{{ (1 }}", ") expected instead of }}"),
        ("{{ if 1 }}{{ else 2 }}{{ end }}", "}} expected instead of 2"),
        ("{{ 1 }}".ljust(MAX_TEXT + 1, "x"), "the template has 16385 characters, more than 16384"),
        ("{{ if 1 }}" * 65, "more than 64 blocks, brackets and pipes"),
        ("{{ " + "(" * 65 + "1" + ")" * 65 + " }}", "more than 64 blocks, brackets and pipes"),
    ],
)
def test_what_is_not_supported_is_refused_by_name(text, problem):
    with pytest.raises(TemplateError, match=re.escape(problem)):
        compile_template(text)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("{{ query `up` | first }}", "what query gives cannot be written: take first of it, then value or label"),
        ("{{ toUpper $value }}", "toUpper takes a text"),
        ("{{ first $labels }}", "first takes the result of query"),
        ("{{ value `x` }}", "value takes one sample, as first gives"),
        ("{{ label 1 (query `up` | first) }}", "label takes a text and one sample, as first gives"),
        ("{{ humanize $labels.job }}", "humanize: could not convert string to float: 'api'"),
        ("{{ humanizeTimestamp 1e15 }}", "humanizeTimestamp: "),
        ("{{ $labels.job.x }}", "nothing has a field x here"),
        ("{{ .job }}", "nothing has a field job here"),
        ("{{ range $value }}{{ end }}", "range takes the result of query"),
    ],
)
def test_where_expanding_fails_the_text_says_why(text, reason):
    assert expand(text).startswith(f"<error expanding template: {reason}")


def test_a_failing_query_and_one_without_a_result_are_told_in_the_text():
    def fail(_):
        raise ExecutionError("too many series")

    assert (
        compile_template("{{ query `up` }}").expand({}, 0, {}, "", fail)
        == "<error expanding template: too many series>"
    )
    assert (
        expand("{{ query `up` | first }}", samples=[]) == "<error expanding template: first: the query has no result>"
    )


@pytest.mark.parametrize(
    ("text", "series"),
    [
        ("{{ range query `up` }}" * 2 + "x" + "{{ end }}" * 2, 30),
        ("{{ range query `up` }}{{ range query `up` }}{{ end }}{{ end }}", 1_000),
        ("{{ range query `up` }}{{ printf `%s` .Labels.job | toUpper }}{{ end }}", 50_000),
        ("{{ range query `up` }}xxxx{{ end }}", 50_000),
        (
            "{{ with query `up` }}" + "{{ $x }}".replace("$x", "sortByLabel `job` . | first | value") * 3 + "{{ end }}",
            50_000,
        ),
        ("{{ with printf `%900d` 1 }}" + "{{ with printf `%s%s%s` . . . }}" * 9 + "{{ end }}" * 10, 0),
        ("{{ printf `" + "%999d" * 2_000 + "`" + " 1" * 2_000 + " }}", 0),
    ],
)
def test_length_work_and_queries_are_bounded(text, series):
    samples = [({"job": "b"}, 1.0)] * series
    tracemalloc.start()
    try:
        assert expand(text, samples=samples) == (
            "<error expanding template: expanding takes more than 100000 steps; a query takes 5000>"
        )
        assert tracemalloc.get_traced_memory()[1] < 40_000_000  # most of it the samples
    finally:
        tracemalloc.stop()


def test_the_deepest_templates_expand():
    assert expand("{{ " + "(toUpper " * 64 + "`a`" + ")" * 64 + " }}") == "A"
    assert expand("{{ if 1 }}" * 64 + "a" + "{{ end }}" * 64) == "a"
    assert expand("{{ `a`" + "| toUpper " * 64 + "}}") == "A"


PIECES = st.sampled_from(
    '{{ {{- }} -}} if else end with range query `up` "%.2f" printf first value $labels .Labels .job $value | ( ) '
    "humanize 1 2.5 humanizeTimestamp /* */ $ .".split()
    + [" "]
)


@given(
    st.lists(PIECES, max_size=20).map("".join) | st.lists(PIECES, max_size=20).map(" ".join).map("{{{{ {} }}}}".format),
    st.floats(),
)
def test_any_text_is_refused_or_expanded(text, value):
    try:
        template = compile_template(text)
    except TemplateError:
        return
    template.expand({"job": "api"}, value, {}, "", lambda _: SAMPLES).encode()
