"""Regular expressions are RE2's, on the whole of a text, and none takes long."""

from __future__ import annotations

import contextlib
from functools import reduce

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ordinaut_ext_observability.promql.errors import BadQueryError, ExecutionError
from ordinaut_ext_observability.promql.matchers import LabelMatcher
from ordinaut_ext_observability.promql.matchers import compile_regex


@pytest.mark.parametrize(
    ("pattern", "matching", "others"),
    [
        ("5..", ["503", "5\n3"], ["5033", "50", ""]),
        ("a|bc|", ["a", "bc", ""], ["abc", "b"]),
        (r"\d+\.\w*\s", ["1.é ".replace("é", "e"), "12. "], ["١.a ", "1.é ", "1.a\v"]),
        (r"[^\d\s-]+", ["a_é"], ["a1", "a-", " "]),
        (r"[[:alpha:]é]{2,3}", ["aé", "abc"], ["a1", "a", "abcd"]),
        (r"[\s\S][^\W]", ["é_", "\nx"], ["_é"]),
        ("[]a-c-]", ["]", "b", "-"], ["d", ""]),
        ("(?i)straße|K", ["STRAßE", "k", "\u212a"], ["strasse"]),
        ("(?-s:a.)b.", ["axb\n"], ["a\nb."]),
        (r"\Qa.b\E+\x2b\x{1F600}\101", ["a.bb+😀A"], ["axb+😀A"]),
        (r"^a$|\Ab\z", ["a", "b"], ["a\n", "ab"]),
        (r".*\bup\b.*", ["is up.", "éup"], ["cups", "_up"]),
        ("a{,2}|{|x{", ["a{,2}", "{", "x{"], ["aa"]),
        ("(/[^/]+)*(foo|bar)+", ["/a/bfoobar", "foo"], ["/a/b", "//foo"]),
    ],
)
def test_a_pattern_matches_what_re2_matches(pattern: str, matching: list[str], others: list[str]) -> None:
    regex = compile_regex(pattern)
    assert [text for text in matching + others if regex.fullmatch(text)] == matching


def test_a_match_has_the_groups() -> None:
    match = compile_regex("(?P<host>.*):(?<port>[0-9]+)(x)?").fullmatch("a:b:80")
    assert match is not None
    assert (match["host"], match["port"], match[3]) == ("a:b", "80", None)


@pytest.mark.parametrize(
    "pattern",
    ["(", ")", "[a", "[b-a]", "a**", "a*+", "*", "|{2}", "a{2}{3}", "a{1001}", "a{2,1}", "a{" + "9" * 5_000 + "}", "(?=a)", "(?!a)", "(?<=a)b", "(?>a)", "(?#a)", r"(a)\1", "(?P=n)",
     r"\pL", r"\Z", r"\u0041", "\\", r"[\é]", "[[:no:]]", "[[:^alpha:]]", "(?x)a", "a(?i)b", "(?P<n>a)(?P<n>b)", r"\x{110000}"],
)  # fmt: skip
def test_what_re2_refuses_or_is_not_supported_is_refused(pattern: str) -> None:
    with pytest.raises(BadQueryError, match="regular expression"):
        compile_regex(pattern)


@pytest.mark.parametrize(
    "pattern", ["(a*)*b", "(a|a)*b", "(a|ab)+c", "(.*,)+x", "((a?)+)+", r"(\w+\s?)*!", "(a?){40}" + "a" * 40, "a?" * 40, "(a|b|ab){30}", "((a{1,9}){1,9}){1,9}"]
)  # fmt: skip
def test_patterns_that_could_take_time_without_end_are_refused(pattern: str) -> None:
    with pytest.raises(BadQueryError, match="may take too long"):
        compile_regex(pattern)


def test_a_pattern_is_tried_on_a_text_only_where_that_takes_bounded_time() -> None:
    cubic = compile_regex(".*a.*b.*c")
    assert cubic.fullmatch("xaxbxc")
    assert cubic.fullmatch("x" * 5_000 + "abc"), "there are few places to stop at"
    with pytest.raises(ExecutionError, match="400 characters"):
        cubic.fullmatch("ab" * 200)
    assert compile_regex("[^:]+:[^:]+:.*").fullmatch("a" * 5_000 + ":b:" + ":" * 4_000), "each part ends at one place"
    with pytest.raises(ExecutionError):
        compile_regex("[a-z]*").fullmatch("x" * 1_000_000)


@pytest.mark.parametrize(
    ("operator", "value", "matching"),
    [("=", "a", ["a"]), ("!=", "a", ["", "b", "a|b"]), ("=~", "a|b", ["a", "b"]), ("!~", "a|b", ["", "a|b"]), ("=~", "a.*", ["a", "a|b"]), ("=~", "", [""])],
)  # fmt: skip
def test_a_matcher_keeps_the_values_it_is_for(operator: str, value: str, matching: list[str]) -> None:
    matcher = LabelMatcher("job", operator, value)
    assert [text for text in ("", "a", "b", "a|b") if matcher.matches(text)] == matching
    assert matcher.equal_to == ("a" if operator == "=" else None)


# A pattern as a function from the places where it may begin in a text to those where it may end: this takes no time.
Ends = frozenset[int]


def _repeated(pattern, text: str, starts: Ends) -> Ends:
    while (reached := starts | pattern(text, starts)) != starts:
        starts = reached
    return starts


PATTERNS = st.recursive(
    st.sampled_from("abc").map(lambda c: (c, lambda text, starts: frozenset(i + 1 for i in starts if text[i : i + 1] == c)))
    | st.just((".", lambda text, starts: frozenset(i + 1 for i in starts if i < len(text))))
    | st.just(("[^a]", lambda text, starts: frozenset(i + 1 for i in starts if i < len(text) and text[i] != "a"))),
    lambda inner: st.one_of(
        st.lists(inner, min_size=1, max_size=5).map(
            lambda parts: ("".join(p[0] for p in parts), lambda text, starts: reduce(lambda at, p: p[1](text, at), parts, starts))
        ),
        st.lists(inner, min_size=2, max_size=3).map(
            lambda parts: (f"({'|'.join(p[0] for p in parts)})", lambda text, starts: frozenset().union(*(p[1](text, starts) for p in parts)))
        ),
        inner.map(lambda p: (f"(?:{p[0]})*", lambda text, starts: _repeated(p[1], text, starts))),
        inner.map(lambda p: (f"({p[0]})?", lambda text, starts: starts | p[1](text, starts))),
        inner.map(lambda p: (f"(?:{p[0]}){{2}}", lambda text, starts: p[1](text, p[1](text, starts)))),
    ),
    max_leaves=8,
)  # fmt: skip


@settings(derandomize=True, database=None, deadline=None, max_examples=400)
@given(PATTERNS, st.lists(st.text("abc\n", max_size=12), max_size=8))
def test_a_pattern_matches_as_by_definition_or_is_refused(pattern, texts: list[str]) -> None:
    with contextlib.suppress(BadQueryError, ExecutionError):
        for text in texts:
            expected = len(text) in pattern[1](text, frozenset({0}))
            assert (compile_regex(pattern[0]).fullmatch(text) is not None) == expected, (pattern[0], text)
