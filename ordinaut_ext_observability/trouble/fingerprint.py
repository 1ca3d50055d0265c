"""The fingerprint of an exception, and what is kept of it: text alone, so that no frame and no exception lives longer.

It is a digest of the exception's type and of the innermost functions of the host's code it came through: the same for
other lines, values and messages. The message is not kept: it may hold any secret, and the log has it.
"""

from __future__ import annotations

import hashlib
import os
from functools import lru_cache
from traceback import walk_tb
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
    found = _functions(error, of_host=True) or _functions(error, of_host=False)
    frames, location = list(found)[:FRAMES], next(iter(found.values()), "")
    digest = hashlib.blake2b("\n".join((kind, *frames)).encode(), digest_size=8)
    kept = {"exception_type": kind, "frames": frames, "location": clean(location[-MAX_TEXT_LENGTH:])}
    return digest.hexdigest(), kept


def clean(text: str) -> str:
    """The text, cut to what is kept, in Unicode."""
    return text[:MAX_TEXT_LENGTH].encode(errors="replace").decode()


def raised_at(error: BaseException) -> tuple[object, int] | None:
    """The code and line that raised it, the same as long as it lives; None where it was not raised."""
    return next(((frame.f_code, line) for frame, line in reversed(list(walk_tb(error.__traceback__)))), None)


def _functions(error: BaseException, *, of_host: bool) -> dict[str, str]:
    """Functions and where in them, innermost first; each once, since the depth of a recursion is a value."""
    found: dict[str, str] = {}
    for frame, line in reversed(list(walk_tb(error.__traceback__))):
        code = frame.f_code
        if code.co_name not in _INLINED and (not of_host or _is_of_host(code.co_filename)):
            name = clean(f"{frame.f_globals.get('__name__')}:{code.co_qualname}")
            found.setdefault(name, f"{code.co_filename}:{line}")
    return found


@lru_cache(1024)
def _is_of_host(path: str) -> bool:
    return not ("site-packages" in path or "dist-packages" in path or path.startswith(_NOT_THE_HOSTS))
