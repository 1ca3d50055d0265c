"""Parses queries: by the library `promql-parser`, on a thread with a stack that its recursion cannot exhaust."""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any, Final, TypeVar

import promql_parser

from ordinaut_ext_observability.background.daemon_threads import DaemonExecutor
from ordinaut_ext_observability.promql.convert import convert
from ordinaut_ext_observability.promql.errors import BadQueryError, ExecutionError
from ordinaut_ext_observability.promql.guard import Token, guarded, shown_query, split, unexpected
from ordinaut_ext_observability.promql.nodes import Node

_UNKNOWN_FUNCTION: Final = re.compile("unknown function with name '(.*)'")
_NAMES_TWICE: Final = "metric name must not be set twice"

_STACK_BYTES: Final = 8 * 1024 * 1024
"""The library ends the process at 547 operators on 1 MB; the guard lets 100 pass, and 64 brackets."""

_CACHED_QUERIES: Final = 128
"""Dashboards ask the same queries again. A rule's tree takes 3 kB, the largest that is accepted 120 kB."""

_ResultT = TypeVar("_ResultT")

_threads: Final = DaemonExecutor()
_stack_size = threading.Lock()
"""Held while the size of new stacks, which is the process's, is another; a fork waits, no child is left with it.

It is not `forks_held_off`, which a store holds while its disk is slow, and starts of other parts while they import.
"""
os.register_at_fork(before=_stack_size.acquire, after_in_parent=_stack_size.release, after_in_child=_stack_size.release)


@lru_cache(_CACHED_QUERIES)
def parse(text: str) -> Node:
    """Parse a query, and check all that can be checked before it is evaluated.

    Raises BadQueryError where it cannot be understood, is too long or too deep, or asks for what is not supported;
    ExecutionError where the process can start no thread.
    """
    return _checked(text, convert)


def format_query(text: str) -> str:
    """The query in Prometheus's layout: `format_query("sum(x)by(job)>0")` is `sum by (job) (x) > 0`.

    The layout is the library's, a port of Prometheus's own. Comments are left out. Raises as `parse` does.
    """
    parse(text)
    return _checked(text, lambda tree: shown_query(tree.prettify()))


def _checked(text: str, use: Callable[[Any], _ResultT]) -> _ResultT:
    """The result made from the library's tree of a query."""
    try:
        tokens = split(text)
        query = guarded(tokens)
        return _on_deep_stack(lambda: use(_library_tree(query, tokens)))
    except BadQueryError as error:
        raise BadQueryError(f"parse error: {error}") from None


def _library_tree(query: str, tokens: Sequence[Token]) -> Any:
    try:
        return promql_parser.parse(query)
    except BaseException as error:
        if not isinstance(error, ValueError) and type(error).__name__ != "PanicException":
            raise  # a panic is no Exception, and the library does not export it
        message = str(error)
    if message.startswith(_NAMES_TWICE):  # the rest has values that may be hidden
        message = _NAMES_TWICE
    elif message in ("", "invalid promql query"):
        message = unexpected(tokens)
    raise BadQueryError(_UNKNOWN_FUNCTION.sub(r"\1() is not a function known here", message))


def _on_deep_stack(work: Callable[[], _ResultT]) -> _ResultT:
    """The result of work done on a thread of its own, where what it leaves behind is dropped too."""

    def run() -> _ResultT:
        try:
            return work()
        except BaseException as error:  # noqa: BLE001 - raised in the caller, without the trees in its frames
            raise error.with_traceback(None) from None

    with _stack_size:
        usual = threading.stack_size(_STACK_BYTES)
        try:
            future = _threads.submit(run)
        except RuntimeError as error:
            raise ExecutionError(f"no thread can be started to parse the query: {error}") from None
        finally:
            threading.stack_size(usual)
    return future.result()
