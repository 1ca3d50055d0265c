"""Checks that the configuration file asks for: services that answer HTTP, and functions of the user's own."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from functools import partial
from importlib import import_module
from operator import attrgetter
from typing import TYPE_CHECKING, Any

from ordinaut_ext_observability.background.clock import monotonic_seconds
from ordinaut_ext_observability.health.model import CheckFunction, HealthStatus, Outcome
from ordinaut_ext_observability.health.setup import CheckParts
from ordinaut_ext_observability.settings.checks import HttpCheckEntry

if TYPE_CHECKING:
    import httpx

_MAX_PIECES = 16
"""Pieces of a body that are read, of 64 KiB at most: what asks for a service's health has a short answer."""


def make_checks(parts: CheckParts) -> Iterator[tuple[str, CheckFunction, dict[str, Any]]]:
    """The file's entries."""
    options = {"required", "timeout_seconds", "failures_to_worsen", "passes_to_recover"}
    for service in parts.settings.file.health.http:
        yield service.name, HttpServiceCheck(service).run, service.model_dump(include=options)
    for entry in parts.settings.file.health.callables:
        yield entry.name, partial(call_imported, entry.target), entry.model_dump(include=options)


class HttpServiceCheck:
    """Asks for a URL and judges the status code and the time it took. Blocks, so it runs in a thread.

    The client is kept between runs, with its connection; redirects are answers, not followed.
    """

    def __init__(self, entry: HttpCheckEntry) -> None:
        self._entry = entry
        self._expected_statuses = entry.expected_statuses or range(200, 400)
        self._client: httpx.Client | None = None

    def run(self) -> Outcome:
        """The outcome of one request.

        Raises:
            httpx.HTTPError: no answer came.
            ValueError: the request cannot be sent.
        """
        import httpx  # takes a tenth of a second: not everybody checks services

        entry = self._entry
        if self._client is None:
            self._client = httpx.Client(timeout=entry.timeout_seconds, verify=entry.verify_tls)
        started = monotonic_seconds()
        try:
            with self._client.stream(entry.method, str(entry.url), headers=entry.headers) as response:
                status_code, seconds = response.status_code, monotonic_seconds() - started
                with contextlib.suppress(httpx.HTTPError):  # a body that was read keeps the connection usable
                    for number, _ in enumerate(response.iter_raw()):
                        if number == _MAX_PIECES or monotonic_seconds() - started > entry.timeout_seconds:
                            break
        except (httpx.LocalProtocolError, UnicodeError):
            # The error quotes what cannot be sent, which may be a secret.
            raise ValueError("the URL or a header holds characters that cannot be sent") from None
        details = {"status_code": status_code, "seconds": round(seconds, 3)}
        if status_code not in self._expected_statuses:
            return Outcome(HealthStatus.UNHEALTHY, f"answered {status_code}", details)
        if entry.slow_seconds is not None and seconds > entry.slow_seconds:
            return Outcome(HealthStatus.DEGRADED, f"took {seconds:.3f} s, more than {entry.slow_seconds:g} s", details)
        return Outcome(HealthStatus.HEALTHY, "", details)


def call_imported(target: str) -> Any:
    """Call the function `package.module:function`. In a thread: imports may be slow, and may fail."""
    module, _, name = target.partition(":")
    return attrgetter(name)(import_module(module))()
