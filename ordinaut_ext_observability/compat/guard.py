"""Keeping what goes wrong in us from the host's code that called us."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, TypeVar, cast

CallT = TypeVar("CallT", bound=Callable[..., Any])


def never_raises(call: CallT) -> CallT:
    """The call; where it fails, the failure is counted and None returned."""

    @functools.wraps(call)
    def guarded(*args: Any, **kwargs: Any) -> Any:
        try:
            return call(*args, **kwargs)
        except Exception:  # noqa: BLE001 - some calls stand where a failure means that work is not leased
            count_failure()
            return None

    return cast("CallT", guarded)


def count_failure() -> None:
    """Count a failure of a call of the host's."""
    try:
        from ordinaut_ext_observability.runtime.current import current_runtime

        current_runtime().metrics.count_internal_error("facade")
    except Exception:  # noqa: BLE001, S110 - there is nothing left to count it with
        pass
