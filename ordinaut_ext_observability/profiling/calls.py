"""Profiles of decorated functions: calls at the same time share one session of the sampler, which ends in a file."""

from __future__ import annotations

import inspect
import os
import secrets
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

from ordinaut_ext_observability.audit.chain import make_private, open_private
from ordinaut_ext_observability.background.clock import monotonic_seconds, wall_seconds
from ordinaut_ext_observability.background.daemon_threads import join_until
from ordinaut_ext_observability.background.fork import reset_in_forked_child
from ordinaut_ext_observability.logs.event_types import PROFILE_NOT_WRITTEN, LogEvent
from ordinaut_ext_observability.logs.events import timestamp
from ordinaut_ext_observability.metrics.declarations import Metrics
from ordinaut_ext_observability.metrics.wrapping import FunctionT, within
from ordinaut_ext_observability.profiling.report import collapsed
from ordinaut_ext_observability.profiling.sampler import SAMPLER, Profile, SamplerBusyError, function_id

SESSION_SECONDS = 10.0
"""Time of a session, and of the pause after it, in which operators may ask for a profile."""
MAX_FILES = 50
"""Files that are kept, of all processes; the oldest are deleted."""
MAX_FILE_BYTES = 1024 * 1024
"""Size of a file, without the lightest stacks."""


class ProfiledCalls:
    """The calls of decorated functions in one process. Any thread may call."""

    def __init__(self, directory: str | None, metrics: Metrics, event: LogEvent) -> None:
        """Nothing is started; without a directory calls are only timed."""
        self._directory = directory
        self._metrics = metrics
        self._event = event
        self._functions: set[str] = set()
        self.reset_after_fork()
        reset_in_forked_child(self)

    def reset_after_fork(self) -> None:
        """Begin anew: the thread is the parent's."""
        self._lock, self._stop = threading.Lock(), threading.Event()
        self._thread: threading.Thread | None = None

    @contextmanager
    def call(self, name: str, function: str) -> Iterator[None]:
        """Time a block that is a call of the function with this id, in a session."""
        started = monotonic_seconds()
        self._functions.add(function)
        if self._directory is not None and self._thread is None:
            self._begin_session()
        try:
            yield
        finally:
            self._metrics.profiled_seconds.labels(name).observe(monotonic_seconds() - started)

    def stop(self, ends_at: float) -> None:
        """End the session and write its file, until then on `monotonic_seconds`. Safe without a session."""
        self._stop.set()
        if (thread := self._thread) is not None:
            join_until(thread, ends_at)

    def _begin_session(self) -> None:
        with self._lock:
            if self._thread is None:
                self._stop = threading.Event()
                thread = threading.Thread(target=self._profile, name="observability-profile", daemon=True)
                try:
                    thread.start()
                    self._thread = thread
                except RuntimeError:  # there are no more threads
                    self._metrics.count_internal_error("profiling")

    def _profile(self) -> None:
        begun = wall_seconds()
        try:
            make_private(directory := Path(self._directory or ""))
            _write(directory, begun, self._part_of(SAMPLER.profile(SESSION_SECONDS, self._stop.is_set)))
        except SamplerBusyError:
            pass
        except Exception as error:  # noqa: BLE001 - the host goes on
            self._event(PROFILE_NOT_WRITTEN, reason=type(error).__name__)
        self._stop.wait(SESSION_SECONDS)
        self._thread = None

    def _part_of(self, profile: Profile) -> Profile:
        """The part of the functions, which are the outermost."""
        part: Profile = {}
        for stack, seconds in profile.items():
            start = next((index for index, function in enumerate(stack) if function in self._functions), None)
            if start is not None:
                part[stack[start:]] = part.get(stack[start:], 0.0) + seconds
        return part


def _write(directory: Path, begun: float, profile: Profile) -> None:
    """Write what the functions took, if anything, and delete the oldest files."""
    text = collapsed(profile).encode(errors="replace")
    text = text[: text.rfind(b"\n", 0, MAX_FILE_BYTES) + 1]
    if text:
        name = f"profile-{timestamp(begun).replace(':', '')}-{os.getpid()}-{secrets.token_hex(8)}.txt"
        with open(directory / name, "xb", opener=open_private) as file:
            file.write(text)
        for old in sorted(directory.glob("profile-*-*-*.txt"))[:-MAX_FILES]:
            old.unlink(missing_ok=True)


def profiled(function: FunctionT, calls: Callable[[], ProfiledCalls | None]) -> FunctionT:
    """The function, each call of it known to what `calls` gives; itself where it is no function, or a generator."""
    code = getattr(inspect.unwrap(function), "__code__", None)
    if code is None or inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
        return function
    name, place = f"{function.__module__}.{function.__qualname__}", function_id(code)
    return within(
        "profile_execution", function, lambda *_: known.call(name, place) if (known := calls()) else nullcontext()
    )
