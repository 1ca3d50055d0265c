"""A status that does not flap."""

from __future__ import annotations

import pytest

from ordinaut_ext_observability.health.model import HealthStatus, Hysteresis

STATUSES = {"H": HealthStatus.HEALTHY, "D": HealthStatus.DEGRADED, "U": HealthStatus.UNHEALTHY, "?": None}


def statuses_after(results: str, failures_to_worsen: int, passes_to_recover: int) -> str:
    """The status after each result; each by its first letter, `?` for unknown."""
    hysteresis = Hysteresis(failures_to_worsen, passes_to_recover)
    statuses = [hysteresis.observe(STATUSES[result]) for result in results]
    return "".join(status.name[0] if status is not None else "?" for status in statuses)


def test_there_is_no_status_before_the_first_result() -> None:
    assert Hysteresis(2, 1).status is None


@pytest.mark.parametrize("first", "HDU")
def test_first_result_counts_at_once_however_long_nothing_was_known(first: str) -> None:
    assert statuses_after(f"???{first}", 5, 5) == f"???{first}"


@pytest.mark.parametrize("known", "HDU")
def test_nothing_is_known_any_more_after_enough_runs_that_found_out_nothing(known: str) -> None:
    assert statuses_after(f"{known}?{known}??H", 2, 3) == f"{known * 4}?H"


def test_runs_that_found_out_nothing_are_no_part_of_the_results_in_a_row() -> None:
    assert statuses_after("HU?U", 2, 1) == "HHHU"


@pytest.mark.parametrize(
    ("results", "failures", "passes", "expected"),
    [
        ("HUUH", 1, 1, "HUUH"),
        ("HUUUH", 3, 1, "HHHUH"),
        ("HUUHUU", 3, 1, "HHHHHH"),
        ("UHHH", 1, 3, "UUUH"),
        ("UHHUHH", 1, 3, "UUUUUU"),
        ("UHHUHHH", 2, 3, "UUUUUUH"),
    ],
)
def test_follows_only_enough_results_in_a_row(results: str, failures: int, passes: int, expected: str) -> None:
    assert statuses_after(results, failures, passes) == expected


def test_becomes_only_as_bad_as_the_best_of_the_failures() -> None:
    assert statuses_after("HUD", 2, 1) == "HHD"
    assert statuses_after("HUDU", 2, 1) == "HHDD"
    assert statuses_after("HUDUU", 2, 1) == "HHDDU"


def test_becomes_only_as_good_as_the_worst_of_the_passes() -> None:
    assert statuses_after("UHD", 1, 2) == "UUD"
    assert statuses_after("UHDH", 1, 2) == "UUDD"
    assert statuses_after("UHDHH", 1, 2) == "UUDDH"
