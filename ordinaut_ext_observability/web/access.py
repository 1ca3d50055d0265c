"""Who may see what: the scrape tier and the operator tier.

The public tier needs no check. Each refusal is counted and is a security event; who keeps being refused is answered
429, and lines in the log are limited. The right token always passes: it is too long to be guessed, and someone else's
failures must not lock an operator out.
"""

from __future__ import annotations

import base64
import hmac
import ipaddress
from collections import Counter
from functools import lru_cache
from urllib.parse import unquote

from pydantic import SecretStr
from starlette.requests import Request

from ordinaut_ext_observability.background.clock import Clock
from ordinaut_ext_observability.logs import event_types as events
from ordinaut_ext_observability.metrics.declarations import Metrics
from ordinaut_ext_observability.settings.parts import AccessSettings
from ordinaut_ext_observability.settings.types import EVERYWHERE, Network
from ordinaut_ext_observability.web.answers import Refusal

REFUSALS_PER_MINUTE = 20  # of one network that are answered as such; further ones within the minute get a 429
ALL_REFUSALS_PER_MINUTE = 300  # of all networks, however many addresses somebody has; so many are remembered, too
LINES_PER_MINUTE = 60  # one a second is enough to see an attack, and no burden
_WINDOW_SECONDS = 60.0
_MAX_REMEMBERED_HOSTS = 1024
_MAX_ADDRESS_LENGTH = 64  # an IPv6 address with its zone; behind a proxy it may be any text that a client wrote
_IPV6_NETWORK_BITS = 64  # what one customer of a provider has at least
COOKIE = "ordinaut_observability"  # of a browser that has signed in: the token, percent-encoded
_CHALLENGE = {"WWW-Authenticate": 'Bearer realm="observability", Basic realm="observability"'}


class AccessControl:
    """Lets requests to protected endpoints pass, or refuses them."""

    def __init__(self, settings: AccessSettings, metrics: Metrics, clock: Clock, event: events.LogEvent) -> None:
        self.settings = settings
        self._scrapers = AddressList(settings.scrape_allow)
        self._metrics = metrics
        self._event = event
        self._clock = clock
        self._window_ends = 0.0
        self._answered: Counter[str] = Counter()
        self._lines = 0
        self._not_logged = 0

    def check_scraper(self, request: Request) -> None:
        """Let a scraper, an operator or a viewer pass, or raise `Refusal`.

        403 for a scraper's address, 401 for its token, 429 after too many.
        """
        if self.sees_details(request):
            return
        client = (request.client.host, request.client.port) if request.client else None
        if not self._scrapers.holds(client):
            raise self._refuse(request, "scrape", 403, "address", "This address may not scrape.")
        if self.settings.scrape_token is not None:
            self._check_token(request, "scrape", _credentials(request)[1], self.settings.scrape_token)

    def sees_details(self, request: Request) -> bool:
        """Tell whether an operator or a viewer asks, at an endpoint that others may ask, too."""
        return self.may_change(request) or _are_equal(_credentials(request)[1], self.settings.viewer_token)

    def may_change(self, request: Request) -> bool:
        """Tell whether an operator asks, not a viewer."""
        return _are_equal(_credentials(request)[1], self.settings.operator_token)

    @property
    def is_open_to_operators(self) -> bool:
        """False: no token of the operator tier is set, so it is off."""
        return self.settings.operator_token is not None or self.settings.viewer_token is not None

    def check_operator(self, request: Request, *, changes: bool, typed: str | None = None) -> None:
        """Let an operator pass, who `changes` something or not, or a viewer, who does not, or raise `Refusal`.

        A token `typed` into our form counts alone. 404 while no token is set, 401 for a wrong one, 403 for a change by
        a viewer, a change or a form from another site's page, 429 after too many.
        """
        operator, viewer = self.settings.operator_token, self.settings.viewer_token
        if not self.is_open_to_operators:
            hint = (
                "Operator endpoints are off: set ORDINAUT_OBS_OPERATOR_TOKEN, 16 characters or more, to turn them on."
            )
            raise Refusal(404, "not_found", hint)
        scheme, given = _credentials(request) if typed is None else ("form", typed or None)
        token = self._check_token(request, "operator", given, operator, viewer)
        if changes and token != operator:
            raise self._refuse(request, "operator", 403, "viewer", "The viewer token changes nothing.")
        # A browser sends these along with any page's request; a Bearer token only where a program put it.
        if scheme != "bearer" and (changes or scheme == "form") and not _same_origin(request, scheme):
            raise self._refuse(request, "operator", 403, "cross_origin", "Changes need the same origin.")

    def report_action(self, request: Request, endpoint: str, status_code: int) -> None:
        """Tell of a change that an operator was let pass for, and what came of it."""
        address = request.client.host if request.client else ""
        facts = {"method": request.method, "endpoint": endpoint, "client_address": address}
        self._event(events.OPERATOR_ACTION, **facts, status_code=status_code)

    def refuse_link(self, request: Request) -> int:
        """Count a link that is not valid; the status to answer with."""
        return self._refuse(request, "links", 403, "invalid_link", "").response.status_code

    def _check_token(self, request: Request, tier: str, given: str | None, *accepted: SecretStr | None) -> SecretStr:
        """The accepted token that was given."""
        for token in accepted:
            if token is not None and _are_equal(given, token):
                return token
        if given is None or given == cookie_of(request):  # an old cookie is as none: nobody has typed it
            raise self._refuse(request, tier, 401, "missing_token", "A token is needed.")
        raise self._refuse(request, tier, 401, "wrong_token", "The token is wrong.")

    def _refuse(self, request: Request, tier: str, status_code: int, reason: str, message: str) -> Refusal:
        address = request.client.host if request.client else ""
        self._metrics.access_refused.labels(tier, reason).inc()
        now = self._clock.monotonic()
        if now >= self._window_ends:
            self._window_ends, self._lines = now + _WINDOW_SECONDS, 0
            self._answered.clear()
        network = network_of(address)
        answered = self._answered[network]
        too_many = answered >= REFUSALS_PER_MINUTE or self._answered.total() >= ALL_REFUSALS_PER_MINUTE
        # The first of a network gets a line, and the one after which it is answered 429.
        if too_many or answered not in (0, REFUSALS_PER_MINUTE - 1) or self._lines >= LINES_PER_MINUTE:
            self._not_logged += 1
        else:
            facts = {"tier": tier, "reason": reason, "client_address": address}
            self._event(events.ACCESS_REFUSED, **facts, refusals_not_logged=self._not_logged)
            self._lines, self._not_logged = self._lines + 1, 0
        if too_many:
            return Refusal(429, "too_many_refusals", "Too many refused requests; wait a minute.", {"Retry-After": "60"})
        self._answered[network] += 1
        if status_code == 401:
            by_script = (
                request.headers.get("sec-fetch-mode", "navigate") != "navigate" or cookie_of(request) is not None
            )
            return Refusal(401, "unauthorized", message, {} if by_script else _CHALLENGE)  # with it, browsers ask
        return Refusal(status_code, "forbidden", message)


