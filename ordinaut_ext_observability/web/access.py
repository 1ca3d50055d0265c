"""Who may see what: the scrape tier and the operator tier.

The public tier needs no check. Each refusal is counted and is a security event; who keeps being refused is answered
429, and lines in the log are limited. The right token always passes: it is too long to be guessed, and someone else's
failures must not lock an operator out.
"""

from __future__ import annotations

import base64
import binascii
import hmac
from collections.abc import Callable
from urllib.parse import urlsplit

from starlette.requests import Request

from ordinaut_ext_observability.background.clock import Clock
from ordinaut_ext_observability.metrics.definitions import Metrics
from ordinaut_ext_observability.settings.parts import AccessSettings
from ordinaut_ext_observability.web.addresses import AddressList
from ordinaut_ext_observability.web.answers import Refusal
from ordinaut_ext_observability.web.refusals import RefusalLimiter

_CHALLENGE = {"WWW-Authenticate": 'Bearer realm="observability", Basic realm="observability"'}

SecurityEvent = Callable[[str, str, str, int], None]
"""Takes the tier, the reason, the client's address, and the number of events left out before."""


class AccessControl:
    """The dependencies that protected routes carry."""

    def __init__(self, settings: AccessSettings, metrics: Metrics, clock: Clock, on_event: SecurityEvent) -> None:
        self._scrape_token = settings.scrape_token.get_secret_value() if settings.scrape_token else None
        self._operator_token = settings.operator_token.get_secret_value() if settings.operator_token else None
        self._scrapers = AddressList(settings.scrape_allow)
        self._metrics = metrics
        self._limiter = RefusalLimiter(clock)
        self._on_event = on_event

    @property
    def operator_enabled(self) -> bool:
        """Whether there are operator endpoints at all."""
        return self._operator_token is not None

    @property
    def scrape_protected(self) -> bool:
        """Whether scraping asks for a token."""
        return self._scrape_token is not None

    async def scraper(self, request: Request) -> None:
        """Let a scraper pass.

        Raises:
            Refusal: 403 for an address that may not, 401 for a wrong or missing token, 429 after too many of these.
        """
        client = (request.client.host, request.client.port) if request.client else None
        if not self._scrapers.holds(client):
            raise self._refuse(request, "scrape", 403, "address", "This address may not scrape.")
        if self._scrape_token is not None:
            self._check_token(request, "scrape", self._scrape_token)

    async def operator(self, request: Request) -> None:
        """Let an operator pass.

        Raises:
            Refusal: 404 while no token is set, 401 for a wrong or missing one, 403 for a change asked for by another
                site's page, 429 after too many of these.
        """
        if self._operator_token is None:
            raise Refusal(
                404, "not_found", "Operator endpoints are off: set ORDINAUT_OBS_OPERATOR_TOKEN to turn them on."
            )
        scheme = self._check_token(request, "operator", self._operator_token)
        # A browser sends a Basic password along with any page's request; a Bearer token only where a program put it.
        if scheme == "basic" and request.method not in ("GET", "HEAD") and not _same_origin(request):
            raise self._refuse(request, "operator", 403, "cross_origin", "Changes need the same origin.")

    def _check_token(self, request: Request, tier: str, expected: str) -> str:
        """The scheme the right token was given under."""
        scheme, given = _credentials(request.headers.get("authorization", ""))
        if given is None:
            raise self._refuse(request, tier, 401, "missing_token", "A bearer token is needed.")
        if not hmac.compare_digest(given.encode("utf-8", "surrogatepass"), expected.encode()):
            raise self._refuse(request, tier, 401, "wrong_token", "The token is wrong.")
        return scheme

    def _refuse(self, request: Request, tier: str, status_code: int, reason: str, message: str) -> Refusal:
        address = request.client.host if request.client else ""
        self._metrics.access_refused.labels(tier, reason).inc()
        too_many, not_logged = self._limiter.count(address)
        if not_logged is not None:
            self._on_event(tier, reason, address, not_logged)
        if too_many:
            return Refusal(429, "too_many_refusals", "Too many refused requests; wait a minute.", {"Retry-After": "60"})
        headers = _CHALLENGE if status_code == 401 else None
        error = "unauthorized" if status_code == 401 else "forbidden"
        return Refusal(status_code, error, message, headers)


def _credentials(header: str) -> tuple[str, str | None]:
    """The scheme in lower case, and the token or the password without the spaces around it."""
    scheme, _, value = header.partition(" ")
    scheme, value = scheme.lower(), value.strip()
    if scheme == "bearer" and value:
        return scheme, value
    if scheme == "basic":
        try:
            decoded = base64.b64decode(value, validate=True).decode()
        except (binascii.Error, ValueError):
            return scheme, None
        return scheme, decoded.partition(":")[2].strip()
    return scheme, None


def _same_origin(request: Request) -> bool:
    site = request.headers.get("sec-fetch-site")
    if site is not None:
        return site in ("same-origin", "none")
    origin = request.headers.get("origin")
    return origin is None or urlsplit(origin).netloc == request.headers.get("host")
