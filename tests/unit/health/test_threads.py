"""Threads for functions that may never return."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import Any

import pytest

from ordinaut_ext_observability.health.threads import DaemonThreads, NoThreadError


def result_of(function: Callable[[], Any]) -> Any:
    async def main() -> Any:
        return await DaemonThreads().run(function)

    return asyncio.run(main())


def test_result_is_the_functions() -> None:
    assert result_of(lambda: {"a": 1}) == {"a": 1}


def test_runs_in_a_daemon_thread_of_its_own() -> None:
    thread = result_of(threading.current_thread)
    assert thread is not threading.current_thread()
    assert thread.daemon


def test_error_is_the_functions() -> None:
    with pytest.raises(ZeroDivisionError):
        result_of(lambda: 1 / 0)


@pytest.mark.parametrize("kind", [StopIteration, SystemExit, KeyboardInterrupt])
def test_what_would_end_the_loop_is_an_error_like_another(kind: type[BaseException]) -> None:
    def end() -> None:
        raise kind(3)

    with pytest.raises(RuntimeError, match=f"it raised {kind.__name__}"):
        result_of(end)


def test_a_cancelled_error_of_the_function_reaches_who_waits() -> None:
    def cancel() -> None:
        raise asyncio.CancelledError

    with pytest.raises(asyncio.CancelledError):
        result_of(cancel)


def test_functions_run_at_the_same_time() -> None:
    barrier = threading.Barrier(3, timeout=10)

    async def main() -> list[int]:
        threads = DaemonThreads()
        return await asyncio.gather(*(threads.run(barrier.wait) for _ in range(3)))

    assert sorted(asyncio.run(main())) == [0, 1, 2]


def test_no_more_run_than_allowed(released: threading.Event) -> None:
    async def main() -> None:
        threads = DaemonThreads(max_threads=2)
        hanging = [threads.run(released.wait) for _ in range(2)]
        with pytest.raises(NoThreadError, match="no thread is free"):
            threads.run(released.wait)
        released.set()
        await asyncio.gather(*hanging)
        assert await threads.run(lambda: "again") == "again"

    asyncio.run(main())


@pytest.mark.parametrize("kind", [ValueError, SystemExit])
def test_a_function_that_raises_gives_its_thread_back(kind: type[BaseException]) -> None:
    def fail() -> None:
        raise kind

    async def main() -> None:
        threads = DaemonThreads(max_threads=1)
        for _ in range(3):
            with pytest.raises((ValueError, RuntimeError), match=r"^$|it raised"):
                await threads.run(fail)

    asyncio.run(main())


def test_a_cancelled_future_leaves_the_thread_to_itself(released: threading.Event) -> None:
    ended = threading.Event()

    def work() -> None:
        released.wait()
        ended.set()

    async def main() -> None:
        future = DaemonThreads().run(work)
        future.cancel()
        with pytest.raises(asyncio.CancelledError):
            await future
        assert not ended.is_set()
        released.set()
        await asyncio.to_thread(ended.wait, 10)

    asyncio.run(main())
    assert ended.is_set()


def test_a_loop_that_is_gone_is_told_nothing(released: threading.Event) -> None:
    """An error in the thread would fail the test: pytest watches threads."""
    threads_before = set(threading.enumerate())

    async def main() -> None:
        DaemonThreads().run(released.wait)

    asyncio.run(main())
    (thread,) = set(threading.enumerate()) - threads_before
    released.set()
    thread.join(10)
    assert not thread.is_alive()


def test_needs_a_running_loop() -> None:
    with pytest.raises(RuntimeError, match="no running event loop"):
        DaemonThreads().run(print)


def test_a_hanging_function_does_not_keep_the_process(run_code: Callable[..., Any]) -> None:
    child = run_code(
        """
import asyncio, threading
from ordinaut_ext_observability.health.threads import DaemonThreads

async def main():
    for _ in range(3):
        DaemonThreads().run(threading.Event().wait)
    print("ends")

asyncio.run(main())
"""
    )
    assert (child.process.returncode, child.out, child.err) == (0, "ends\n", "")
