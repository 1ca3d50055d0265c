"""Asking a service a question: one GET, bounded in time and size, whatever the answer."""

from __future__ import annotations

import http.client
import json
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

MAX_BODY_BYTES = 4 * 1024 * 1024
USER_AGENT = "ordinaut-observability"  # Ordinaut's full host turns away requests without any


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


def ask(url: str, token: str = "", timeout_seconds: float = 5.0, headers: Mapping[str, str] | None = None) -> Answer:
    """The answer to a GET of this URL, with the token as bearer token where there is one.

    Raises:
        NoAnswerError: the URL is not HTTP, nobody answers, or not in time.
    """
    if not url.startswith(("http://", "https://")):
        raise NoAnswerError(f"{url}: begin the URL with http:// or https://")
    sent = {"User-Agent": USER_AGENT, "Accept": "application/json", **(headers or {})}
    if token:
        sent["Authorization"] = f"Bearer {token}"
    try:
        with _opener.open(urllib.request.Request(url, headers=sent), timeout=timeout_seconds) as response:  # noqa: S310
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
