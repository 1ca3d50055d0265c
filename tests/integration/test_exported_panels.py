"""A minute of what tests/long/test_exported_files.py does: most panels have data on a live demo by then."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from tests.integration.test_demo_command import RunningDemo, folder_for, pytestmark, start_demo
from tests.live_panels import ask_every_panel

__all__ = ["folder_for", "pytestmark", "start_demo"]

SECONDS = 60.0
MOST = 0.6
"""Share of the panels that need no more than a minute, on a busy machine too; recorded series and rare events need more."""


def test_most_panels_have_data_within_a_minute_and_no_rule_fails(
    start_demo: Callable[..., RunningDemo], tmp_path: Path, free_port: Callable[[], int]
) -> None:
    asked, left = ask_every_panel(start_demo(), tmp_path, free_port(), SECONDS)
    print(len(left), left)
    assert len(left) <= (1 - MOST) * asked, left
