"""Asking a service a question: one GET, bounded in time and size, whatever the answer."""

from __future__ import annotations

import http.client
import json
import socket
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote, urlsplit

from ordinaut_ext_observability.background.daemon_threads import call_within

MAX_BODY_BYTES = 4 * 1024 * 1024
USER_AGENT = "ordinaut-observability"  # Ordinaut's full host turns away requests without any


_RESOLVING_SECONDS = 1.5
"""A command asks for few names, and is to end within seconds although no name server answers."""


class NoAnswerError(Exception):
    """Nobody answered, or not what was asked for."""


@dataclass(frozen=True, slots=True)
class Answer:
    """A response of any status."""

    status_code: int
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:
        """The body as JSON; None where it is none."""
        try:
            return json.loads(self.body)
        except (ValueError, RecursionError):
            return None

    def text(self) -> str:
        """A line of the body, for messages."""
        body = self.json()
        if isinstance(body, dict) and "message" in body:
            return str(body["message"])
        return f"{self.status_code} {self.body[:200].decode('utf-8', 'replace').strip()}".replace("\n", " ")


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """Follows redirects to the same address only: a token must not wander, and a lazy load redirects to itself."""

    max_repeats = 2

    def redirect_request(self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str) -> Any:
        if newurl != req.full_url:
            return None
        return super().redirect_request(req, fp, code, msg, headers, newurl)


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
    """The URL as it can be asked and shown, and the password of the user in it: a token, as a browser would send it."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return url, ""  # whoever asks it says what is wrong
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl(), unquote(parts.password or "")


def ask(url: str, token: str = "", timeout_seconds: float = 5.0, headers: Mapping[str, str] | None = None) -> Answer:
    """The answer to a GET of this URL, with the token as bearer token where there is one.

    Raises:
        NoAnswerError: the URL is not HTTP, nobody answers, or not in time.
    """
    if not url.startswith(("http://", "https://")):
        raise NoAnswerError(f"{url}: begin the URL with http:// or https://")
    try:
        host = urlsplit(url).hostname or ""
    except ValueError as error:
        raise NoAnswerError(f"{url}: {error}") from error
    if not name_server_answers(host, min(_RESOLVING_SECONDS, timeout_seconds)):
        raise NoAnswerError(f"{url}: no name server answers for {host}")
    sent = {"User-Agent": USER_AGENT, "Accept": "application/json", **(headers or {})}
    if token:
        sent["Authorization"] = f"Bearer {token}"
    try:
        return call_within(timeout_seconds, _get, url, sent, timeout_seconds)
    except TimeoutError:
        raise NoAnswerError(f"{url}: no answer within {timeout_seconds:g} s") from None


def _get(url: str, sent: Mapping[str, str], timeout_seconds: float) -> Answer:
    try:
        with _opener.open(urllib.request.Request(url, headers=dict(sent)), timeout=timeout_seconds) as response:  # noqa: S310
            return Answer(response.status, dict(response.headers), response.read(MAX_BODY_BYTES))
    except urllib.error.HTTPError as error:
        with error:
            return Answer(error.code, dict(error.headers), error.read(MAX_BODY_BYTES))
    except ValueError:
        # The error may quote the token.
        raise NoAnswerError(f"{url}: the URL or the token has characters that cannot be sent") from None
    except (OSError, http.client.HTTPException) as error:
        reason = getattr(error, "reason", None) or error
        words = getattr(reason, "strerror", None) or str(reason) or type(reason).__name__
        server = "/".join(url.split("/", 3)[:3])
        raise NoAnswerError(f"{server} does not answer: {words}") from error
