"""What the doctor reads from the loader's variables."""

from __future__ import annotations

import json
import shlex

import pytest

from ordinaut_ext_observability.cli.doctor.findings import Finding, Kind
from ordinaut_ext_observability.cli.doctor.environment import EAGER, GRANTS, SCOPES, loading


def kinds(findings: list[Finding]) -> list[Kind]:
    return [finding.kind for finding in findings]


def test_eager_loading_is_a_fact() -> None:
    assert kinds(list(loading({EAGER: '{"observability": true}'}))) == [Kind.FACT]


@pytest.mark.parametrize(
    "variables", [{}, {EAGER: "{}"}, {EAGER: '{"observability": false}'}, {EAGER: '{"webui": true}'}]
)
def test_lazy_loading_is_advised_against_with_a_line_that_makes_it_eager(variables: dict[str, str]) -> None:
    (finding,) = loading(variables)
    assert finding.kind is Kind.ADVICE
    export, assignment = shlex.split(finding.paste)
    name, _, value = assignment.partition("=")
    assert (export, name, json.loads(value)) == ("export", EAGER, {"observability": True})
    assert kinds(list(loading({name: value}))) == [Kind.FACT]


@pytest.mark.parametrize("value", ["", "observability", "[]", "null", "1", '{"observability": true'])
@pytest.mark.parametrize("name", [EAGER, GRANTS])
def test_a_value_that_makes_the_loader_ignore_both_variables_is_a_problem(name: str, value: str) -> None:
    (finding,) = loading({EAGER: '{"observability": true}', name: value})
    assert finding.kind is Kind.PROBLEM
    assert finding.sign.startswith(f"{name}={value!r}")


@pytest.mark.parametrize(
    ("grants", "problem"),
    [
        ({}, False),
        ({"observability": []}, False),
        ({"observability": ["ROUTES"]}, False),
        ({"observability": ["TOOLS"]}, True),
    ],
)
def test_grants_without_routes_are_a_problem(grants: dict[str, list[str]], problem: bool) -> None:
    findings = list(loading({EAGER: '{"observability": true}', GRANTS: json.dumps(grants)}))
    assert (Kind.PROBLEM in kinds(findings)) is problem


@pytest.mark.parametrize(("value", "told"), [("1", True), ("TRUE", True), ("yes", True), ("0", False), ("", False)])
def test_scopes_that_keep_scrapers_out_are_told(value: str, told: bool) -> None:
    findings = list(loading({EAGER: '{"observability": true}', SCOPES: value}))
    assert any("X-Scopes" in finding.sign for finding in findings) is told
