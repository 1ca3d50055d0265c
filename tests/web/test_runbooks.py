"""Runbooks over HTTP and in notifications."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from typing import Any

import asyncpg
import pytest
from fastapi import FastAPI

from ordinaut_ext_observability.alerts.runbooks import built_in_alerts
from ordinaut_ext_observability.web.endpoints.runbooks import to_html
from tests.runbooks import RUNBOOKS, codes, queries

MOUNT = "/ext/observability"
TOKEN = "an-operators-token-0123456789"
BROWSER = {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"}


@pytest.fixture
def served(serve: Callable[..., Any]) -> Any:
    return serve(FastAPI())


def test_a_runbook_is_markdown_and_a_page_for_a_browser(served: Any) -> None:
    markdown = served.get(f"{MOUNT}/runbooks/QueueStalled")
    assert markdown.headers["content-type"].startswith("text/markdown") and markdown.text.startswith("# QueueStalled\n")
    page = served.get(f"{MOUNT}/runbooks/QueueStalled.md", headers=BROWSER)
    assert page.headers["content-type"].startswith("text/html") and "<h1>QueueStalled</h1>" in page.text
    assert "default-src 'none'" in page.headers["content-security-policy"]
    assert {markdown.headers["vary"], page.headers["vary"]} == {"Accept"}


def test_the_list_leads_to_every_runbook(served: Any) -> None:
    listed = served.get(f"{MOUNT}/runbooks").text
    page = served.get(f"{MOUNT}/runbooks", headers=BROWSER).text
    for alert in built_in_alerts():
        assert f"](runbooks/{alert}.md): " in listed and f'<a href="runbooks/{alert}">' in page


@pytest.mark.parametrize("name", ["NoSuch", "__init__", "..%2Frules", "QueueStalled%00", "%7Bname%7D"])
def test_another_name_is_answered_in_words_with_the_names_there_are(served: Any, name: str) -> None:
    answer = served.get(f"{MOUNT}/runbooks/{name}")
    assert answer.status_code == 404
    if "%2F" not in name:  # that is another path
        assert answer.json()["error"] == "no_such_runbook" and "QueueStalled" in answer.json()["message"]


def test_a_page_has_nothing_but_what_runbooks_need() -> None:
    text = "# A <b>\n\n<script>x</script> & `a<b`\n- one [B](B.md)\n- two\n1. [x](javascript:x) [y](//evil)\n```promql\na < 1\n```\n"
    assert to_html(text) == (
        "<h1>A &lt;b&gt;</h1><p>&lt;script&gt;x&lt;/script&gt; &amp; <code>a&lt;b</code></p>"
        '<ul><li>one <a href="B">B</a></li><li>two</li></ul>'
        "<ol><li>[x](javascript:x) [y](//evil)</li></ol><pre>a &lt; 1\n</pre>"
    )


def test_every_query_of_every_runbook_is_answered(serve: Callable[..., Any]) -> None:
    served = serve(FastAPI(), OPERATOR_TOKEN=TOKEN)
    for query in sorted({query for text in RUNBOOKS.values() for query in queries(text)}):
        headers = {"Authorization": f"Bearer {TOKEN}"}
        answer = served.get(f"{MOUNT}/api/v1/query", params={"query": query}, headers=headers)
        assert answer.status_code == 200 and "warnings" not in answer.json(), (query, answer.text)


def test_postgresql_takes_the_statements_of_runbooks(database_url: str) -> None:
    statements = {code for text in RUNBOOKS.values() for code in codes(text) if re.match("SELECT |VACUUM ", code)}
    assert len(statements) > 5

    async def execute() -> None:
        connection = await asyncpg.connect(database_url)
        for statement in statements:
            await connection.execute(statement.replace("PID", "0"))
        await connection.close()

    asyncio.run(execute())
