"""How long the demo's processes live: until they are told to end, or until the demo is gone."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import Callable, Coroutine

_POLL_SECONDS = 1.0


def run_until_told(main: Callable[[], Coroutine[None, None, None]]) -> None:
    """Run a coroutine until SIGTERM, or until the process that started this one has ended."""
    with contextlib.suppress(asyncio.CancelledError):
        asyncio.run(_run(main))


async def _run(main: Callable[[], Coroutine[None, None, None]]) -> None:
    parent = os.getppid()
    task = asyncio.create_task(main())
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    watch = asyncio.create_task(_cancel_without(parent, task))
    try:
        await task
    finally:
        watch.cancel()


async def _cancel_without(parent: int, task: asyncio.Task[None]) -> None:
    while os.getppid() == parent:  # noqa: ASYNC110 - nothing tells
        await asyncio.sleep(_POLL_SECONDS)
    task.cancel()
