"""Any request that the OpenAPI document allows, and many that it does not, is answered, and never by a failure of ours."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
import schemathesis
from fastapi import FastAPI
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from ordinaut_ext_observability.profiling.memory import _one_session
from ordinaut_ext_observability.profiling.sampler import SAMPLER

MOUNT = "/ext/observability"
TOKEN = "an-operators-token-0123456789"
NAMES = (
    *("query", "time", "start", "end", "step", "timeout", "limit", "match[]", "type", "filter", "receiver", "active"),
    *("silenced", "refresh", "window", "level", "group_limit", "name[]", "exclude_alerts", "for", "matchers"),
)

texts = st.text(max_size=20) | st.sampled_from(
    ("1", "-1", "up", "up[5m]", "NaN", "5m", "true", "{", "2026-11-23T22:19:04Z")
)
queries = st.dictionaries(st.sampled_from(NAMES), texts, max_size=4)
values = st.none() | st.booleans() | st.floats() | st.integers() | texts
bodies = st.recursive(
    values,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ("labels", "matchers", "startsAt", "endsAt", "comment", "createdBy", "id", "level", "for", "x")
            ),
            inner,
            max_size=5,
        )
    ),
    max_leaves=8,
)


@pytest.fixture
def served(serve: Any) -> Iterator[Any]:
    with SAMPLER._turn, _one_session:  # profiles and comparisons are refused, since they would take their time
        yield serve(FastAPI(), OPERATOR_TOKEN=TOKEN)


def failures_of(served: Any, headers: dict[str, str], examples: int) -> list[str]:
    """The requests that were answered 5xx, but for the 503 that the document tells of."""
    found: list[str] = []
    with httpx.Client(base_url=served.url, trust_env=False, timeout=30, headers=headers) as client:
        schema = schemathesis.openapi.from_dict(client.get("/openapi.json").json())
        operations = [result.ok() for result in schema.get_all_operations()]
        assert len(operations) > 30
        for operation in operations:
            _ask(client, operation, served.app.openapi()["paths"][operation.path], examples, found)
    return found


def _ask(client: httpx.Client, operation: Any, path: dict[str, Any], examples: int, found: list[str]) -> None:
    told = path[operation.method.lower()]["responses"]

    @given(case=operation.as_strategy(), query=queries, body=bodies)
    @settings(
        max_examples=examples,
        deadline=None,
        database=None,
        derandomize=True,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    def ask(case: Any, query: dict[str, str], body: Any) -> None:
        sent = {} if case.method in ("GET", "HEAD") else {"content": json.dumps(body).encode("utf-8", "surrogatepass")}
        try:
            answer = client.request(case.method, case.formatted_path, params=query, **sent)
        except (httpx.InvalidURL, ValueError):
            return  # no client can ask so
        if answer.status_code >= 500 and not (answer.status_code == 503 and "503" in told):
            found.append(
                f"{case.method} {case.formatted_path} {query} {body}: {answer.status_code} {answer.text[:200]}"
            )

    ask()


@pytest.mark.parametrize(
    ("headers", "examples"), [({"Authorization": f"Bearer {TOKEN}"}, 25), ({}, 5)], ids=["with", "without"]
)
def test_any_request_with_and_without_a_token_is_answered(served: Any, headers: dict[str, str], examples: int) -> None:
    assert failures_of(served, headers, examples) == []
    assert served.internal_errors() == {}
