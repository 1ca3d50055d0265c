"""`profile_execution`: concurrent calls return what they return, and their profiles are private files."""

from __future__ import annotations

import asyncio
import functools
import logging
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

import ordinaut_ext_observability
from ordinaut_ext_observability.profiling import calls
from ordinaut_ext_observability.profiling.calls import profile_execution
from tests.conftest import eventually


@pytest.fixture
def sessions(tmp_path: Path, clean_process: pytest.MonkeyPatch) -> Iterator[calls._Sessions]:
    clean_process.setenv("ENABLE_PROFILING", "true")
    clean_process.setenv("ORDINAUT_OBS_PROFILE_DIR", str(tmp_path))
    clean_process.setattr(calls, "SESSION_SECONDS", 0.05)
    clean_process.setattr(calls, "_sessions", functools.cache(calls._Sessions))
    yield calls._sessions()
    for thread in threading.enumerate():
        if thread.name == "observability-profile":
            thread.join()


def burn(number: int) -> int:
    sum(range(20_000))
    return number


def test_two_hundred_calls_at_once_return_their_results(sessions: calls._Sessions, tmp_path: Path) -> None:
    @profile_execution
    async def in_loop(number: int) -> int:
        await asyncio.sleep(0)
        return burn(number)

    async def all_at_once() -> list[int]:
        return await asyncio.gather(*map(in_loop, range(200)))

    in_thread = profile_execution(burn)
    assert asyncio.run(all_at_once()) == list(range(200))
    with ThreadPoolExecutor(200) as pool:
        assert list(pool.map(in_thread, range(200))) == list(range(200))
    assert asyncio.iscoroutinefunction(in_loop) and in_thread is not burn

    def found() -> bool:
        sessions._next_at = 0.0
        return in_thread(1) == 1 and any("burn (test_calls.py" in each.read_text() for each in tmp_path.iterdir())

    assert eventually(found)
    (file, *_) = tmp_path.glob("profile-*-*-*.txt")
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_errors_and_generators_pass_as_they_are(sessions: calls._Sessions) -> None:
    @profile_execution
    async def fail() -> None:
        raise LookupError

    def generate() -> Iterator[int]:
        yield 1

    with pytest.raises(LookupError):
        asyncio.run(fail())
    assert profile_execution(generate) is generate
    assert profile_execution(LookupError) is LookupError


def test_oldest_files_go_and_long_ones_are_cut(
    sessions: calls._Sessions, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = tmp_path / "notes.txt"
    kept.touch()
    for number in range(60):
        (tmp_path / f"profile-2020-{number:02}-a.txt").touch()
    monkeypatch.setattr(calls, "MAX_FILE_BYTES", 60)
    monkeypatch.setattr(calls, "collapsed", lambda _: "a (b.py:1) 5\n" * 10)
    sessions._profile()
    assert len(list(tmp_path.iterdir())) == 51 and kept.exists()
    assert max(tmp_path.glob("profile-*")).read_text() == "a (b.py:1) 5\n" * 4


def test_directory_that_is_gone_is_told_and_calls_go_on(
    sessions: calls._Sessions, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(calls, "collapsed", lambda _: "a 5\n")
    tmp_path.rmdir()
    with caplog.at_level(logging.WARNING):
        sessions._profile()
    assert f"no profile in {tmp_path}: " in caplog.text


@pytest.mark.parametrize("setting", [{"ENABLE_PROFILING": "false"}, {"ORDINAUT_OBS_DISABLED": "true"}])
def test_function_is_left_as_it_is_where_profiling_is_off(
    sessions: calls._Sessions, setting: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    calls._sessions.cache_clear()
    for name, value in setting.items():
        monkeypatch.setenv(name, value)
    assert ordinaut_ext_observability.profile_execution(burn) is burn


def test_program_that_ends_at_once_leaves_what_was_seen(tmp_path: Path) -> None:
    code = """
from ordinaut_ext_observability import profile_execution
@profile_execution
def work():
    import time
    ends_at = time.thread_time() + 0.3
    while time.thread_time() < ends_at: sum(range(1000))
work()
"""
    environ = {"ENABLE_PROFILING": "true", "ORDINAUT_OBS_PROFILE_DIR": str(tmp_path), "PYTHONPATH": ":".join(sys.path)}
    subprocess.run([sys.executable, "-c", code], env=environ, check=True, timeout=60)
    (file,) = tmp_path.iterdir()
    assert "work (<string>:3)" in file.read_text()
