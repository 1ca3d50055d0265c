"""A sampler over all threads of the process: processor time by stack.

A sample weighs what its thread has used of a processor since the one before, so waiting weighs nothing.
"""

from __future__ import annotations

import re
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Callable
from contextlib import suppress
from types import CodeType, FrameType

from ordinaut_ext_observability.background.clock import monotonic_seconds, thread_cpu_seconds
from ordinaut_ext_observability.background.fork import reset_in_forked_child
from ordinaut_ext_observability.background.jitter import spread

MAX_SECONDS = 60.0
"""Longest time of a profile: more is seldom worth what it costs the host."""
MAX_DEPTH = 128
"""Innermost functions of a stack that are kept: a framework's take sixty, endless recursion takes the rest."""
MAX_STACKS = 2_000
"""Different stacks that are kept, 10 MB at worst; further ones are `OTHER`."""
_MAX_NAMES = 20_000  # names of functions kept at hand, 10 MB: a host may compile new ones all the time
_PAUSE_SECONDS = 0.01  # a hundred rounds a second tell 1 % from 2 % within ten seconds
_PAUSE_FOR_WORK = 40.0  # a pause per time of the round before: with thousands of threads there are fewer rounds
_SWITCH_SECONDS = 0.0005  # with the usual 5 ms a thread is mostly seen where it waits, not where it works

Profile = dict[tuple[str, ...], float]
"""Processor time in seconds by stack, the outermost function first, each as `function_id` names it."""
IDLE, OTHER = ("[idle]\0\0" + "0",), ("[other stacks]\0\0" + "0",)
"""Stacks that stand for loops and threads that look for work, and for what was more than `MAX_STACKS`."""
_WAITS = re.compile(  # the second is that of uvloop, whose own functions are not seen
    r"select\0.*selectors\.py\0|\.run\0.*runners\.py\0|(wait|join)\0.*threading\.py\0|_worker\0.*thread\.py\0"
)


class SamplerBusyError(Exception):
    """Another profile of this process is being made."""


class Sampler:
    """The sampler of the process: it changes how threads take turns, so it makes one profile at a time."""

    _usual_interval: float | None = None

    def __init__(self) -> None:
        self.reset_after_fork()
        reset_in_forked_child(self)

    def reset_after_fork(self) -> None:
        """End the parent's profile."""
        if self._usual_interval is not None:
            sys.setswitchinterval(self._usual_interval)
        self._turn, self._usual_interval = threading.Lock(), None

    def profile(self, seconds: float, is_over: Callable[[], bool]) -> Profile:
        """Sample all threads but this one for so long, or until `is_over`.

        Raises SamplerBusyError, or OSError where the system tells no processor time of threads: all but Linux.
        """
        _cpu_seconds(threading.get_native_id())
        if not self._turn.acquire(blocking=False):
            raise SamplerBusyError
        self._usual_interval = usual = sys.getswitchinterval()
        try:
            sys.setswitchinterval(_SWITCH_SECONDS)
            samples, ends_at = _Samples(), monotonic_seconds() + seconds
            while (left := ends_at - monotonic_seconds()) > 0 and not is_over():
                before = thread_cpu_seconds()
                samples.take()
                pause = max(_PAUSE_SECONDS, _PAUSE_FOR_WORK * (thread_cpu_seconds() - before))
                time.sleep(min(spread(pause), left))
            return samples.seconds
        finally:
            sys.setswitchinterval(usual)
            self._usual_interval = None
            self._turn.release()


SAMPLER = Sampler()


class _Samples:
    """The samples of one profile."""

    def __init__(self) -> None:
        self.seconds: Profile = defaultdict(float)
        self._names: dict[int, tuple[CodeType, str]] = {}  # by id, since the hash of code takes long
        self._used: dict[int, float] | None = None

    def take(self) -> None:
        """Look at every thread but this one; the first time only at their clocks."""
        frames, used = sys._current_frames(), dict[int, float]()  # noqa: SLF001 - there is no public name
        for thread in threading.enumerate():
            frame, native_id = frames.get(thread.ident or 0), thread.native_id or 0
            with suppress(OSError):  # it has just ended
                if frame is not None and thread.ident != threading.get_ident():
                    used[native_id] = _cpu_seconds(native_id)
                    spent = used[native_id] - self._used.get(native_id, 0.0) if self._used is not None else 0.0
                    if spent > 0:
                        self._add(frame, spent)
        self._used = used

    def _add(self, frame: FrameType | None, seconds: float) -> None:
        names: list[str] = []
        while frame is not None and len(names) < MAX_DEPTH:
            code = frame.f_code
            if id(code) not in self._names:
                self._names[id(code)] = code, function_id(code)
            names.append(self._names[id(code)][1])
            frame = frame.f_back
        stack = IDLE if _WAITS.search(names[0]) else tuple(reversed(names))
        self.seconds[stack if stack in self.seconds or len(self.seconds) < MAX_STACKS else OTHER] += seconds
        if len(self._names) > _MAX_NAMES:
            self._names.clear()


def function_id(code: CodeType) -> str:
    """Name, file and line of a function as pyinstrument joins them; nothing in it ends a line, an entry or a script."""
    name, path = (re.sub(r"[\x00-\x1f;]|<(?=/|!)", "_", text) for text in (code.co_qualname, code.co_filename))
    return f"{name}\0{path}\0{code.co_firstlineno}"


def _cpu_seconds(native_id: int) -> float:
    """The time of a thread's clock, whose id Linux makes of the thread's own; OSError if there is none.

    `time.pthread_getcpuclockid` reads the memory of the thread: where that has ended, it ends the process.
    """
    return time.clock_gettime(~native_id << 3 | 6)
