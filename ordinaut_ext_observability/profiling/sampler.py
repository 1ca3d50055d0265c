"""A sampler over all threads: a sample weighs what its thread has used of a processor, so waiting weighs nothing."""

from __future__ import annotations

import re
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from types import FrameType

from ordinaut_ext_observability.background.clock import monotonic_seconds, thread_cpu_seconds
from ordinaut_ext_observability.background.fork import reset_in_forked_child

MAX_SECONDS = 60.0  # longest time of a profile: more is seldom worth what it costs the host
MAX_DEPTH = 128  # innermost functions of a stack: a framework's take sixty, endless recursion takes the rest
MAX_STACKS = 1_000  # different stacks that are kept, 20 MB at worst
_PAUSE_SECONDS = 0.02  # 50 rounds a second tell 1 % from 2 % within ten seconds; 100 cost 4 % of a busy machine
_PAUSE_FOR_WORK = 40.0  # times as long as the round before: with thousands of threads there are fewer rounds
_SWITCH_SECONDS = 0.0005  # with the usual 5 ms a thread is mostly seen where it waits, not where it works

Profile = dict[tuple[str, ...], float]
"""Processor seconds by stack, the outermost function first: name, file and line as pyinstrument joins them."""
IDLE, OTHER = ("[idle]\x00\x000",), ("[other stacks]\x00\x000",)
"""Stacks for threads between two pieces of work (with uvloop they are in Runner.run), and beyond `MAX_STACKS`."""
_WAITS = re.compile(
    r"(select\0.*/selectors|Runner\.run\0.*/runners|(wait|join)\0.*/threading|_worker\0.*/thread)\.py\0"
)


class Sampler:
    """The sampler of the process: it changes how threads take turns, so it makes one profile at a time."""

    def __init__(self) -> None:
        self._turn, self._usual_interval = threading.Lock(), sys.getswitchinterval()
        reset_in_forked_child(self)

    def reset_after_fork(self) -> None:
        """End the parent's profile."""
        if self._turn.locked():
            sys.setswitchinterval(self._usual_interval)
        self._turn = threading.Lock()

    def profile(self, seconds: float, is_over: Callable[[], bool]) -> Profile | None:
        """Sample all threads but this one for so long, or until `is_over`; None where another profile is being made.

        Raises OSError where the system tells no processor time of threads: all but Linux.
        """
        _cpu_seconds(threading.get_native_id())
        if not self._turn.acquire(blocking=False):
            return None
        self._usual_interval = sys.getswitchinterval()
        try:
            sys.setswitchinterval(_SWITCH_SECONDS)
            profile, used, ends_at = Profile(), _look({}, {}), monotonic_seconds() + seconds
            while (left := ends_at - monotonic_seconds()) > 0 and not is_over():
                before = thread_cpu_seconds()
                used = _look(profile, used)
                pause = max(_PAUSE_SECONDS, _PAUSE_FOR_WORK * (thread_cpu_seconds() - before))
                time.sleep(min(pause, left))
        finally:
            sys.setswitchinterval(self._usual_interval)
            self._turn.release()
        return profile


SAMPLER = Sampler()


def _look(profile: Profile, before: dict[int, float]) -> dict[int, float]:
    """Add to the profile what each other thread has used since `before`. Returns what each has used in all."""
    frames, used = sys._current_frames(), dict[int, float]()  # noqa: SLF001 - there is no public name
    for thread in threading.enumerate():
        frame, native_id = frames.get(thread.ident or 0), thread.native_id or 0
        if frame is not None and thread is not threading.current_thread():
            with suppress(OSError):  # it has just ended
                used[native_id] = _cpu_seconds(native_id)
                if (spent := used[native_id] - before.get(native_id, 0.0)) > 0:
                    stack = kept if (kept := _stack(frame)) in profile or len(profile) < MAX_STACKS else OTHER
                    profile[stack] = profile.get(stack, 0.0) + spent
    return used


def _stack(frame: FrameType | None) -> tuple[str, ...]:
    names: list[str] = []
    while frame is not None and len(names) < MAX_DEPTH:
        code, frame = frame.f_code, frame.f_back
        names.append(f"{code.co_qualname}\0{code.co_filename}\0{code.co_firstlineno}")
    return IDLE if _WAITS.search(names[0]) else tuple(reversed(names))


def _cpu_seconds(native_id: int) -> float:
    """Read a thread's clock, or raise OSError; `pthread_getcpuclockid` would read the memory of one that is gone."""
    return time.clock_gettime(~native_id << 3 | 6)  # as Linux's MAKE_THREAD_CPUCLOCK
