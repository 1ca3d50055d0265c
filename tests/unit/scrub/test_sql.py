"""What is shown of statements: their shape, never a value."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ordinaut_ext_observability.scrub.sql import MAX_SHOWN, normalised

SECRET = "hunter2secret"


@pytest.mark.parametrize(
    ("statement", "shown"),
    [
        ("SELECT 1", "SELECT ?"),
        ("SELECT  *\n FROM task\tWHERE id = 'x'", "SELECT * FROM task WHERE id = ?"),
        ("SELECT 'it''s' || E'a\\'b' || $$c$$ || $tag$d $$ e$tag$", "SELECT ? || ? || ? || ?"),
        (
            "UPDATE t1 SET c2 = -5.5e-3, d = .5, e = 0x1F WHERE f = $1",
            "UPDATE t1 SET c2 = -?, d = ?, e = ? WHERE f = $1",
        ),
        ("SELECT * FROM t WHERE id IN (1, 2,3)", "SELECT * FROM t WHERE id IN (?, …)"),
        ("SELECT a -- secret\nFROM t /* a /* b */ c */ WHERE true", "SELECT a FROM t WHERE true"),
        ('SELECT "strange ""name", "x" FROM t', 'SELECT "strange ""name", "x" FROM t'),
        ("SELECT foo$bar$baz, B'01', x'ff', U&'d\\0061'", "SELECT foo$bar$baz, ?, ?, ?"),
        ("SELECT 'cut off", "SELECT ?…"),
        ("SELECT $tag$cut off", "SELECT ?…"),
        ("SELECT 1 /* cut off", "SELECT ?"),
        ('SELECT "cut off', "SELECT ?…"),
        ("SELECT * FROM таблица", "SELECT * FROM таблица"),
        ("", ""),
    ],
)
def test_literals_become_question_marks(statement: str, shown: str) -> None:
    assert normalised(statement) == shown


@pytest.mark.parametrize("strings", ["on", "off"])
def test_backslash_before_a_quote_takes_the_rest(strings: str) -> None:
    """Whether it ends the string depends on the session: what follows may be a value."""
    after = f"', '{SECRET}'" if strings == "on" else f"' {SECRET}'"
    assert SECRET not in normalised(f"SELECT 'a\\{after} FROM t")


def test_long_statements_are_cut() -> None:
    shown = normalised("SELECT " + "a, " * 1000)
    assert len(shown) == MAX_SHOWN
    assert shown.endswith("…")


QUOTINGS = (
    "'{}'", "E'{}'", "e'\\'{}'", "$${}$$", "$a${}$a$", "-- {}\n", "/* {} */", "U&'{}'", "N'{}'", "'a''{}'",
)  # fmt: skip
CUT_OFF = ("'{}", "$${}", "/*{}", "E'\\'{}", "-- {}", "'a''{}")
harmless = st.text(st.sampled_from("abcde ,()=.1\n"), max_size=15)


@given(
    st.lists(st.tuples(harmless, st.sampled_from(QUOTINGS)), min_size=1, max_size=6), st.sampled_from(("", *CUT_OFF))
)
def test_planted_secrets_are_not_shown(pieces: list[tuple[str, str]], last: str) -> None:
    statement = "".join(f" {before} {quoting.format(SECRET)} " for before, quoting in pieces) + last.format(SECRET)
    assert SECRET not in normalised(statement, 10_000)


@given(st.text(max_size=400) | st.text(st.sampled_from("'\"$/*-\\eE a1\n"), max_size=200))
def test_anything_is_text_of_one_line(statement: str) -> None:
    shown = normalised(statement)
    assert len(shown) <= MAX_SHOWN
    assert "\n" not in shown


@given(st.integers(min_value=0))
def test_numbers_are_not_shown(number: int) -> None:
    assert normalised(f"SELECT {number}, x{number} FROM t") == f"SELECT ?, x{number} FROM t"


@pytest.mark.parametrize("piece", ["'", "$$ ", "/*", '"', "E'\\", "$a", "1e", "--"])
def test_hostile_statements_take_linear_time(piece: str) -> None:
    import time

    started = time.process_time()
    normalised(piece * 4000)
    assert time.process_time() - started < 1.0
