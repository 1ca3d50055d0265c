"""Everything the demo starts: its servers and its own processes, with their output in files."""

from __future__ import annotations

import os
import site
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from ordinaut_ext_observability.demo.servers import Server

_LARGEST_LOG_BYTES = 20_000_000
_LOG_LINES = 12
_PACKAGE = __name__.rpartition(".")[0]
_TOP = str(Path(__file__).resolve().parents[2])

_KEPT = (
    *("PATH", "LANG", "LC_ALL", "LC_CTYPE", "TZ", "TMPDIR"),
    *("LD_LIBRARY_PATH", "PYTHONHOME", "PYTHONDONTWRITEBYTECODE"),
)
"""The variables a process needs, beside OpenTelemetry's. Others may be settings of ours, of the host or of a client."""


class Processes:
    """What was started, by name, and the keeper that ends all of it, when told to or when this process is killed."""

    def __init__(self) -> None:
        self.log_folder = Path(tempfile.mkdtemp(prefix="ordinaut-demo-"))
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        self._keeper = subprocess.Popen(
            _command("keeper"),
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env=_clean_environment(home=self.log_folder),
            start_new_session=True,
        )
        self._tell(f"folder {self.log_folder}")

    def start_server(self, name: str, server: Server) -> None:
        """Start it and wait until it answers.

        Raises:
            ServerError: it does not.
        """
        self._tell(f"folder {server.folder}")
        try:
            server.start()
        finally:
            if server.process is not None:
                self._running[name] = server.process
                self._tell(f"server {server.process.pid}")

    def start(
        self, name: str, module: str, *arguments: str, environ: Mapping[str, str], pass_fds: Sequence[int] = ()
    ) -> None:
        """Run a module of the demo. Signals of the terminal do not reach it: they are for us."""
        with (self.log_folder / f"{name}.log").open("ab") as log:
            self._running[name] = subprocess.Popen(
                [*_command(module), *arguments],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={**_clean_environment(home=self.log_folder), **environ},
                pass_fds=pass_fds,
                start_new_session=True,
            )
        self._tell(f"pid {self._running[name].pid}")

    def kill(self, name: str) -> None:
        """End a process as a crash would."""
        process = self._running.pop(name)
        process.kill()
        process.wait()

    def ended(self) -> str | None:
        """The name of one that has ended; None when all is well."""
        return next((name for name, process in self._running.items() if process.poll() is not None), None)

    def log_tail(self, name: str) -> str:
        """The last lines it wrote."""
        path = self.log_folder / f"{name}.log"
        lines = path.read_text(errors="replace").splitlines() if path.exists() else []
        return "\n".join(lines[-_LOG_LINES:])

    def trim_logs(self) -> None:
        """Begin logs anew that have become large: the demo may run for days."""
        for path in self.log_folder.glob("*.log"):
            if path.stat().st_size > _LARGEST_LOG_BYTES:
                os.truncate(path, 0)

    def close(self) -> None:
        """Have the keeper end and delete everything."""
        if self._keeper.stdin is not None:
            self._keeper.stdin.close()
        for process in reversed(self._running.values()):  # in the keeper's order: servers last
            process.wait()
        self._keeper.wait()

    def _tell(self, line: str) -> None:
        if self._keeper.stdin is not None:
            self._keeper.stdin.write(f"{line}\n".encode())
            self._keeper.stdin.flush()


def _command(module: str) -> list[str]:
    """Python with a module of the demo; -P, since a `redis.py` in the current folder is not the library."""
    return [sys.executable, "-P", "-m", f"{_PACKAGE}.{module}"]


def _clean_environment(home: Path) -> dict[str, str]:
    """The caller's environment without settings; `home` holds no client's configuration either."""
    kept = {name: value for name, value in os.environ.items() if name in _KEPT or name.startswith("OTEL_")}
    python_path = os.environ.get("PYTHONPATH", "")
    if _TOP in python_path.split(os.pathsep):  # this package is found by it
        kept["PYTHONPATH"] = python_path
    return {**kept, "HOME": str(home), "PYTHONUSERBASE": site.getuserbase()}
