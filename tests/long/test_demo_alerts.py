"""The demo as it is shipped, its workers and its PostgreSQL stopped in turn: the built-in alerts at their own times.

Run it by its path: `python -m pytest -s tests/long/test_demo_alerts.py`. It takes eight minutes and prints when each
alert fired and was resolved.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator

import httpx
import psutil

from tests.integration.test_demo_command import MOUNT, RunningDemo, folder_for, pytestmark, start_demo

__all__ = ["folder_for", "pytestmark", "start_demo"]

SECONDS = 300.0
"""Longest wait: a minute and a quarter until a heartbeat is old, the minute of the rule, and what lies between."""


@contextlib.contextmanager
def stopped(processes: list[psutil.Process]) -> Iterator[None]:
    """Processes that do nothing meanwhile; they are not ended, since that would end the demo."""
    assert processes
    for process in processes:
        process.suspend()
    try:
        yield
    finally:
        for process in processes:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.resume()


def wait_for(demo: RunningDemo, name: str, state: str, eventually: Callable[..., bool]) -> None:
    started = time.monotonic()

    def check() -> bool:
        assert demo.process.poll() is None, demo.child.out
        time.sleep(1.0)
        answer = httpx.get(f"{demo.base_url}{MOUNT}/alerts", timeout=30, trust_env=False, verify=False).json()
        return (name, state) in [(alert["name"], alert["state"]) for alert in answer["alerts"]]

    assert eventually(check, SECONDS), (name, state)
    print(f"{name} {state} after {time.monotonic() - started:.0f} s")


def test_alerts_of_the_demo_fire_and_are_resolved(
    start_demo: Callable[..., RunningDemo], eventually: Callable[..., bool]
) -> None:
    demo = start_demo()
    assert eventually(lambda: "was killed at work" in demo.child.out, SECONDS)
    with stopped(demo.running("worker")):
        wait_for(demo, "NoWorkers", "firing", eventually)
    wait_for(demo, "NoWorkers", "resolved", eventually)
    (postgres,) = (each for each in psutil.Process(demo.process.pid).children() if each.name() == "postgres")
    # What works with the database stands still meanwhile: a worker that waits for it in vain ends, and so does the demo.
    with (
        stopped([*demo.running("worker"), *demo.running("scheduler")]),
        stopped([postgres]),
        stopped(postgres.children()),
    ):
        wait_for(demo, "database_down", "firing", eventually)
    wait_for(demo, "database_down", "resolved", eventually)
