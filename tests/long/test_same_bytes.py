"""On every server, every answer is the same bytes with and without us, our headers aside.

Takes about five minutes: `python -m pytest -s tests/long/test_same_bytes.py`. It prints a line for each server. One
server alone: `-k hypercorn`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.integration.same_bytes.cases import ALL
from tests.integration.same_bytes.comparison import COMMANDS, Comparison, compare, prepare_files, table

RESULTS: list[Comparison] = []


@pytest.fixture(scope="module", autouse=True)
def report() -> Iterator[None]:
    yield
    print(f"\n{table(RESULTS)}")


@pytest.mark.parametrize("server", COMMANDS)
def test_every_answer_is_the_same_bytes_with_and_without_us(
    server: str, tmp_path: Path, start_child: Callable[..., Any], free_port: Callable[[], int]
) -> None:
    prepare_files(tmp_path)
    result = compare(server, ALL, tmp_path, start_child, free_port)
    RESULTS.append(result)
    assert not result.differences, "\n".join(map(str, result.differences))
    assert not result.ids_wrong
