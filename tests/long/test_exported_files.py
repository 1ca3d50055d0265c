"""The exported rules and dashboards on a live demo: every panel has data, in a real Prometheus and from our own API.

Run it by its path: `python -m pytest -s tests/long/test_exported_files.py`. It takes about ten minutes.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from tests.integration.test_demo_command import RunningDemo, folder_for, pytestmark, start_demo
from tests.live_panels import ask_every_panel

__all__ = ["folder_for", "pytestmark", "start_demo"]

SECONDS = 900.0
"""Some ten minutes until twenty work items were seen in the queue, which their objective asks for; all else is there in five."""


def test_every_panel_has_data_in_prometheus_and_the_same_series_from_our_own_api(
    start_demo: Callable[..., RunningDemo], tmp_path: Path, free_port: Callable[[], int]
) -> None:
    _, left = ask_every_panel(start_demo(), tmp_path, free_port(), SECONDS)
    assert left == {}
