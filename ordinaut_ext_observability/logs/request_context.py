"""`RequestContext`: ids bound for a block of work outside an HTTP request."""

from __future__ import annotations

from contextvars import Token
from types import TracebackType
from typing import Self

from ordinaut_ext_observability.context import RequestIds, request_ids, with_ids, work_ids
from ordinaut_ext_observability.ids import match_client_id, random_ids


class RequestContext:
    """Binds a correlation id, and the ids of the work at hand, to everything done in the block.

    Blocks nest: the inner one inherits what it is not given, and at its end the outer one's ids are back.

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
        outer = request_ids.get()
        digits = random_ids.take()
        trace_id, sampled = (outer[1], outer[3]) if outer is not None else (digits[:32], False)
        if correlation_id is None or match_client_id(str(correlation_id).encode()) is None:
            correlation_id = outer[0] if outer is not None else digits[:32]
        self.correlation_id = str(correlation_id)
        self._ids: RequestIds = (self.correlation_id, trace_id, digits[32:], sampled)
        self._work = {
            "task_id": _text(task_id),
            "run_id": _text(run_id),
            "step_id": _text(step_id),
            "agent_id": _text(agent_id),
            "worker_id": _text(worker_id),
        }
        self.context = {
            "task_id": self._work["task_id"],
            "agent_id": self._work["agent_id"],
            "request_id": self.correlation_id,
        }
        self._tokens: list[tuple[Token[RequestIds | None], Token[object]]] = []

    def __enter__(self) -> Self:
        self._tokens.append((request_ids.set(self._ids), work_ids.set(with_ids(self._work))))  # type: ignore[arg-type]
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        ids_token, work_token = self._tokens.pop()
        work_ids.reset(work_token)  # type: ignore[arg-type]
        request_ids.reset(ids_token)


def _text(value: object) -> str | None:
    """Ids are often UUID objects; their text is what goes on the line."""
    return None if value is None else str(value)
