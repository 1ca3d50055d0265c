"""What a statement does and to which table."""

from __future__ import annotations

import time
from collections import deque

import pytest

from ordinaut_ext_observability.db.statement import (
    MAX_CHARACTERS,
    OPERATIONS,
    Statement,
    describe_statement,
    usable_table,
)
from ordinaut_ext_observability.scrub.sql import read_tokens


@pytest.mark.parametrize(
    ("text", "operation", "table"),
    [
        ("SELECT * FROM task", "select", "task"),
        ("select id from Task where x = 1", "select", "task"),
        ("SELECT 1", "select", ""),
        ("SELECT", "select", ""),
        ("SELECT a FROM", "select", ""),
        ("SELECT * FROM public.task t", "select", "task"),
        ("SELECT * FROM db . public . task", "select", "task"),
        ('SELECT * FROM "my table"', "select", "my table"),
        ('SELECT * FROM "My ""Table"""', "select", 'My "Table"'),
        ('SELECT * FROM public."Task"', "select", "Task"),
        ('SELECT * FROM "from"', "select", "from"),
        ('SELECT "a from b" FROM task', "select", "task"),
        ('SELECT * FROM U&"d\\0061t\\+000061"', "select", "data"),
        ('SELECT * FROM U&"a\\\\b"', "select", "a\\b"),
        ('SELECT * FROM U&"\\+FFFFFF"', "select", ""),
        ("SELECT * FROM ONLY task", "select", "task"),
        ("SELECT * FROM ONLY (task)", "select", "task"),
        ("SELECT * FROM task, agent", "select", "task"),
        ("SELECT * FROM (task JOIN agent ON true)", "select", "task"),
        ("SELECT * FROM ((task JOIN agent ON true) JOIN x ON true)", "select", "task"),
        ("SELECT DISTINCT a FROM task", "select", "task"),
        ("SELECT a IS DISTINCT FROM b FROM task", "select", "task"),
        ("SELECT a IS NOT DISTINCT FROM b FROM task", "select", "task"),
        ("SELECT EXTRACT(EPOCH FROM now()) FROM due_work", "select", "due_work"),
        ("SELECT EXTRACT(EPOCH FROM now())", "select", ""),
        ("SELECT trim(both 'x' from a), substring(b from 2) FROM task", "select", "task"),
        ("SELECT (SELECT max(x) FROM inner_one) FROM task", "select", "inner_one"),
        ("SELECT * FROM (SELECT * FROM due_work) AS d", "select", "due_work"),
        ("SELECT * FROM ((SELECT * FROM due_work)) AS d", "select", "due_work"),
        ("SELECT * FROM (VALUES (1)) v", "select", ""),
        ("SELECT * FROM (SELECT 1) x, task", "select", ""),
        ("SELECT * FROM generate_series(1, 10)", "select", ""),
        ("SELECT * FROM pg_catalog.generate_series(1, 10)", "select", ""),
        ("SELECT * FROM ROWS FROM (f(1))", "select", ""),
        ("SELECT * FROM LATERAL f(1)", "select", ""),
        ("SELECT * FROM LATERAL (SELECT * FROM task) x", "select", "task"),
        ("SELECT a FROM task WHERE b IN (SELECT c FROM agent)", "select", "task"),
        ("SELECT 1 UNION SELECT a FROM task", "select", "task"),
        ("(SELECT a FROM task) UNION (SELECT b FROM agent)", "select", "task"),
        ("SELECT 1; SELECT * FROM task", "select", ""),
        (";; SELECT * FROM task", "select", "task"),
        ("SELECT 'x FROM secret' FROM task", "select", "task"),
        ("SELECT 'it''s FROM secret' FROM task", "select", "task"),
        ("SELECT E'\\' FROM secret' FROM task", "select", "task"),
        ("SELECT '\\' FROM task", "select", "task"),
        ("SELECT $$ FROM secret $$ FROM task", "select", "task"),
        ("SELECT $a$ FROM $$ secret $b$ $a$ FROM task", "select", "task"),
        ("SELECT $1 FROM task WHERE a = $2", "select", "task"),
        ("SELECT a$b$ FROM task", "select", "task"),
        ("SELECT 'unterminated FROM task", "select", ""),
        ("SELECT $x$ unterminated FROM task", "select", ""),
        ("SELECT 1.5e3 FROM task", "select", "task"),
        ("SELECT /* FROM secret */ a FROM task", "select", "task"),
        ("SELECT /* a /* nested */ FROM secret */ a FROM task", "select", "task"),
        ("SELECT -- FROM secret\n a FROM task", "select", "task"),
        ("SELECT /* unterminated FROM task", "select", ""),
        ("-- note\n/* note */ SELECT * FROM/**/task", "select", "task"),
        ("TABLE task", "select", "task"),
        ("VALUES (1), (2)", "select", ""),
        ("INSERT INTO due_work (task_id, run_at) VALUES (%(task_id)s, %(run_at)s)", "insert", "due_work"),
        ('INSERT INTO "due_work" DEFAULT VALUES', "insert", "due_work"),
        ("insert into public.due_work(task_id) select id from task", "insert", "due_work"),
        ("UPDATE task SET a = 1", "update", "task"),
        ("UPDATE ONLY task SET a = (SELECT 1 FROM agent)", "update", "task"),
        ("UPDATE ONLY (task) SET a = 1", "update", "task"),
        ("DELETE FROM due_work WHERE id = 1", "delete", "due_work"),
        ("DELETE FROM ONLY due_work", "delete", "due_work"),
        ("MERGE INTO task USING agent ON true WHEN MATCHED THEN DELETE", "merge", "task"),
        ("TRUNCATE task, agent", "truncate", "task"),
        ("TRUNCATE TABLE ONLY task", "truncate", "task"),
        ("COPY task FROM STDIN", "copy", "task"),
        ("COPY public.task (a, b) TO STDOUT", "copy", "task"),
        ("COPY (SELECT a FROM agent) TO STDOUT", "copy", "agent"),
        ("COPY (WITH x AS (SELECT * FROM agent) SELECT * FROM x) TO STDOUT", "copy", "agent"),
        ("COPY (UPDATE task SET a = 1 RETURNING a) TO STDOUT", "copy", "task"),
        ("WITH x AS (SELECT * FROM task) SELECT * FROM x", "select", "task"),
        ("WITH x AS (SELECT * FROM task) SELECT * FROM agent, x", "select", "agent"),
        ("WITH x AS (SELECT * FROM task) SELECT * FROM public.x", "select", "x"),
        ("WITH x (a, b) AS MATERIALIZED (SELECT * FROM task), y AS (SELECT * FROM x) SELECT * FROM y", "select", "task"),
        ("WITH RECURSIVE x AS (SELECT 1 UNION ALL SELECT a + 1 FROM x) SELECT * FROM x", "select", ""),
        ("WITH task AS (SELECT * FROM task) SELECT * FROM task", "select", ""),
        ("WITH RECURSIVE x AS (SELECT * FROM task) SEARCH DEPTH FIRST BY a SET b SELECT * FROM x", "select", "task"),
        ("WITH gone AS (DELETE FROM due_work RETURNING *) INSERT INTO task_run SELECT * FROM gone", "insert", "task_run"),
        ("WITH c AS (UPDATE due_work SET a = 1 RETURNING id) SELECT * FROM c", "select", "due_work"),
        ("WITH update AS (SELECT * FROM task) SELECT * FROM update", "select", "task"),
        ("WITH recursive insert AS (SELECT * FROM task) DELETE FROM agent", "delete", "agent"),
        ("WITH x AS NOT MATERIALIZED (SELECT 1) UPDATE task SET a = 1", "update", "task"),
        ("WITH x AS (SELECT * FROM task) (SELECT * FROM x)", "select", "task"),
        ("WITH x AS (WITH y AS (SELECT * FROM task) SELECT * FROM y) SELECT * FROM x", "select", "task"),
        ("WITH x AS (WITH y AS (SELECT 1) SELECT * FROM y) SELECT * FROM x", "select", ""),
        ("WITH x AS (SELECT * FROM task) SELECT * FROM x JOIN agent ON true", "select", "agent"),
        ("WITH x AS (SELECT * FROM task) ((SELECT * FROM x))", "select", "task"),
        ("WITH x AS (INSERT INTO task_run (a) VALUES (1) RETURNING a) SELECT * FROM x", "select", "task_run"),
        ("INSERT INTO task SELECT * FROM agent FOR UPDATE", "insert", "task"),
        ("SELECT EXISTS (SELECT 1 FROM task WHERE id = $1)", "select", "task"),
        ("(SELECT 1) UNION (SELECT a FROM task)", "select", "task"),
        ("SELECT now() FROM f(1), g(2) JOIN task ON true FOR UPDATE", "select", "task"),
        ("WITH", "other", ""),
        ("WITH x AS (SELECT 1", "other", ""),
        ("EXPLAIN SELECT * FROM task", "explain", "task"),
        ("EXPLAIN ANALYZE VERBOSE UPDATE task SET a = 1", "explain", "task"),
        ("EXPLAIN (ANALYZE, FORMAT JSON) DELETE FROM task", "explain", "task"),
        ("EXPLAIN (SELECT * FROM task)", "explain", "task"),
        ("BEGIN ISOLATION LEVEL SERIALIZABLE;", "transaction", ""),
        ("START TRANSACTION", "transaction", ""),
        ("COMMIT", "transaction", ""),
        ("END", "transaction", ""),
        ("rollback to x", "transaction", ""),
        ("SAVEPOINT x", "transaction", ""),
        ("RELEASE SAVEPOINT x", "transaction", ""),
        ("PREPARE TRANSACTION 'x'", "transaction", ""),
        ("PREPARE x AS SELECT * FROM task", "other", ""),
        ("CREATE TABLE x AS SELECT * FROM task", "ddl", ""),
        ("ALTER TABLE task ADD a int", "ddl", ""),
        ("DROP TABLE task", "ddl", ""),
        ("SET search_path = x", "setting", ""),
        ("SHOW transaction_isolation", "setting", ""),
        ("LISTEN x", "other", ""),
        ("VACUUM task", "other", ""),
        ("", "other", ""),
        ("   ", "other", ""),
        ("-- nothing", "other", ""),
        ("((((", "other", ""),
        ("SELECT * FROM \"a\nb\"", "select", ""),
        ("SELECT * FROM \ud800", "select", ""),
        ("SELECT * FROM ÄÖ_Table", "select", "ÄÖ_table"),
    ],
)  # fmt: skip
def test_operation_and_table(text: str, operation: str, table: str) -> None:
    assert describe_statement(text) == Statement(operation, table)


