"""The fingerprint of an exception, and what is kept of it: text alone, so that no frame and no exception lives longer.

It is a digest of the exception's type and of the innermost functions of the host's code it came through: the same for
other lines, values and messages. The message is not kept: it may hold any secret, and the log has it.
"""

from __future__ import annotations

import hashlib
import os
from functools import lru_cache
from traceback import walk_tb
from types import CodeType
from typing import Any, Final

FRAMES: Final = 5
"""Functions in a fingerprint. With more of them, each way to a faulty function would make a group."""
MAX_TEXT_LENGTH: Final = 200
_INLINED: Final = ("<listcomp>", "<setcomp>", "<dictcomp>")
"""Code objects of Python 3.11; later ones have none for these."""
_NOT_THE_HOSTS: Final = ("<", f"{os.path.dirname(os.__file__)}/", f"{os.path.dirname(os.path.dirname(__file__))}/")  # noqa: PTH120
"""Paths of generated code, of the standard library and of this package begin with these."""


def describe(error: BaseException) -> tuple[str, dict[str, Any]]:
    """The fingerprint, 16 hexadecimal digits, and what is kept. Where no code is the host's, any counts."""
    kind = clean(f"{type(error).__module__}.{type(error).__qualname__}".removeprefix("builtins."))
    frames, place = _functions(error, of_host=True) or _functions(error, of_host=False), raised_at(error)
    digest = hashlib.blake2b("\n".join((kind, *frames)).encode(), digest_size=8)
    raised = clean(f"{place[0].co_filename}:{place[1]}"[-MAX_TEXT_LENGTH:]) if place else ""
    return digest.hexdigest(), {"exception_type": kind, "frames": frames, "raised_at": raised}


def clean(text: str) -> str:
    """The text, cut to what is kept, in Unicode."""
    return text[:MAX_TEXT_LENGTH].encode(errors="replace").decode()


def raised_at(error: BaseException) -> tuple[CodeType, int] | None:
    """The code and line that raised it, the same as long as it lives; None where it was not raised."""
    return next(((frame.f_code, line) for frame, line in reversed(list(walk_tb(error.__traceback__)))), None)


def _functions(error: BaseException, *, of_host: bool) -> list[str]:
    """The innermost functions, that one first; each once, since the depth of a recursion is a value."""
    passed = [frame for frame, _ in walk_tb(error.__traceback__) if frame.f_code.co_name not in _INLINED]
    of_these = [frame for frame in passed if not of_host or _is_of_host(frame.f_code.co_filename)]
    names = (f"{frame.f_globals.get('__name__')}:{frame.f_code.co_qualname}" for frame in reversed(of_these))
    return list(dict.fromkeys(map(clean, names)))[:FRAMES]


@lru_cache(1024)
def _is_of_host(path: str) -> bool:
    return not ("site-packages" in path or "dist-packages" in path or path.startswith(_NOT_THE_HOSTS))
