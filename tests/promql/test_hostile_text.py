"""No text ends the process, whatever the stack of the thread that asks."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = Path(__file__).with_name("hostile_texts.py")
SOUPS = "1500"


# In the smallest; in all by `tests/long/test_every_case.py`.
@pytest.mark.parametrize("stack_kibibytes", ["256", *(["512", "1024"] if os.environ.get("EVERY_CASE") else [])])
def test_deep_long_and_random_texts_are_parsed_or_refused_in_small_threads(stack_kibibytes: str) -> None:
    command = [sys.executable, str(PROGRAM), stack_kibibytes, SOUPS]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert int(done.stdout.split()[0]) > 100
