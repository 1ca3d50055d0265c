"""The sampler where it is hard: forks, errors, thousands of threads, endless recursion, hostile names."""

from __future__ import annotations

import itertools
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from ordinaut_ext_observability.profiling import sampler
from ordinaut_ext_observability.profiling.report import Form, collapsed, renderer
from ordinaut_ext_observability.profiling.sampler import IDLE, MAX_DEPTH, OTHER, SAMPLER

USUAL = sys.getswitchinterval()


def rounds(number: int) -> Callable[[], bool]:
    counter = itertools.count()
    return lambda: next(counter) >= number


@contextmanager
def working(function: Callable[[], Any]) -> Iterator[None]:
    over = threading.Event()

    def work() -> None:
        while not over.is_set():
            function()

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def burn() -> None:
    sum(range(1000))


def descend(depth: int = 500) -> None:
    descend(depth - 1) if depth else [burn() for _ in range(100)]


def test_switch_interval_is_as_before_after_an_error() -> None:
    def fail() -> bool:
        assert sys.getswitchinterval() < USUAL
        raise LookupError

    with pytest.raises(LookupError):
        SAMPLER.profile(60.0, fail)
    assert sys.getswitchinterval() == USUAL
    assert SAMPLER.profile(0.05, rounds(2)) is not None


def test_child_forked_during_a_profile_has_the_usual_interval_and_can_make_its_own() -> None:
    def fork() -> bool:
        child = os.fork()
        if not child:
            usual, profile = sys.getswitchinterval() == USUAL, SAMPLER.profile(0.01, lambda: False)
            os._exit(0 if usual and profile is not None else 1)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        return True

    with (
        pytest.warns(DeprecationWarning) if sys.version_info >= (3, 12) and threading.active_count() > 1 else _nothing()
    ):
        assert SAMPLER.profile(60.0, fork) is not None


@contextmanager
def _nothing() -> Iterator[None]:
    yield


def test_idle_threads_weigh_nothing_and_hundreds_cost_rounds_not_the_host() -> None:
    over = threading.Event()
    threads = [threading.Thread(target=over.wait) for _ in range(200)]
    for thread in threads:
        thread.start()
    try:
        with working(burn):
            for _ in range(5):  # on a busy machine the thread that burns may get no turn within half a second
                before = time.process_time(), time.thread_time()
                profile = SAMPLER.profile(0.5, lambda: False)
                process, own = time.process_time() - before[0], time.thread_time() - before[1]
                if own < 0.2 * process:
                    break
    finally:
        over.set()
        for thread in threads:  # they would keep the interpreter's lock busy in the tests that follow
            thread.join()
    assert profile and own < 0.2 * process
    busy = sum(seconds for stack, seconds in profile.items() if "burn\0" in "".join(stack) or "work\0" in stack[-1])
    assert busy > 0.9 * sum(profile.values())


@pytest.mark.parametrize("form", ["html", "speedscope", "text", "collapsed"])
def test_endless_recursion_is_cut_and_rendered(form: Form) -> None:
    with working(descend):
        profile = SAMPLER.profile(60.0, rounds(20))
    assert profile and max(map(len, profile)) == MAX_DEPTH
    assert "descend" in renderer(form)(profile, 1.0)
    assert renderer(form)({}, 1.0) is not None


def test_stacks_are_bounded_and_their_time_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sampler, "MAX_STACKS", 0)
    with working(burn):
        profile = SAMPLER.profile(60.0, rounds(5))
    assert profile is not None and profile.keys() == {OTHER} and profile[OTHER] > 0


def test_name_of_code_ends_no_line_no_entry_and_no_script() -> None:
    profile = {("</script>;\n\0/x/a;\nb.py\x003",): 0.5, IDLE: 0.25, ("f\0/x/a.py\x004", "g\0b.py\x0012"): 1.0}
    lines = ["f (a.py:4);g (b.py:12) 1000000", "_/script>__ (a__b.py:3) 500000", "[idle] 250000"]
    assert collapsed(profile).splitlines() == lines
    assert renderer("html")(profile, 1.0).count("</script>") == renderer("html")({}, 1.0).count("</script>")
