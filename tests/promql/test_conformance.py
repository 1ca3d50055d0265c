"""Conformance cases: ours in `cases/`, and those of Prometheus in the directory that PROMQLTEST_DIR names.

`PROMQLTEST_REPORT` names a file to which all cases that were not checked in full are written, by file and line.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.promql.conformance import run_file

OWN = sorted((Path(__file__).parent / "cases").glob("*.test"))
DIRECTORY = os.environ.get("PROMQLTEST_DIR")
PROMETHEUS = sorted(Path(DIRECTORY).glob("*.test")) if DIRECTORY else []
assert PROMETHEUS or not DIRECTORY, f"PROMQLTEST_DIR: {DIRECTORY} has no file *.test"
NOT_NAMED = pytest.param(None, marks=pytest.mark.skip(reason="PROMQLTEST_DIR names no directory of Prometheus's cases"))
REPORT = os.environ.get("PROMQLTEST_REPORT", "")


def failures(path: Path) -> list[str]:
    verdicts = run_file(path)
    assert verdicts, f"{path} has no case"
    lines = [
        f"{path.name}:{one.line}: out of reach: {one.out_of_reach}: {one.query}" for one in verdicts if one.out_of_reach
    ]
    lines += [
        f"{path.name}:{one.line}: values checked, not that it should {one.unchecked}: {one.query}"
        for one in verdicts
        if one.unchecked and not one.out_of_reach
    ]
    passed = sum(not one.problem for one in verdicts)
    lines.append(
        f"{path.name}: {passed} of {len(verdicts)} passed, {sum(bool(one.out_of_reach) for one in verdicts)} out of reach"
    )
    print("\n".join(lines))
    if REPORT:
        with Path(REPORT).open("a") as report:
            report.write("\n".join(lines) + "\n")
    return [
        f"{path.name}:{one.line}: {one.query}: {one.problem}"
        for one in verdicts
        if one.problem and not one.out_of_reach
    ]


@pytest.mark.parametrize("path", OWN, ids=lambda path: path.stem)
def test_our_cases_pass(path):
    assert failures(path) == []


@pytest.mark.parametrize("path", PROMETHEUS or [NOT_NAMED], ids=lambda path: path and path.stem)
def test_prometheus_cases_pass_or_are_out_of_reach_by_rule(path):
    assert failures(path) == []
