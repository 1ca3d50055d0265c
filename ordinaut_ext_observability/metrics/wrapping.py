"""One way to put a block around every call of a function, to the end of what it does.

A call that returns something to be awaited ends when that ends; whoever gets it can do with it what he could before.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Coroutine, Generator
from contextlib import AbstractContextManager, ExitStack
from typing import Any, TypeVar, cast

FunctionT = TypeVar("FunctionT", bound=Callable[..., Any])


def within(
    decorator: str,
    function: FunctionT,
    make_block: Callable[[tuple[Any, ...], dict[str, Any]], AbstractContextManager[Any]],
) -> FunctionT:
    """The function, each call of it inside a block made for its arguments. Results and exceptions pass unchanged.

    Raises TypeError, which names the `decorator`, where it is no function, or a generator, whose run has no single end.
    """
    import inspect  # takes a fifth of the import of the package that the host imports

    if isinstance(function, (classmethod, staticmethod)):
        raise TypeError(f"{decorator} takes the function itself: write it below @{type(function).__name__}")
    if not callable(function) or isinstance(function, type):  # a function in a class's place is no class any more
        raise TypeError(f"{decorator} takes a function, not {function!r}")
    called_by = (function, type(function).__call__)  # objects may be called, too
    if any(inspect.isgeneratorfunction(code) or inspect.isasyncgenfunction(code) for code in called_by):
        raise TypeError(f"{decorator} takes functions and coroutine functions, {function!r} is a generator")

    if inspect.iscoroutinefunction(function):

        @functools.wraps(function)
        async def called(*args: Any, **kwargs: Any) -> Any:
            with make_block(args, kwargs):
                return await function(*args, **kwargs)

    else:

        @functools.wraps(function)
        def called(*args: Any, **kwargs: Any) -> Any:
            with ExitStack() as block:
                block.enter_context(make_block(args, kwargs))
                result = function(*args, **kwargs)
                return _until_end(result, block) if inspect.isawaitable(result) else result

    return cast("FunctionT", called)


def _until_end(result: Any, block: ExitStack) -> Any:
    """Keep the block open until the result ends; returns the result, or an object that stands for it."""
    import asyncio

    kind = type(result)
    if asyncio.isfuture(result):
        _leave_with_future(block.pop_all(), result)
        return result
    # A connection or a pool that one may also await stays what it is, and so does a library's handle: the block ends
    # with the call.
    if hasattr(kind, "__aenter__") or hasattr(kind, "__aiter__"):
        return result
    if all(hasattr(kind, name) for name in ("send", "throw", "close")):
        return _Coroutine(result, block.pop_all())
    if any(not name.startswith("_") for name in dir(kind)):
        return result
    return _Awaitable(result, block.pop_all())


def _leave(block: ExitStack, error: BaseException) -> None:
    block.__exit__(type(error), error, error.__traceback__)


def _leave_with_future(block: ExitStack, future: Any) -> None:
    """End the block when the future is done; now, if it is."""
    import asyncio

    if not future.done():
        future.add_done_callback(lambda done: _leave_with_future(block, done))
    elif future.cancelled():
        _leave(block, asyncio.CancelledError())
    elif (error := getattr(future, "_exception", None)) is not None:
        _leave(block, error)  # its public method would tell asyncio that somebody has seen it
    else:
        block.close()


class _Awaitable:
    """Stands for an object that can only be awaited; the end of that is the end of a block, which has but one."""

    def __init__(self, awaitable: Any, block: ExitStack) -> None:
        self._awaitable = awaitable
        self._block = block

    def __await__(self) -> Generator[Any, Any, Any]:
        with self._block:
            return (yield from self._awaitable.__await__())

    def __getattr__(self, name: str) -> Any:
        return getattr(self._awaitable, name)


class _Coroutine(_Awaitable, Coroutine[Any, Any, Any]):
    """Stands for a coroutine."""

    _started = False

    def send(self, value: Any) -> Any:
        return self._step(self._awaitable.send, value)

    def throw(self, *error: Any) -> Any:
        return self._step(self._awaitable.throw, *error)

    def close(self) -> None:
        self._awaitable.close()
        if self._started:
            _leave(self._block, GeneratorExit())

    def __await__(self) -> Generator[Any, Any, Any]:
        return cast("Generator[Any, Any, Any]", self)

    def __iter__(self) -> Any:
        return self

    def __next__(self) -> Any:
        return self.send(None)

    def _step(self, step: Callable[..., Any], *arguments: Any) -> Any:
        self._started = True
        try:
            return step(*arguments)
        except StopIteration:
            self._block.close()
            raise
        except BaseException as error:
            _leave(self._block, error)
            raise