def cookie_of(request: Request) -> str | None:
    """The token in our cookie; of several the first, which has the longest path."""
    pairs = (part.strip().partition("=") for part in request.headers.get("cookie", "").split(";"))
    return next((unquote(value) for name, _, value in pairs if name == COOKIE), None)


def _credentials(request: Request) -> tuple[str, str | None]:
    """The scheme in lower case, and the token or the password without the spaces around it; else that of the cookie."""
    scheme, _, value = request.headers.get("authorization", "cookie").partition(" ")
    scheme, value = scheme.lower(), value.strip()
    if scheme == "cookie":
        return scheme, cookie_of(request)
    if scheme == "basic":
        try:
            value = base64.b64decode(value, validate=True).decode().partition(":")[2].strip()
        except ValueError:
            return scheme, None
    elif scheme != "bearer" or not value:
        return scheme, None
    return scheme, value


def _are_equal(given: str | None, token: SecretStr | None) -> bool:
    """Compare in a time that tells nothing about the token; False where there is none."""
    expected = b"" if token is None else token.get_secret_value().encode()
    return hmac.compare_digest((given or "").encode("utf-8", "surrogatepass"), expected) and token is not None


def _same_origin(request: Request, scheme: str) -> bool:
    site = request.headers.get("sec-fetch-site")
    if site is not None:
        return site in ("same-origin", "none")
    origin = request.headers.get("origin")
    # Programs, which tell no origin, send Basic.
    return scheme == "basic" if origin is None else origin.partition("://")[2] == request.headers.get("host")


class AddressList:
    """A setting's networks; whether an address is in one of them is remembered for 1024 addresses."""

    def __init__(self, networks: tuple[Network, ...]) -> None:
        self.is_everywhere = networks == EVERYWHERE
        self._networks = networks
        self._holds_host = lru_cache(_MAX_REMEMBERED_HOSTS)(self._look_up)

    def holds(self, client: tuple[str, int] | None) -> bool:
        """False for a client without an address, such as one on a Unix socket, unless every address is in."""
        return self.is_everywhere or (client is not None and self._holds_host(client[0][:_MAX_ADDRESS_LENGTH]))

    def _look_up(self, host: str) -> bool:
        try:
            address = ipaddress.ip_address(host)
        except ValueError:
            return False
        mapped = getattr(address, "ipv4_mapped", None)
        return any((mapped or address) in network or address in network for network in self._networks)


def network_of(host: str) -> str:
    """The part of an address that one client cannot change at will: IPv4 as it is, of IPv6 the first 64 bits.

    Text that is no address has the empty network.
    """
    try:
        address = ipaddress.ip_address(host[:_MAX_ADDRESS_LENGTH])
    except ValueError:
        return ""
    address = getattr(address, "ipv4_mapped", None) or address
    if isinstance(address, ipaddress.IPv4Address):
        return str(address)
    return str(ipaddress.IPv6Address(int(address) >> _IPV6_NETWORK_BITS << _IPV6_NETWORK_BITS))
