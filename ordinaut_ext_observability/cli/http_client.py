"""One request, bounded in time and size, by the standard library: importing httpx is slow for a health check."""

from __future__ import annotations

import http.client
import json
import socket
from collections.abc import Callable
from contextlib import closing
from email.message import Message
from typing import Any, NamedTuple, TypeVar
from urllib.parse import unquote, urlsplit

from ordinaut_ext_observability.background.daemon_threads import call_within
from ordinaut_ext_observability.errors import ObservabilityError
from ordinaut_ext_observability.manifest import MOUNT_PATH

_MAX_BODY_BYTES = 4 * 1024 * 1024
_RESOLVING_SECONDS = 1.25
"""A command asks for few names, and is to end within seconds although no name server answers."""


FoundT = TypeVar("FoundT")


class NoAnswerError(ObservabilityError):
    """Nobody answered, or not what was asked for."""


class Answer(NamedTuple):
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

    def fields(self) -> dict[str, Any]:
        """The fields of the JSON object that the body is; empty where it is none."""
        body = self.json()
        return body if isinstance(body, dict) else {}


def name_server_answers(host: str, seconds: float = _RESOLVING_SECONDS) -> bool:
    """True where anybody says what address this host has, or that there is no such host."""
    try:
        call_within(seconds, socket.getaddrinfo, host, None)
    except (OSError, UnicodeError) as error:
        return not isinstance(error, TimeoutError)
    return True


def without_password(url: str) -> tuple[str, str]:
    """The URL without the user in it, and that user's password, a token. Raises NoAnswerError where it is no URL."""
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError as error:
        raise NoAnswerError(f"{url}: {error}") from error
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl(), unquote(parts.password or "")


def ask(
    url: str, token: str = "", timeout_seconds: float = 5.0, method: str = "GET", body: str = "", **headers: str
) -> Answer:
    """Send a request, the token as bearer token. Raises NoAnswerError: it is no HTTP URL, or nobody answers in time."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https"):
        raise NoAnswerError(f"{url}: begin the URL with http:// or https://")
    host = parts.hostname or ""
    if not name_server_answers(host, min(_RESOLVING_SECONDS, timeout_seconds)):
        raise NoAnswerError(f"{url}: no name server answers for {host}")
    target = parts._replace(scheme="", netloc="", path=parts.path or "/", fragment="").geturl()
    # Ordinaut's full host turns away requests without a user agent.
    sent = {"User-Agent": "ordinaut-observability", "Accept": "application/json", **headers}
    if token:
        sent["Authorization"] = f"Bearer {token}"

    def send() -> Answer:
        kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
        with closing(kind(host, parts.port, timeout=timeout_seconds)) as connection:
            connection.request(method, target, body.encode() or None, sent)
            response = connection.getresponse()
            return Answer(response.status, response.headers, response.read(_MAX_BODY_BYTES))

    try:
        answer = call_within(timeout_seconds, send)
        # A host that loads us with this request redirects to itself. To others a token must not wander.
        return call_within(timeout_seconds, send) if answer.headers.get("location") == url else answer
    except ValueError:
        # The error may quote the token.
        raise NoAnswerError(f"{url}: the URL or the token has characters that cannot be sent") from None
    except (OSError, http.client.HTTPException) as error:
        words = getattr(error, "strerror", None) or str(error) or f"nothing within {timeout_seconds:g} s"
        raise NoAnswerError(f"{parts.scheme}://{parts.netloc} does not answer: {words}") from error


def ask_at(url: str, path: str, subject: str, ask_one: Callable[[str], FoundT | None]) -> FoundT:
    """The answer from below the mount path of the service at this URL, or from its root, as on a management port.

    `ask_one` asks one URL of these; None: what answers there is not ours. Raises NoAnswerError where nothing else does.
    """
    base = url.rstrip("/").removesuffix(MOUNT_PATH)
    for mount in (MOUNT_PATH, ""):
        if (found := ask_one(f"{base}{mount}{path}")) is not None:
            return found
    raise NoAnswerError(
        f"{url} answers, but not {subject}.\n"
        f"Asked were {MOUNT_PATH}{path} and {path}. To see why: ordinaut-observability doctor --url {url}"
    )


def raise_refusal(answer: Answer, hint: str) -> None:
    """Raise NoAnswerError where the extension refuses, with its words, and the hint where it wants a token."""
    fields = answer.fields()
    if "request_id" in fields and "message" in fields:
        raise NoAnswerError(f"{fields['message']}{hint if answer.status_code == 401 else ''}")


def ask_service(url: str, token: str, method: str, path: str, body: Any = None, timeout_seconds: float = 5.0) -> Any:
    """The answer of the extension. Raises NoAnswerError with its words where it refuses, and where none comes."""
    url, password = without_password(url)
    url = f"{url.rstrip('/').removesuffix(MOUNT_PATH)}{MOUNT_PATH}{path}"
    content = "" if body is None else json.dumps(body)
    answer = ask(url, password or token, timeout_seconds, method, content, **{"Content-Type": "application/json"})
    said = answer.json()
    if answer.status_code != 200 or (said is None and answer.body):
        words = said.get("message") if isinstance(said, dict) else said
        raise NoAnswerError(str(words or f"{url}: it answers {answer.status_code}, but not as this extension does."))
    return said
