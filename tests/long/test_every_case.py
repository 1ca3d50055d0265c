"""Every case of what the suite runs in part: `python -m pytest tests/long/test_every_case.py`, 6 minutes."""

from __future__ import annotations

import os
import subprocess
import sys

NAMES = ("relay", "stop_times", "rules_agree_with_promtool", "builtin_rules")
FILES = (*(f"tests/integration/test_{name}.py" for name in NAMES), "tests/promql/test_hostile_text.py")


def test_every_case_of_what_the_suite_runs_in_part() -> None:
    environment = {**os.environ, "EVERY_CASE": "true"}
    subprocess.run([sys.executable, "-m", "pytest", "-q", *FILES], env=environment, check=True, timeout=900)
