"""Handing over by HTTP: one client for each integration, and what an answer means.

Proxies and certificates are as httpx takes them from the environment, unless the integration names others.
"""

from __future__ import annotations

import contextlib
import math
import re
import ssl
from collections.abc import Mapping
from datetime import UTC
from email.utils import parsedate_to_datetime
from functools import lru_cache
from typing import Any, Final

import httpx

from ordinaut_ext_observability.alerts.channels.base import TRY_SECONDS, Channel, ChannelContext
from ordinaut_ext_observability.alerts.notifications.deliveries import DeliveryError
from ordinaut_ext_observability.alerts.routing.routes import Integration
from ordinaut_ext_observability.background.clock import wall_seconds
from ordinaut_ext_observability.version import __version__

_LONGEST_WAIT_SECONDS: Final = 3600.0
"""A receiver that asks to wait for longer is asked again after an hour: the page still matters."""
_MAX_ANSWER_BYTES: Final = 64 * 1024


class HttpChannel(Channel):
    """Base of the channels by HTTP: posts to one receiver."""

    expected = ""
    """The answer; any other is a failure. Empty: any will do."""
    rest_seconds: float | None = None
    """The wait after 429 where the receiver names none."""

    def __init__(self, integration: Integration, context: ChannelContext) -> None:
        """`http_config` is as in `alerts/routing/schema.py`. Raises `DeliveryError` for a missing certificate."""
        super().__init__(integration, context)
        config = self._options.get("http_config") or {}
        headers = {"User-Agent": f"ordinaut-observability/{__version__}"}
        auth = None
        if (basic := config.get("basic_auth")) is not None:
            auth = httpx.BasicAuth(basic["username"], basic.get("password") or "")
        if (given := config.get("authorization")) is not None:
            headers["Authorization"] = f"{given['type']} {given.get('credentials') or ''}"
        self._client = httpx.AsyncClient(
            auth=auth,
            headers=headers,
            timeout=TRY_SECONDS,
            follow_redirects=config.get("follow_redirects", True),
            proxy=config.get("proxy_url"),
            verify=tls_context(config.get("tls_config") or {}),
        )

    async def post(self, url: str, body: bytes, headers: Mapping[str, str] | None = None) -> None:
        """Post JSON. Raises `DeliveryError`: temporary for no answer, 5xx and 429.

        The error names the status, an answer of one word, and never the URL, which may be a secret.
        """
        sent = {"Content-Type": "application/json", **(headers or {})}
        try:
            request = self._client.build_request("POST", url, content=body, headers=sent)
            request.url = _UnnamedUrl(request.url)
            async with contextlib.aclosing(await self._client.send(request, stream=True)) as response:
                text = await _beginning(response)
        except httpx.TimeoutException:
            raise DeliveryError(f"no answer within {TRY_SECONDS:g} s") from None
        except (httpx.InvalidURL, httpx.UnsupportedProtocol):
            raise DeliveryError("the URL cannot be read", permanent=True) from None
        except (httpx.HTTPError, OSError) as error:
            raise DeliveryError(f"the receiver cannot be reached: {type(error).__name__}") from None
        status, text = response.status_code, text.strip()
        if status < 300 and self.expected in ("", text):
            return
        wait = _retry_after(response)
        if status == 429 and wait is None:
            wait = self.rest_seconds
        said = f": {text}" if re.fullmatch(r"[a-z_]{1,60}", text) else ""
        temporary = status >= 500 or status == 429
        raise DeliveryError(f"the receiver answered {status}{said}", permanent=not temporary, retry_after_seconds=wait)

    async def close(self) -> None:
        """Close connections."""
        await self._client.aclose()


class _UnnamedUrl(httpx.URL):
    """Shown without what may be the key to it: httpx logs every URL."""

    def __str__(self) -> str:
        return f"{self.scheme}://{self.host}"


def tls_context(config: Mapping[str, Any]) -> ssl.SSLContext:
    """The certificates that a `tls_config` names, else the usual ones. Raises `DeliveryError`."""
    if not any(config.get(name) for name in ("ca_file", "cert_file", "insecure_skip_verify")):
        return _usual_tls()
    try:
        context = ssl.create_default_context(cafile=config.get("ca_file"))
        if config.get("cert_file"):
            context.load_cert_chain(config["cert_file"], config.get("key_file"))
    except (OSError, ssl.SSLError) as error:
        raise DeliveryError(f"a certificate cannot be read: {type(error).__name__}", permanent=True) from None
    if config.get("insecure_skip_verify"):
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


@lru_cache(1)
def _usual_tls() -> ssl.SSLContext:
    """One for all receivers, as httpx makes it: to read the certificates takes longer than to send."""
    return httpx.create_ssl_context()


async def _beginning(response: httpx.Response) -> str:
    read = b""
    async for piece in response.aiter_bytes():
        read += piece
        if len(read) > _MAX_ANSWER_BYTES:
            break
    return read[:_MAX_ANSWER_BYTES].decode("utf-8", "replace")


def _retry_after(response: httpx.Response) -> float | None:
    """The seconds that the receiver asks to wait: a number, or an instant as in HTTP."""
    text = response.headers.get("Retry-After", "")
    try:
        seconds = float(text)
    except ValueError:
        try:
            at = parsedate_to_datetime(text)
        except (TypeError, ValueError):
            return None
        seconds = at.replace(tzinfo=at.tzinfo or UTC).timestamp() - wall_seconds()
    return None if math.isnan(seconds) else min(max(seconds, 0.0), _LONGEST_WAIT_SECONDS)
