"""Many more queries than in CI: `python -m pytest -s tests/long/test_agrees_with_prometheus.py`, about two minutes."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from tests.promql.peer import compare, scraped

QUERIES = int(os.environ.get("QUERIES", "5000"))
SEED = int(os.environ.get("SEED", "2"))


def test_generated_queries_have_the_answers_of_a_real_prometheus(
    tmp_path: Path, free_port: Callable[[], int], eventually: Callable[..., bool]
) -> None:
    with scraped(tmp_path, free_port, eventually) as prometheus:
        comparison = compare(prometheus, QUERIES, SEED)
    differences = comparison.differences
    print(
        f"{comparison.queries} queries, {comparison.answers} with values, {comparison.errors} refused by either", end=""
    )
    print(f", {len(differences)} differ")
    assert not differences, "\n".join(differences)
