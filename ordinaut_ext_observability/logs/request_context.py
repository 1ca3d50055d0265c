"""`RequestContext`: ids bound for a block of work outside an HTTP request."""

from __future__ import annotations

from collections.abc import Mapping
from contextvars import ContextVar
from types import TracebackType
from typing import NamedTuple, Self

from ordinaut_ext_observability.correlation.context import RequestIds, request_ids, with_ids, work_ids
from ordinaut_ext_observability.correlation.ids import match_client_id, random_ids


class _Entered(NamedTuple):
    """A block that has begun in this context, and what was bound before it."""

    block: RequestContext
    request_ids: RequestIds | None
    work_ids: Mapping[str, str]
    outer: _Entered | None


_entered: ContextVar[_Entered | None] = ContextVar("ordinaut_entered_blocks", default=None)


class RequestContext:
    """Binds a correlation id, and the ids of the work at hand, to everything done in the block.

    Blocks nest: the inner one inherits what it is not given, and at its end the outer one's ids are back. One object
    may be used for many blocks, also at the same time in several tasks or threads.

        with RequestContext(task_id="42", agent_id="mailer") as context:
            logger.info("sending")  # the line carries context.correlation_id and the task's ids
    """

    def __init__(
        self,
        task_id: str | None = None,
        agent_id: str | None = None,
        *,
        correlation_id: str | None = None,
        run_id: str | None = None,
        step_id: str | None = None,
        worker_id: str | None = None,
    ) -> None:
        """`correlation_id` is one that came from elsewhere: 1 to 128 of `A-Za-z0-9._-`, else it is replaced.

        Without one, that of the surrounding block or request is kept, or a new one made.
        """
        given = None if correlation_id is None else str(correlation_id)
        if given is not None and match_client_id(given.encode("utf-8", "replace")) is None:
            given = None
        self._given_id = given
        self._work = {
            "task_id": _text(task_id),
            "run_id": _text(run_id),
            "step_id": _text(step_id),
            "agent_id": _text(agent_id),
            "worker_id": _text(worker_id),
        }
        self._first_ids: RequestIds | None = self._ids()
        self.correlation_id = self._first_ids[0]
        """Of the block entered last; before the first, the one it will have unless it is entered under another id."""

    @property
    def context(self) -> dict[str, str | None]:
        """The ids as a mapping, as the line's `task_context` has them."""
        return {
            "task_id": self._work["task_id"],
            "agent_id": self._work["agent_id"],
            "request_id": self.correlation_id,
        }

    def __enter__(self) -> Self:
        first_ids, self._first_ids = self._first_ids, None
        ids = first_ids if first_ids is not None and request_ids.get() is None else self._ids()
        work = with_ids(self._work)
        _entered.set(_Entered(self, request_ids.get(), work_ids.get(), _entered.get()))
        request_ids.set(ids)
        work_ids.set(work)
        self.correlation_id = ids[0]
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        entered = _entered.get()
        if entered is None or entered.block is not self:
            return  # a generator closed from elsewhere: this context is not the one the block began in
        request_ids.set(entered.request_ids)
        work_ids.set(entered.work_ids)
        _entered.set(entered.outer)

    def _ids(self) -> RequestIds:
        """The ids of a block that begins here."""
        outer = request_ids.get()
        digits = random_ids.take()
        if outer is None:
            return (self._given_id or digits[:32], digits[:32], digits[32:], False)
        return (self._given_id or outer[0], outer[1], digits[32:], outer[3])


def _text(value: object) -> str | None:
    """Ids are often UUID objects; their text is what goes on the line."""
    return None if value is None else str(value)
