"""The requests of an httpx client, counted and timed."""

from __future__ import annotations

import inspect
import weakref
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from ordinaut_ext_observability.background.clock import monotonic_seconds
from ordinaut_ext_observability.metrics.declarations import Metrics

_SEND = "_send_single_request"
"""It sends each of a chain of redirects. Event hooks see no failures; another transport would show."""


def instrument(client: Any, metrics: Metrics, headers: Callable[[], Mapping[str, str]]) -> None:
    """Count each request of the client, and add those of the `headers` that it has not; see `instrument_client`."""
    if not hasattr(client, _SEND):
        raise TypeError(f"instrument_client takes an httpx.Client or httpx.AsyncClient, not {client!r}")
    if _SEND in vars(client):
        return
    method: Any = weakref.WeakMethod(getattr(client, _SEND))  # a client that is forgotten closes at once, as before

    async def send_and_await(request: Any) -> Any:
        with _counted(request, metrics, headers) as answers:
            answers.append(await method()(request))
        return answers[0]

    def send(request: Any) -> Any:
        with _counted(request, metrics, headers) as answers:
            answers.append(method()(request))
        return answers[0]

    setattr(client, _SEND, send_and_await if inspect.iscoroutinefunction(getattr(client, _SEND)) else send)


@contextmanager
def _counted(request: Any, metrics: Metrics, headers: Callable[[], Mapping[str, str]]) -> Iterator[list[Any]]:
    """A block that ends with the head of the answer, which is then in the list, or with an exception."""
    answers: list[Any] = []
    try:
        for name, value in headers().items():
            request.headers.setdefault(name, value)
    except Exception:  # noqa: BLE001 - the request goes out as it is
        metrics.count_internal_error("http_client")
    started = monotonic_seconds()
    try:
        yield answers
        status = str(answers[0].status_code)
    except BaseException as error:
        status = type(error).__name__
        raise
    finally:
        try:
            host, method = request.url.netloc.decode("ascii", "replace"), request.method
            metrics.http_client_seconds.labels(host, method).observe(monotonic_seconds() - started)
            metrics.http_client_requests.labels(host, method, status).inc()
        except Exception:  # noqa: BLE001 - the answer is the caller's all the same
            metrics.count_internal_error("http_client")
