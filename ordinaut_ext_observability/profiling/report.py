"""Profiles as text, page and JSON: code locations and times, no values."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Literal

from ordinaut_ext_observability.background.clock import wall_seconds
from ordinaut_ext_observability.background.fork import forks_held_off
from ordinaut_ext_observability.profiling.sampler import IDLE, Profile

Form = Literal["html", "speedscope", "text", "collapsed"]


def collapsed(profile: Profile) -> str:
    """A line for each stack with its microseconds, for flame graphs: `run (app.py:3);load (db.py:70) 120`."""
    stacks = sorted(profile.items(), key=lambda item: -item[1])
    text = "".join(f"{';'.join(map(_plain, stack))} {round(seconds * 1e6)}\n" for stack, seconds in stacks)
    return re.sub(r" \(:0\)", "", re.sub(r"\0(?:[^\0]*/)?([^\0]*)\0([0-9]+)", r" (\1:\2)", text))


def renderer(form: Form) -> Callable[[Profile, float], str]:
    """A function that gives a profile of so many seconds in this form. Raises ImportError without pyinstrument."""
    if form == "collapsed":
        return lambda profile, _: collapsed(profile)
    with forks_held_off():
        from pyinstrument.renderers import ConsoleRenderer, HTMLRenderer, SpeedscopeRenderer
        from pyinstrument.session import Session

    def render(profile: Profile, seconds: float) -> str:
        root = "all threads\x00\x000"  # which all records must have
        session = {
            "frame_records": [([root, *map(_plain, stack)], spent) for stack, spent in sorted(profile.items())],
            "start_time": wall_seconds() - seconds,
            "duration": seconds,
            "sample_count": len(profile),
            "start_call_stack": [root],
            "target_description": "Processor time of all threads",
            "cpu_time": sum(profile.values()) - profile.get(IDLE, 0.0),
        }
        return str(renderers[form]().render(Session.from_json(session)))

    renderers = {"html": HTMLRenderer, "speedscope": SpeedscopeRenderer, "text": ConsoleRenderer}
    return render


def _plain(function: str) -> str:
    """Text that ends no line, entry or script, whatever name the code was compiled under."""
    return re.sub(r"[\x01-\x1f;]|<(?=/|!)", "_", function)
