"""Where the servers' programs are run from."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from ordinaut_ext_observability.demo import programs
from ordinaut_ext_observability.demo.programs import MissingServerError, unprivileged, within_reach


@pytest.fixture
def private_program(tmp_path: Path) -> Path:
    """A wheel's program, in a folder that only its owner enters."""
    site = tmp_path / "private"
    for folder in (site / "a_wheel" / "bin", site / "a_wheel.libs"):
        folder.mkdir(parents=True)
    (site / "a_wheel" / "__init__.py").touch()
    (site / "a_wheel.libs" / "libneeded.so").touch()
    program = site / "a_wheel" / "bin" / "server"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    site.chmod(0o700)
    return program


@pytest.mark.skipif(os.geteuid() != 0, reason="only root runs servers as somebody else")
def test_wheel_that_only_root_reaches_is_copied(private_program: Path, tmp_path: Path) -> None:
    copy = within_reach(private_program, tmp_path)
    assert copy == tmp_path / "wheel" / "a_wheel" / "bin" / "server"
    assert copy.stat().st_uid == unprivileged()["user"]
    assert copy.stat().st_mode & 0o111
    assert (tmp_path / "wheel" / "a_wheel.libs" / "libneeded.so").exists()


def test_user_runs_its_own_programs_where_they_are(
    private_program: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert unprivileged() == {}
    assert within_reach(private_program, tmp_path) == private_program


def test_missing_wheel_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(programs.importlib.util, "find_spec", lambda _: None)
    for find in (programs.postgres_program, programs.redis_program):
        with pytest.raises(MissingServerError, match=r"pip install 'ordinaut-ext-observability\[demo\]'"):
            find()