def test_table_is_cut_to_the_length_postgresql_keeps() -> None:
    assert describe_statement(f"SELECT * FROM {'t' * 100}").table == "t" * 63


def test_what_is_no_text_is_no_table() -> None:
    assert [usable_table(name) for name in (None, 3, b"task", "a\x00b", "task")] == ["", "", "", "", "task"]


@pytest.mark.parametrize("shift", range(-40, 10))
def test_table_is_never_a_part_of_a_name_that_is_cut_off(shift: int) -> None:
    before = "SELECT a FROM "
    text = "/*" + "x" * (MAX_CHARACTERS + shift - len(before) - 4) + "*/" + before + "public.due_work WHERE true"
    assert describe_statement(text).table in {"", "due_work"}


HOSTILE = [
    "/*", "'", '"', "$$", "$a$", "(", ")", "((SELECT ", "E'\\", "--", "-", "a", "a.", "\"a\".", "SELECT * FROM (", "WITH a AS (",
    "WITH a AS (SELECT * FROM a) SELECT * FROM a, ", ",", "EXPLAIN ", "''", '""', "\\", "IS DISTINCT FROM ", ";", "$1", "1.", "\ud800",
    "/*/", "*/", "U&\"\\", "FROM ONLY ",
]  # fmt: skip


@pytest.mark.parametrize("piece", HOSTILE)
@pytest.mark.parametrize("beginning", ["", "SELECT ", "WITH ", "EXPLAIN ", "INSERT INTO "])
def test_megabytes_are_described_at_once(beginning: str, piece: str) -> None:
    text = beginning + piece * (1_000_000 // len(piece))
    started = time.process_time()
    described = describe_statement(text)
    assert time.process_time() - started < 0.25
    assert described.operation in OPERATIONS


@pytest.mark.parametrize("piece", HOSTILE)
def test_reading_tokens_takes_time_in_proportion(piece: str) -> None:
    def seconds(length: int) -> float:
        text = piece * (length // len(piece))
        best = float("inf")
        for _ in range(3):
            started = time.process_time()
            deque(read_tokens(text), maxlen=0)
            best = min(best, time.process_time() - started)
        return best

    # Quadratic would be 64 times as long.
    assert seconds(160_000) < 32 * max(seconds(20_000), 0.0005)
