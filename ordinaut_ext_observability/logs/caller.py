"""Who made a log call, and with which exception: for what stands between a caller and the standard library."""

from __future__ import annotations

import sys
from types import FrameType
from typing import Any


def calling_frame(frame: FrameType, between: tuple[str, ...]) -> FrameType:
    """The first frame, from this one outwards, of code that is in none of these packages: names with a dot after."""
    while frame.f_back is not None and f"{frame.f_globals.get('__name__', '')}.".startswith(between):
        frame = frame.f_back
    return frame


def exception_info(value: object) -> Any:
    """Resolve the argument `exc_info` of a log call: None, or type, exception and traceback."""
    if isinstance(value, BaseException):
        return (type(value), value, value.__traceback__)
    if not value:
        return None
    current = sys.exc_info()
    return value if isinstance(value, tuple) else current if current[0] is not None else None
