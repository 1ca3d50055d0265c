"""The demo's own processes: started with their output in files, watched, and ended with everything else."""

from __future__ import annotations

import os
import shutil
import signal
import site
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from ordinaut_ext_observability.background.clock import monotonic_seconds
from ordinaut_ext_observability.demo.servers import stop_process

_PATIENCE_SECONDS = 5.0
_LARGEST_LOG_BYTES = 20_000_000
_PACKAGE = __name__.rpartition(".")[0]
_TOP = str(Path(__file__).resolve().parents[3])

_LOG_LINES = 12
_KEPT = (
    "PATH",
    "LANG",
    "LC_ALL",
    "LC_CTYPE",
    "TZ",
    "TMPDIR",
    "LD_LIBRARY_PATH",
    "PYTHONHOME",
    "PYTHONDONTWRITEBYTECODE",
)
"""The variables a process needs. Anything else may be a setting of ours, of the host or of a client library."""


class Processes:
    """Everything that was started, and a keeper that ends it when this process cannot."""

    def __init__(self) -> None:
        self.log_folder = Path(tempfile.mkdtemp(prefix="ordinaut-demo-"))
        self._keeper = subprocess.Popen(
            _command("keeper"),
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env=_clean_environment(home=self.log_folder),
            start_new_session=True,
        )
        self._watched: dict[str, subprocess.Popen[bytes]] = {}
        self._own: list[subprocess.Popen[bytes]] = []
        self.note_folder(self.log_folder)

    def note_folder(self, folder: Path) -> None:
        """Have this folder deleted when the demo dies."""
        self._tell(f"folder {folder}")

    def note_server(self, name: str, process: subprocess.Popen[bytes] | None) -> None:
        """Watch a server, and have it ended when the demo dies."""
        if process is not None:
            self._watched[name] = process
            self._tell(f"pid {process.pid}")

    def start(
        self,
        name: str,
        module: str,
        *arguments: str,
        environ: Mapping[str, str],
        pass_fds: Sequence[int] = (),
    ) -> subprocess.Popen[bytes]:
        """Run a module of the demo. Signals of the terminal do not reach it: they are for us."""
        with (self.log_folder / f"{name}.log").open("ab") as log:
            process = subprocess.Popen(
                [*_command(module), *arguments],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={**_clean_environment(home=self.log_folder), **environ},
                pass_fds=pass_fds,
                start_new_session=True,
            )
        self._own.append(process)
        self._watched[name] = process
        self._tell(f"pid {process.pid}")
        return process

    def forget(self, name: str) -> None:
        """It may end."""
        self._watched.pop(name, None)

    def ended(self) -> str | None:
        """The name of one that has ended and should not have; None when all is well."""
        return next((name for name, process in self._watched.items() if process.poll() is not None), None)

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

    def stop(self) -> None:
        """End our own processes, all at once; servers are their owners' business."""
        for process in self._own:
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
                process.send_signal(signal.SIGCONT)
        deadline = monotonic_seconds() + _PATIENCE_SECONDS
        while any(process.poll() is None for process in self._own) and monotonic_seconds() < deadline:
            time.sleep(0.02)
        for process in self._own:
            stop_process(process, signal.SIGKILL)

    def close(self) -> None:
        """End the keeper, when everything else has ended."""
        shutil.rmtree(self.log_folder, ignore_errors=True)
        if self._keeper.stdin is not None:
            self._keeper.stdin.close()
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
    kept = {name: os.environ[name] for name in _KEPT if name in os.environ}
    python_path = os.environ.get("PYTHONPATH", "")
    if _TOP in python_path.split(os.pathsep):  # this package is found by it
        kept["PYTHONPATH"] = python_path
    return {**kept, "HOME": str(home), "PYTHONUSERBASE": site.getuserbase()}
