"""What the demo's keeper does when its input ends."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from ordinaut_ext_observability.demo import keeper

STUBBORN = (
    "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('ready', flush=True); time.sleep(60)"
)
MEEK = "import time; print('ready', flush=True); time.sleep(60)"


@pytest.fixture(params=[MEEK, STUBBORN], ids=["meek", "stubborn"])
def process(request: pytest.FixtureRequest) -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen([sys.executable, "-c", request.param], stdout=subprocess.PIPE) as started:
        assert started.stdout is not None
        started.stdout.readline()
        yield started
        started.kill()


def test_processes_are_ended_and_folders_deleted(
    process: subprocess.Popen[bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keeper, "_PATIENCE_SECONDS", 0.2)
    folder = tmp_path / "a folder"
    (folder / "data").mkdir(parents=True)
    keeper.keep([f"folder {folder}\n", f"pid {process.pid}\n", "folder /nowhere/at/all\n"])
    process.wait(5)
    assert not psutil.pid_exists(process.pid)
    assert not folder.exists()


def test_process_that_has_ended_is_nobodys_business() -> None:
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        process.wait()
    keeper.keep([f"pid {process.pid}\n"])
