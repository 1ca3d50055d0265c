"""The requests of an httpx client, counted and timed."""

from __future__ import annotations

import inspect
import weakref
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Self

from ordinaut_ext_observability.background.clock import monotonic_seconds
from ordinaut_ext_observability.metrics.declarations import Metrics

if TYPE_CHECKING:
    import httpx

# What sends one request, each of a chain of redirects on its own. Event hooks would not see requests without an answer;
# a transport around the client's own would be in the way of who looks at that.
_SEND = "_send_single_request"


def instrument(
    client: httpx.Client | httpx.AsyncClient, metrics: Metrics, headers: Callable[[], Mapping[str, str]]
) -> None:
    """Count each request of the client, and add those of the `headers` that it does not have.

    Again for the same client it does nothing. Raises TypeError where it is no httpx client.
    """
    if getattr(client, _SEND, None) is None:
        raise TypeError(f"instrument_client takes an httpx.Client or httpx.AsyncClient, not {client!r}")
    if _SEND in vars(client):
        return
    method: Any = weakref.WeakMethod(getattr(client, _SEND))  # else a client that is forgotten would not close at once

    async def send_and_await(request: httpx.Request) -> Any:
        with _Exchange(metrics, headers, request) as exchange:
            exchange.response = await method()(request)
        return exchange.response

    def send(request: httpx.Request) -> Any:
        with _Exchange(metrics, headers, request) as exchange:
            exchange.response = method()(request)
        return exchange.response

    setattr(client, _SEND, send_and_await if inspect.iscoroutinefunction(getattr(client, _SEND)) else send)


class _Exchange:
    """A block that is one request, until the head of its answer; what fails in here is counted and passes nothing."""

    def __init__(self, metrics: Metrics, headers: Callable[[], Mapping[str, str]], request: httpx.Request) -> None:
        self._metrics = metrics
        self._request = request
        self.response: Any = None
        try:
            for name, value in headers().items():
                request.headers.setdefault(name, value)
        except Exception:  # noqa: BLE001 - the request goes out as it is
            metrics.count_internal_error("http_client")

    def __enter__(self) -> Self:
        self._started = monotonic_seconds()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        seconds = monotonic_seconds() - self._started
        try:
            host = self._request.url.netloc.decode("ascii", "replace")
            status = self.response.status_code if kind is None else kind.__name__
            self._metrics.http_client_requests.labels(host, self._request.method, str(status)).inc()
            self._metrics.http_client_seconds.labels(host, self._request.method).observe(seconds)
        except Exception:  # noqa: BLE001 - the answer is the caller's all the same
            self._metrics.count_internal_error("http_client")
