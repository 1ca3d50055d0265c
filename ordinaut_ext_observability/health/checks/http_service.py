"""A check of any service that answers HTTP: an MCP server, an external API, an authentication service."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ordinaut_ext_observability.clock import monotonic_seconds
from ordinaut_ext_observability.health.model import HealthStatus, Outcome

if TYPE_CHECKING:
    import httpx


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
        """
        if self._client is None:
            import httpx  # takes a tenth of a second: not everybody checks services

            self._client = httpx.Client(timeout=self._timeout_seconds, verify=self._verify_tls)
        started = monotonic_seconds()
        with self._client.stream(self._method, self._url, headers=self._headers) as response:
            status_code = response.status_code  # the body is nobody's business
        seconds = monotonic_seconds() - started
        details: dict[str, Any] = {"status_code": status_code, "seconds": round(seconds, 3)}
        if status_code not in self._expected_statuses:
            return Outcome(HealthStatus.UNHEALTHY, f"answered {status_code}", details)
        if self._slow_seconds is not None and seconds > self._slow_seconds:
            return Outcome(HealthStatus.DEGRADED, f"took {seconds:.3f} s, more than {self._slow_seconds:g} s", details)
        return Outcome(HealthStatus.HEALTHY, "", details)
