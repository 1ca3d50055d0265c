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
        ("{{ with query `up` }}{{ . | sortByLabel `job` | first | strvalue }}{{ end }}", "v"),
        ("{{ title `it's o’neil's` }} {{ toUpper `straße` }}", "It's O’neil's STRAßE"),
        ("{{ or $labels.none `x` | printf `%q` }}", '"x"'),
    ],
)
def test_a_template_expands_to_a_text(text, expanded):
    assert expand(text) == expanded


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("ab {{ $value", "an action without its }}, or a quote or comment in it without its end, at character 4"),
        ('{{ "a }}', "an action without its }}, or a quote"),
        ("{{ }}", "}} cannot stand here"),
        ("{{ if $value }}x", "{{ end }} is missing at character 17"),
        ("{{ end }}", "end is no function that is supported at character 4"),
        ("{{ $x := 1 }}", "a template's own variable is not supported at character 7"),
        ("{{ $x }}", "$x is not known; there are $labels, $value,"),
        ("{{ define `x` }}{{ end }}", "define is no function that is supported at character 4"),
        ("{{ template `x` }}", "template is no function"),
        ("{{ graphLink `up` }}", "graphLink is no function that is supported"),
        ("{{ printf `%s` now }}", "now cannot stand here (a function among arguments needs brackets)"),
        ("{{ range $i, $x := query `up` }}{{ end }}", "a template's own variable is not supported"),
        ("{{ 0x10 }}", "0x10 is not supported"),
        ("{{ 'a' }}", "'a' is not supported"),
        (r'{{ "\x41" }}', "an escape in quotes other than"),
        (r'{{ "\ud800" }}', "an escape in quotes other than"),
        ("{{ printf `%x` 1 }}", "printf: %x is not supported; use %v %s %q %d %f %e %g %t or %% at character 4"),
        ("{{ `%*d` | printf }}", "printf: %* is not supported"),
        ("{{ toUpper }}", "toUpper does not take 0 arguments"),
        ("{{ $value | humanize 1 }}", "humanize does not take 2 arguments"),
        ("{{ $value | $labels }}", "$labels is no function that is supported"),
        ("{{ $value 1 }}", "}} expected instead of 1"),
        ("{{ (1 }}", ") expected instead of }}"),
        ("{{ match `(` `x` }}", "regular expression '(': missing closing ) at character"),
        ("{{ match `a)(b` `x` }}", "unexpected )"),
        ("{{ match `(a*)*b` `x` }}", "may take too long"),
        ("{{ else }}", "else is no function"),
        ("{{ if 1 }}{{ else 2 }}{{ end }}", "}} expected instead of 2"),
        ("x" * (MAX_TEXT + 1), "the template has 16385 characters, more than 16384"),
        ("{{ if 1 }}" * 17, "more than 16 blocks within each other at character 164"),
        ("{{ " + "(" * 33, "an action without its }}"),
        ("{{ " + "(" * 33 + "}}", "more than 32 brackets and pipes in one action at character 36"),
        ("{{ 1 " + "| humanize " * 33 + "}}", "more than 32 brackets and pipes in one action"),
    ],
)
def test_what_is_not_supported_is_refused_by_name_and_place(text, problem):
    with pytest.raises(TemplateError, match=re.escape(problem)):
        compile_template(text)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("{{ query `up` | first }}", "what query gives cannot be written: take first of it, then value or label"),
        ("{{ gt $value 10 }}", "values of two types cannot be compared: write 10.0, as $value is a decimal number"),
        ("{{ toUpper $value }}", "toUpper takes a text"),
        ("{{ first $labels }}", "first takes the result of query"),
        ("{{ value `x` }}", "value takes one sample, as first gives"),
        ("{{ humanize $labels.job }}", "'api' is no number"),
        ("{{ humanizeTimestamp 1e10 }}", "1e+10 seconds are no time between the years 1677 and 2262"),
        ("{{ $labels.job.x }}", "nothing has a field x here"),
        ("{{ range $value }}{{ end }}", "range takes the result of query, or labels"),
        ("{{ match $externalURL `[` }}{{ match (printf `(`) `x` }}", "regular expression '(': missing closing )"),
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
    ("text", "bound"),
    [
        ("{{ range query `up` }}" * 2 + "x" + "{{ end }}" * 2, "expanding makes more than 20 queries"),
        (
            "{{ range query `up` }}{{ printf `%s` .Labels.job | toUpper }}{{ end }}",
            "expanding takes more than 100000 steps",
        ),
        ("{{ range query `up` }}xxxx{{ end }}", "the text gets longer than 65536 characters"),
        (
            "{{ with printf `%900d` 1 }}" + "{{ with printf `%s%s%s` . . . }}" * 9 + "{{ end }}" * 10,
            "the text gets longer",
        ),
        (
            "{{ with printf `%900d` 1 }}" + "{{ with reReplaceAll `` . . }}" * 2 + "{{ end }}" * 3,
            "the text gets longer",
        ),
        ("{{ with printf `%99d` 1 }}{{ reReplaceAll ` +` `" + "$0" * 7000 + "` . }}{{ end }}", "the text gets longer"),
        (
            "{{ match `a.*b.*c.*d` `%s` }}" % ("abc" * 100),
            "the regular expression 'a.*b.*c.*d' may take too long on 300",
        ),
    ],
)
def test_length_steps_and_queries_are_bounded(text, bound):
    samples = [({"job": "b"}, 1.0)] * (30 if "queries" in bound else 50_000)
    tracemalloc.start()
    try:
        assert expand(text, samples=samples).startswith(f"<error expanding template: {bound}")
        assert tracemalloc.get_traced_memory()[1] < 40_000_000  # most of it the samples
    finally:
        tracemalloc.stop()


PIECES = st.sampled_from(
    [
        "{{",
        "{{-",
        "}}",
        "-}}",
        " ",
        "if",
        "else",
        "end",
        "with",
        "range",
        "query",
        "`up`",
        '"%.2f"',
        "printf",
        "first",
        "value",
    ]
    + [
        "$labels",
        ".Labels",
        ".job",
        "$value",
        "|",
        "(",
        ")",
        "humanize",
        "1",
        "2.5",
        "humanizeTimestamp",
        "eq",
        "and",
        "/*",
        "*/",
        "$",
        ".",
    ]
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
