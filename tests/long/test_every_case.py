"""Whole installations in every case, of which the suite runs one each: `python -m pytest tests/long/test_every_case.py`, 3 minutes."""

from __future__ import annotations

import os
import subprocess
import sys

FILES = ("tests/integration/test_relay.py", "tests/integration/test_stop_times.py")


def test_whole_installations_in_every_case() -> None:
    environment = {**os.environ, "EVERY_CASE": "true"}
    subprocess.run([sys.executable, "-m", "pytest", "-q", *FILES], env=environment, check=True, timeout=600)
