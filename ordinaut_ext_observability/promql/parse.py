"""Parses queries: by the library `promql-parser`, on a thread with a stack that its recursion cannot exhaust."""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import lru_cache
from typing import Any, Final, TypeVar

import promql_parser

from ordinaut_ext_observability.background.fork import forks_held_off
from ordinaut_ext_observability.promql.convert import convert
from ordinaut_ext_observability.promql.errors import BadQueryError, ExecutionError
from ordinaut_ext_observability.promql.explain import explained
from ordinaut_ext_observability.promql.guard import guard
from ordinaut_ext_observability.promql.nodes import Node

_STACK_BYTES: Final = 8 * 1024 * 1024
"""The library ends the process at 547 operators on 1 MB; the guard lets 100 pass, and 64 brackets."""

_CACHED_QUERIES: Final = 128
"""Dashboards ask the same queries again. A rule's tree takes 3 kB, the largest that is accepted 120 kB."""

_ResultT = TypeVar("_ResultT")


@lru_cache(_CACHED_QUERIES)
def parse(text: str) -> Node:
    """Parse a query, and check all that can be checked before it is evaluated.

    Raises:
        BadQueryError: The query cannot be understood, is too long or too deep, or asks for what is not supported.
        ExecutionError: The process can start no thread.
    """
    try:
        tokens = guard(text)
        readable = "".join(token.readable for token in tokens)
        return _on_deep_stack(lambda: convert(_library_tree(readable)))
    except _LibraryError as error:
        raise BadQueryError(f"parse error: {explained(str(error), tokens)}") from None
    except BadQueryError as error:
        raise BadQueryError(f"parse error: {error}") from None


class _LibraryError(Exception):
    """A message of the library."""


def _library_tree(readable: str) -> Any:
    try:
        return promql_parser.parse(readable)
    except ValueError as error:
        raise _LibraryError(str(error)) from None
    except BaseException as error:
        if type(error).__name__ == "PanicException":  # it is no Exception, and the library does not export it
            raise _LibraryError(str(error)) from None
        raise


def _on_deep_stack(work: Callable[[], _ResultT]) -> _ResultT:
    """The result of work done on a thread of its own, where what it leaves behind is dropped too."""
    results: list[_ResultT] = []
    errors: list[BaseException] = []

    def run() -> None:
        try:
            results.append(work())
        except BaseException as error:  # noqa: BLE001 - it is raised in the caller, without the trees in its frames
            errors.append(error.with_traceback(None))

    thread = threading.Thread(target=run, name="promql-parse", daemon=True)
    with forks_held_off():  # the size is the process's: one thread at a time sets it, and no child is left with it
        usual = threading.stack_size(_STACK_BYTES)
        try:
            thread.start()
        except RuntimeError as error:
            raise ExecutionError(f"no thread can be started to parse the query: {error}") from None
        finally:
            threading.stack_size(usual)
    thread.join()
    if errors:
        raise errors[0]
    return results[0]
