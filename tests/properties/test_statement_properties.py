"""Whatever the text of a statement is, its description is a label's worth, and values never get into it."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from ordinaut_ext_observability.db.statement import MAX_TABLE_LENGTH, OPERATIONS, describe_statement
from ordinaut_ext_observability.scrub.sql import WORD, read_tokens

parts = st.sampled_from(
    ["SELECT", "INSERT INTO", "UPDATE", "DELETE FROM", "MERGE INTO", "COPY", "TRUNCATE", "WITH", "RECURSIVE", "AS", "FROM",
     "ONLY", "LATERAL", "VALUES", "TABLE", "EXPLAIN", "ANALYZE", "IS", "DISTINCT", "JOIN", "MATERIALIZED", "(", ")", ",", ";",
     ".", "*", "'", "''", '"', '""', "$$", "$a$", "$1", "--", "\n", "/*", "*/", "E'", "U&\"", "\\", "\\0061", "task", "a", "ä",
     "\ud800", "\x00", "1", "1.5", "rows", "::jsonb", "%(task_id)s", ":task_id"]
)  # fmt: skip
statements = st.one_of(
    st.text(st.characters(), max_size=500),
    st.lists(parts, max_size=60).map(" ".join),
    st.lists(parts, max_size=60).map("".join),
)

SECRET = "s3cr3t_value"
literals = st.sampled_from(
    [f"'{SECRET}'", f"' FROM {SECRET} '", f"'it''s FROM {SECRET}'", f"E'\\' FROM {SECRET}'", f"$$ FROM {SECRET} $$", f"$q$ '$$ FROM {SECRET} $q$",
     f"/* FROM {SECRET} */", f"/* /* */ FROM {SECRET} */", f"-- FROM {SECRET}\n"]
)  # fmt: skip
with_a_table = st.sampled_from(
    ["SELECT {}, a FROM {} due_work WHERE x = {}", "{} UPDATE {} due_work SET x = {}", "INSERT {} INTO due_work {} VALUES ({})",
     "DELETE FROM {} due_work WHERE {} = {}", "WITH x AS (SELECT {} FROM {} due_work) SELECT * FROM x WHERE y = {}",
     "SELECT * FROM (SELECT {}, {} FROM due_work) x WHERE {}"]
)  # fmt: skip
comments = st.sampled_from([f"/* FROM {SECRET} */", f"/* /* */ FROM {SECRET} */", f"-- FROM {SECRET}\n", ""])


@given(statements)
def test_every_text_has_a_description_of_the_bounded_alphabet(text: str) -> None:
    described = describe_statement(text)
    operation, table = described.operation, described.table
    assert operation in OPERATIONS
    assert len(table) <= MAX_TABLE_LENGTH
    assert table.isprintable()
    assert table.encode().decode() == table


@given(statements)
def test_tokens_follow_each_other_with_spaces_and_comments_between(text: str) -> None:
    end = 0
    for kind, start, after in read_tokens(text):
        assert end <= start < after <= len(text)
        between = text[end:start]
        assert not between.strip() or "--" in between or "/*" in between
        assert kind != WORD or text[start:after].replace("$", "_").isidentifier() or not text[start:after].isascii()
        end = after


@given(with_a_table, st.lists(literals, min_size=3, max_size=3), comments)
def test_values_and_comments_never_change_the_table(template: str, values: list[str], comment: str) -> None:
    between = [value if value.startswith(("/", "-")) else comment for value in values]
    where_values_go = {
        "SELECT {}, a": (0, 2),
        "{} UPDATE": (2,),
        "INSERT": (2,),
        "DELETE": (1, 2),
        "WITH": (0, 2),
        "SELECT * ": (0, 1, 2),
    }
    allowed = next(places for start, places in where_values_go.items() if template.startswith(start))
    text = template.format(*(values[place] if place in allowed else between[place] for place in range(3)))
    assert describe_statement(text).table == "due_work", text


@given(statements, st.text(st.characters(), max_size=50))
def test_description_depends_on_the_text_alone(text: str, other: str) -> None:
    before = describe_statement(text)
    describe_statement(other)
    assert describe_statement(text) == before
