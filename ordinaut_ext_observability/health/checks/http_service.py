"""A check of any service that answers HTTP: an MCP server, an external API, an authentication service."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ordinaut_ext_observability.background.clock import monotonic_seconds
from ordinaut_ext_observability.health.model import HealthStatus, Outcome

if TYPE_CHECKING:
    import httpx


_MAX_BODY_BYTES = 64 * 1024


class HttpServiceCheck:
    """Asks for a URL and judges the status code and the time it took. Blocks, so it runs in a thread.

    The client is kept between runs, with its connection; redirects are answers, not followed.
    """

    def __init__(
        self,
        url: str,
        *,
        method: str = "GET",
        headers: Mapping[str, str] | None = None,
        expected_statuses: frozenset[int] = frozenset(range(200, 400)),
        timeout_seconds: float = 3.0,
        slow_seconds: float | None = None,
        verify_tls: bool = True,
    ) -> None:
        """An answer that takes longer than `slow_seconds` is degraded."""
        self._url = url
        self._method = method
        self._headers = dict(headers or {})
        self._expected_statuses = expected_statuses
        self._timeout_seconds = timeout_seconds
        self._slow_seconds = slow_seconds
        self._verify_tls = verify_tls
        self._client: httpx.Client | None = None

    def run(self) -> Outcome:
        """The outcome of one request.

        Raises:
            httpx.HTTPError: no answer came.
            ValueError: the request cannot be sent.
        """
        import httpx  # takes a tenth of a second: not everybody checks services

        if self._client is None:
            self._client = httpx.Client(timeout=self._timeout_seconds, verify=self._verify_tls)
        started = monotonic_seconds()
        try:
            with self._client.stream(self._method, self._url, headers=self._headers) as response:
                status_code = response.status_code
                seconds = monotonic_seconds() - started
                self._skip_body(response, started)
        except (httpx.LocalProtocolError, UnicodeError):
            # The error quotes what cannot be sent, which may be a secret.
            raise ValueError("the URL or a header holds characters that cannot be sent") from None
        details: dict[str, Any] = {"status_code": status_code, "seconds": round(seconds, 3)}
        if status_code not in self._expected_statuses:
            return Outcome(HealthStatus.UNHEALTHY, f"answered {status_code}", details)
        if self._slow_seconds is not None and seconds > self._slow_seconds:
            return Outcome(HealthStatus.DEGRADED, f"took {seconds:.3f} s, more than {self._slow_seconds:g} s", details)
        return Outcome(HealthStatus.HEALTHY, "", details)

    def _skip_body(self, response: httpx.Response, started: float) -> None:
        """Read the body, which keeps the connection usable, unless it is long or slow."""
        import httpx

        length = 0
        with contextlib.suppress(httpx.HTTPError):  # the status code is there already
            for chunk in response.iter_raw():
                length += len(chunk)
                if length > _MAX_BODY_BYTES or monotonic_seconds() - started > self._timeout_seconds:
                    return
