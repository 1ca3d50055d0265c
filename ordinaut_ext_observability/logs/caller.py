"""Log calls that do not come through the standard library's loggers: their records name the code that logged."""

from __future__ import annotations

import logging
import sys
from collections.abc import Mapping
from types import FrameType
from typing import Any

RECORD_FIELDS = frozenset(vars(logging.LogRecord("", 0, "", 0, "", (), None))) | {"message", "asctime"}
"""The fields of a record without extras; formatters add the last two."""


def calling_frame(frame: FrameType, between: tuple[str, ...]) -> FrameType:
    """The first frame, from this one outwards, of code that is in none of these packages: names with a dot after."""
    while frame.f_back is not None and f"{frame.f_globals.get('__name__', '')}.".startswith(between):
        frame = frame.f_back
    return frame


def log_record(
    logger: logging.Logger,
    level: int,
    frame: FrameType,
    message: object,
    args: tuple[object, ...],
    fields: Mapping[str, object],
    *,
    exc_info: Any = None,
    **attributes: object,
) -> None:
    """Log from this frame; `exc_info` is an exception, a triple, or true for the one being handled.

    Fields with names that a record has get the suffix `_`; `attributes` are those of the record.
    """
    extra: dict[str, object] = {}
    for name, value in fields.items():
        free = name
        while free in RECORD_FIELDS or free in extra or (free != name and free in fields):
            free = f"{free}_"
        extra[free] = value
    if isinstance(exc_info, BaseException):
        exc_info = (type(exc_info), exc_info, exc_info.__traceback__)
    elif exc_info and not isinstance(exc_info, tuple):
        exc_info = sys.exc_info() if sys.exc_info()[0] is not None else None
    code = frame.f_code
    place = (code.co_filename, frame.f_lineno)
    record = logger.makeRecord(logger.name, level, *place, message, args, exc_info or None, code.co_name, extra)
    vars(record).update(attributes)
    logger.handle(record)
