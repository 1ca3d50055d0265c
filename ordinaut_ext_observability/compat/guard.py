"""Keeping what goes wrong in us from the host's code that called us, and timing that code."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any, TypeVar, cast

if TYPE_CHECKING:
    from ordinaut_ext_observability.runtime.process import Runtime

CallT = TypeVar("CallT", bound=Callable[..., Any])


def runtime() -> Runtime:
    """The process's runtime, imported with the first call that needs it."""
    from ordinaut_ext_observability.runtime.current import current_runtime

    return current_runtime()


def never_raises(call: CallT) -> CallT:
    """The call; where it fails, the failure is counted and None returned."""

    @functools.wraps(call)
    def guarded(*args: Any, **kwargs: Any) -> Any:
        try:
            return call(*args, **kwargs)
        except Exception:  # noqa: BLE001 - some calls stand where a failure means that work is not leased
            with suppress(Exception):  # there is nothing left to count it with
                runtime().metrics.count_internal_error("facade")
            return None

    return cast("CallT", guarded)


class TimedBlock:
    """A block that tells how many seconds it took, and the exception it ended with."""

    def __init__(self, report: Callable[[float, BaseException | None], None]) -> None:
        self._report = report

    def __enter__(self) -> None:
        self._started = time.perf_counter()

    def __exit__(self, _kind: object, error: BaseException | None, _traceback: object) -> None:
        self._report(time.perf_counter() - self._started, error)
