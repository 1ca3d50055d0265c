"""A real Prometheus and ours give the same answers over the same samples."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from tests.promql.peer import compare, scraped


def test_generated_queries_have_the_answers_of_a_real_prometheus(
    tmp_path: Path, free_port: Callable[[], int], eventually: Callable[..., bool]
) -> None:
    with scraped(tmp_path, free_port, eventually) as prometheus:
        comparison = compare(prometheus, 200, seed=1)
    assert not comparison.differences, "\n".join(comparison.differences)
    assert comparison.answers >= 120, comparison
