"""`profile_execution`: while decorated functions are called, what the process does becomes files."""

from __future__ import annotations

import functools
import logging
import os
import secrets
import threading
from contextlib import nullcontext, suppress
from pathlib import Path

from ordinaut_ext_observability.background.clock import monotonic_seconds, wall_seconds
from ordinaut_ext_observability.logs.events import timestamp
from ordinaut_ext_observability.metrics.execution import FunctionT, within
from ordinaut_ext_observability.profiling.report import collapsed
from ordinaut_ext_observability.profiling.sampler import SAMPLER
from ordinaut_ext_observability.settings.load import load_settings

SESSION_SECONDS = 10.0  # of a profile, and of the pause after it, in which operators may ask for theirs
MAX_FILES, MAX_FILE_BYTES = 50, 1024 * 1024  # files of all processes; a longer one lacks its lightest stacks


def profile_execution(function: FunctionT) -> FunctionT:
    """Decorator: with `ENABLE_PROFILING=true`, calls have all threads sampled for ten seconds, into a file.

    Calls within that time share the profile; files are in `ORDINAUT_OBS_PROFILE_DIR`. Where either is unset when the
    function is decorated, and for a generator or what is no function, the result is what was given.
    """
    with suppress(TypeError):
        if (sessions := _sessions()).directory is not None:
            return within("profile_execution", function, lambda *_: sessions.join())
    return function


class _Sessions:
    """The profiles that calls start, one at a time; without a directory there are none."""

    def __init__(self) -> None:
        settings = load_settings()
        is_wanted = settings.profiling.enabled and not settings.general.disabled
        self.directory = settings.profiling.directory if is_wanted else None
        self._next_at = 0.0

    def join(self) -> nullcontext[None]:
        """Start a profile, if it is time for one."""
        if (now := monotonic_seconds()) >= self._next_at:
            self._next_at = now + 2 * SESSION_SECONDS
            with suppress(RuntimeError):  # no thread is left; one is no daemon, so it writes before the program ends
                threading.Thread(target=self._profile, name="observability-profile").start()
        return nullcontext()

    def _profile(self) -> None:
        directory = Path(self.directory or "")
        name = f"profile-{timestamp(wall_seconds()).replace(':', '')}-{os.getpid()}-{secrets.token_hex(8)}.txt"
        try:
            profile = SAMPLER.profile(SESSION_SECONDS, lambda: not threading.main_thread().is_alive())
            if text := collapsed(profile or {}).encode(errors="replace"):
                with open(directory / name, "xb", opener=lambda path, flags: os.open(path, flags, 0o600)) as file:
                    file.write(text[: text.rfind(b"\n", 0, MAX_FILE_BYTES) + 1])
                for old in sorted(directory.glob("profile-*-*-*.txt"))[:-MAX_FILES]:
                    old.unlink(missing_ok=True)
        except Exception as error:  # noqa: BLE001 - the host goes on
            logging.getLogger("orchestrator.observability").warning("no profile in %s: %s", directory, error)


_sessions = functools.cache(_Sessions)
