"""One GET of a service, bounded in time and size, whatever the answer.

With the standard library: importing httpx takes longer than all else that a container's health check does.
"""

from __future__ import annotations

import http.client
import json
import socket
import urllib.error
import urllib.request
from dataclasses import dataclass
from email.message import Message
from typing import Any
from urllib.parse import unquote, urlsplit

from ordinaut_ext_observability.background.daemon_threads import call_within
from ordinaut_ext_observability.errors import ObservabilityError

_MAX_BODY_BYTES = 4 * 1024 * 1024
_RESOLVING_SECONDS = 1.5
"""A command asks for few names, and is to end within seconds although no name server answers."""

_HEADERS = {
    "User-Agent": "ordinaut-observability",  # Ordinaut's full host turns away requests without any
    "Accept": "application/json",
}


class NoAnswerError(ObservabilityError):
    """Nobody answered, or not what was asked for."""


@dataclass(frozen=True, slots=True)
class Answer:
    """A response of any status."""

    status_code: int
    headers: Message
    body: bytes

    def json(self) -> Any:
        """The body as JSON; None where it is none."""
        try:
            return json.loads(self.body)
        except (ValueError, RecursionError):
            return None


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """Follows redirects to the same address only: a token must not wander, and a lazy load redirects to itself."""

    max_repeats = 2

    def redirect_request(self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str) -> Any:
        return super().redirect_request(req, fp, code, msg, headers, newurl) if newurl == req.full_url else None


# Without proxies: what is asked is on this machine or in this cluster.
_opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), _NoRedirect)


def name_server_answers(host: str, seconds: float = _RESOLVING_SECONDS) -> bool:
    """True where anybody says what address this host has, or that there is no such host."""
    try:
        call_within(seconds, socket.getaddrinfo, host, None)
    except TimeoutError:
        return False
    except (OSError, UnicodeError):
        return True
    return True


def without_password(url: str) -> tuple[str, str]:
    """The URL as it can be asked and shown, and the password of the user in it: a token, as a browser would send it.

    Raises:
        NoAnswerError: it is no URL.
    """
    try:
        parts = urlsplit(url)
    except ValueError as error:
        raise NoAnswerError(f"{url}: {error}") from error
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl(), unquote(parts.password or "")


def ask(url: str, token: str = "", timeout_seconds: float = 5.0, **headers: str) -> Answer:
    """The answer to a GET of this URL, with the token as bearer token where there is one.

    Raises:
        NoAnswerError: the URL is not HTTP, nobody answers, or not in time.
    """
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https"):
        raise NoAnswerError(f"{url}: begin the URL with http:// or https://")
    if not name_server_answers(parts.hostname or "", min(_RESOLVING_SECONDS, timeout_seconds)):
        raise NoAnswerError(f"{url}: no name server answers for {parts.hostname}")
    request = urllib.request.Request(url, headers={**_HEADERS, **headers})  # noqa: S310 - HTTP, as was seen above
    if token:
        request.add_header("Authorization", f"Bearer {token}")
    try:
        return call_within(timeout_seconds, _get, request, timeout_seconds)
    except ValueError:
        # The error may quote the token.
        raise NoAnswerError(f"{url}: the URL or the token has characters that cannot be sent") from None
    except (OSError, http.client.HTTPException) as error:
        reason = getattr(error, "reason", None) or error
        words = getattr(reason, "strerror", None) or str(reason) or f"nothing within {timeout_seconds:g} s"
        raise NoAnswerError(f"{parts.scheme}://{parts.netloc} does not answer: {words}") from error


def _get(request: urllib.request.Request, timeout_seconds: float) -> Answer:
    try:
        with _opener.open(request, timeout=timeout_seconds) as response:
            return Answer(response.status, response.headers, response.read(_MAX_BODY_BYTES))
    except urllib.error.HTTPError as error:
        with error:
            return Answer(error.code, error.headers, error.read(_MAX_BODY_BYTES))
