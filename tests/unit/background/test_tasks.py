"""Periodic tasks: when the next round is due, what a failure does, and how a thread of them ends."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from ordinaut_ext_observability.background import tasks
from ordinaut_ext_observability.background.tasks import BackgroundThread, PeriodicTask, backed_off, run_periodically


class Errors:
    """Remembers what was told."""

    def __init__(self):
        self.seen = []

    def __call__(self, name, error):
        self.seen.append((name, type(error)))


def rounds_of(results, stop):
    """Work that takes the next of these results: a pause is returned, an exception raised; the end stops it."""
    left = iter(results)

    async def work():
        try:
            result = next(left)
        except StopIteration:
            stop.set()
            return None
        if isinstance(result, Exception):
            raise result
        return result

    return work


async def run(results, **options):
    errors, stop = Errors(), asyncio.Event()
    await asyncio.wait_for(
        run_periodically(PeriodicTask("t", rounds_of(results, stop), 0.001, **options), stop, errors), 10
    )
    return errors.seen


async def slow():
    await asyncio.sleep(3600)


class TestRounds:
    def test_a_failed_round_is_told_under_the_tasks_name_and_the_next_is_due(self):
        assert asyncio.run(run([None, ValueError("no"), None])) == [("t", ValueError)]

    def test_a_round_past_its_deadline_is_cancelled_and_told(self):
        async def main():
            errors, stop = Errors(), asyncio.Event()

            def on_error(name, error):
                errors(name, error)
                stop.set()

            await run_periodically(PeriodicTask("t", slow, 1.0, deadline_seconds=0.01), stop, on_error)
            return errors.seen

        assert asyncio.run(main()) == [("t", TimeoutError)]

    def test_the_work_may_say_when_it_is_due_again(self):
        assert asyncio.run(run([0.0, 0.0])) == []

    @pytest.mark.parametrize(
        ("interval", "failures", "pause"),
        [(5, 0, 5), (5, 1, 5), (5, 2, 10), (5, 3, 20), (5, 9, 60), (5, 10**6, 60), (300, 9, 300)],
    )
    def test_the_pause_doubles_with_every_failure_up_to_a_minute_or_the_interval(self, interval, failures, pause):
        assert backed_off(interval, failures) == pause

    def test_what_the_rounds_opened_is_closed_when_they_stop_and_when_they_are_cancelled(self):
        closed = []

        async def finish():
            closed.append(1)

        async def cancelled():
            running = asyncio.create_task(
                run_periodically(PeriodicTask("t", slow, 1.0, finish=finish), asyncio.Event(), Errors())
            )
            await asyncio.sleep(0)
            running.cancel()
            await asyncio.wait([running])

        asyncio.run(run([None], finish=finish))
        asyncio.run(cancelled())
        assert len(closed) == 2


class TestThread:
    def test_it_runs_its_tasks_until_it_is_stopped(self):
        done = threading.Event()

        async def work():
            done.set()

        thread = BackgroundThread("test", lambda: [PeriodicTask("t", work, 60.0)], Errors())
        assert not thread.call_soon(done.set)
        thread.start()
        thread.start()
        assert done.wait(10)
        assert thread.started
        thread.stop()
        thread.stop()
        assert not thread.started
        assert not any(t.name == "observability-test" for t in threading.enumerate())

    def test_stopped_at_once_it_does_not_run_for_ever(self):
        thread = BackgroundThread("test", lambda: [PeriodicTask("t", slow, 60.0)], Errors())
        thread.start()
        thread.stop()
        assert not any(t.name == "observability-test" for t in threading.enumerate())

    def test_what_hangs_is_cancelled_and_closes_what_it_opened(self):
        begun, closed = threading.Event(), threading.Event()

        async def hang():
            begun.set()
            await asyncio.sleep(3600)

        async def finish():
            closed.set()

        thread = BackgroundThread("test", lambda: [PeriodicTask("t", hang, 60.0, finish=finish)], Errors())
        thread.start()
        assert begun.wait(10)
        thread.stop()
        assert closed.is_set()

    def test_each_task_that_is_cancelled_closes_what_it_opened_however_soon_another_has(self):
        begun, closed = threading.Event(), threading.Event()

        async def hang():
            begun.set()
            await asyncio.sleep(3600)

        async def finish():
            await asyncio.sleep(0.01)
            closed.set()

        made = [PeriodicTask("slow", slow, 60.0, finish=finish), PeriodicTask("t", hang, 60.0)]
        thread = BackgroundThread("test", lambda: made, Errors())
        thread.start()
        assert begun.wait(10)
        thread.stop()
        assert closed.is_set()

    def test_tasks_that_cannot_be_made_are_told(self):
        errors = Errors()

        def make():
            raise ImportError("no driver")

        thread = BackgroundThread("test", make, errors)
        thread.start()
        thread.stop()
        assert errors.seen == [("test", ImportError)]

    def test_it_can_be_called_as_soon_as_it_was_started_and_what_a_call_raises_is_told(self):
        errors, done = Errors(), threading.Event()
        thread = BackgroundThread("test", lambda: [PeriodicTask("t", slow, 60.0)], errors)
        thread.start()
        assert thread.call_soon(int, "no number")
        assert thread.call_soon(done.set)
        assert done.wait(10)
        thread.stop()
        assert not thread.call_soon(done.set)
        assert errors.seen == [("test", ValueError)]

    def test_started_again_while_the_last_thread_hangs_both_end_in_their_time(self):
        begun, go_on = threading.Semaphore(0), threading.Event()

        async def block():
            begun.release()
            assert go_on.wait(10)

        thread = BackgroundThread("test", lambda: [PeriodicTask("t", block, 0.001)], Errors())
        thread.start()
        assert begun.acquire(timeout=10)
        thread.stop()
        hanging = [t for t in threading.enumerate() if t.name == "observability-test"]
        thread.start()
        assert begun.acquire(timeout=10)
        go_on.set()
        for each in hanging:
            each.join(10)
        assert [each.is_alive() for each in hanging] == [False]
        assert begun.acquire(timeout=10)
        thread.stop()
        assert not any(t.name == "observability-test" for t in threading.enumerate())

    def test_a_forked_child_starts_its_own(self):
        ran = threading.Event()

        async def work():
            ran.set()

        thread = BackgroundThread("test", lambda: [PeriodicTask("t", work, 60.0)], Errors())
        thread.start()
        assert ran.wait(10)
        child = os.fork()
        if child == 0:
            ran.clear()
            started = thread.started
            thread.start()
            os._exit(0 if not started and ran.wait(10) else 1)
        _, status = os.waitpid(child, 0)
        thread.stop()
        assert os.waitstatus_to_exitcode(status) == 0

    def test_a_stop_leaves_alone_what_the_loop_does_to_end(self):
        """What asyncio itself awaits while a loop ends is none of our rounds: cancelled, it would fail the thread."""
        seen = []

        async def main():
            own = asyncio.create_task(asyncio.sleep(0.05))
            tasks._cancel_rounds()
            await own
            seen.append(own.cancelled())

        asyncio.run(main())
        assert seen == [False]


def test_work_waits_for_a_first_import_of_opentelemetry_in_another_thread(tmp_path: Path) -> None:
    """A module that is still imported is in `sys.modules`, without what it will have."""
    package = tmp_path / "opentelemetry"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "context.py").write_text(
        "import time\ntime.sleep(0.5)\n_SUPPRESS_INSTRUMENTATION_KEY = 'key'\nattach = lambda context: None\n"
        "set_value = lambda key, value: None\n"
    )
    program = (
        "import sys, threading, time\n"
        "from ordinaut_ext_observability.background.tasks import leave_untraced\n"
        f"sys.path.insert(0, {str(tmp_path)!r})\n"
        "threading.Thread(target=__import__, args=('opentelemetry.context',)).start()\n"
        "while 'opentelemetry.context' not in sys.modules: time.sleep(0.001)\n"
        "assert not hasattr(sys.modules['opentelemetry.context'], 'attach')\n"
        "leave_untraced()\n"
    )
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=30, check=False)
    assert ran.returncode == 0, ran.stderr
