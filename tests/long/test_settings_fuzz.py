"""Every variable with every hostile value, one process per variable, and all variables at once. Takes minutes:

    python -m pytest tests/long/test_settings_fuzz.py

The host must start and answer within its usual time, no password may be shown, and `doctor` must end with its report.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from ordinaut_ext_observability.settings.load import SETTINGS

FUZZ = Path(__file__).with_name("settings_fuzz.py")
PASSWORD = "plantedPa55word"
VARIABLES = [
    variable
    for setting in SETTINGS
    for variable in ((setting.variable, f"{setting.variable}_FILE") if setting.secret else (setting.variable,))
]


def run(*options: str) -> None:
    ran = subprocess.run(
        [sys.executable, str(FUZZ), *options], capture_output=True, text=True, timeout=500, check=False
    )
    assert ran.returncode == 0, ran.stderr[-2000:]
    report = json.loads(ran.stdout)
    print(f"{options}: {report['rounds']} rounds, usual {report['usual']:.2f} s, slowest {report['slowest']:.2f} s")
    assert report["wrong"] == []
    assert PASSWORD not in ran.stderr
    assert "Traceback" not in ran.stderr


@pytest.mark.parametrize("variable", VARIABLES)
def test_the_host_starts_whatever_one_variable_is(variable: str) -> None:
    run("--variables", variable)


@pytest.mark.parametrize("variable", VARIABLES)
def test_the_doctor_ends_whatever_one_variable_is(variable: str) -> None:
    run("--doctor", "--variables", variable)


@pytest.mark.parametrize("doctor", [(), ("--doctor",)], ids=["host", "doctor"])
def test_all_variables_may_be_hostile_at_once(doctor: tuple[str, ...]) -> None:
    run("--together", "--values", "140", *doctor)
