"""Profiles as text, page and JSON: code locations and times, no values."""

from __future__ import annotations

import sys
from pathlib import PurePath
from typing import Literal

from ordinaut_ext_observability.background.fork import forks_held_off
from ordinaut_ext_observability.profiling.sampler import IDLE, Profile

Form = Literal["html", "speedscope", "text", "collapsed"]
_ROOT = "all threads\0\0" + "0"


def collapsed(profile: Profile) -> str:
    """A line for each stack, the heaviest first, and its microseconds: `run (app.py:3);load (db.py:70) 120000`.

    The format of `flamegraph.pl`; speedscope reads it, too.
    """
    stacks = sorted(profile.items(), key=lambda item: -item[1])
    return "".join(f"{';'.join(map(_name, stack))} {round(seconds * 1e6)}\n" for stack, seconds in stacks)


def _name(function: str) -> str:
    name, path, line = function.split("\0")
    return f"{name} ({PurePath(path).name}:{line})" if path else name


def render(profile: Profile, form: Form, begun: float, duration: float) -> str:
    """The profile in this form; `begun` in seconds since 1970. Raises ImportError without pyinstrument."""
    if form == "collapsed":
        return collapsed(profile)
    with forks_held_off():
        from pyinstrument.renderers import ConsoleRenderer, HTMLRenderer, SpeedscopeRenderer
        from pyinstrument.session import Session
    session = Session(
        frame_records=[([_ROOT, *stack], seconds) for stack, seconds in sorted(profile.items())],
        start_time=begun,
        duration=duration,
        min_interval=0.01,
        max_interval=0.01,
        sample_count=len(profile),
        start_call_stack=[_ROOT],
        target_description="Processor time of all threads",
        cpu_time=sum(profile.values()) - profile.get(IDLE, 0.0),
        sys_path=sys.path,
        sys_prefixes=Session.current_sys_prefixes(),
    )
    renderers = {"html": HTMLRenderer, "speedscope": SpeedscopeRenderer, "text": ConsoleRenderer}
    return str(renderers[form]().render(session))
