"""Mail, by SMTP: text and HTML. All mails on one group and receiver are one conversation."""

from __future__ import annotations

import html
from datetime import UTC, datetime
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime, parseaddr
from typing import TYPE_CHECKING, Final

from ordinaut_ext_observability.alerts.channels.base import TRY_SECONDS, ChannelContext
from ordinaut_ext_observability.alerts.channels.http import tls_context
from ordinaut_ext_observability.alerts.channels.message import Message, make_message
from ordinaut_ext_observability.alerts.notifications.deliveries import Delivery, DeliveryError
from ordinaut_ext_observability.alerts.routing.routes import Integration

if TYPE_CHECKING:
    import aiosmtplib

_COLOURS: Final = {"critical": "#c0392b", "error": "#c0392b", "warning": "#b9770e", "info": "#2471a3"}
_TLS_PORT: Final = 465


class EmailChannel:
    """Sends one mail for each notification, over a connection of its own."""

    def __init__(self, integration: Integration, context: ChannelContext) -> None:
        try:
            import aiosmtplib
        except ImportError:
            needs = "mail needs aiosmtplib: pip install 'ordinaut-ext-observability[email]'"
            raise DeliveryError(needs, permanent=True) from None
        self._options, self._context = integration.options, context
        self._errors = aiosmtplib.SMTPException
        self._client_class = aiosmtplib.SMTP

    async def send(self, delivery: Delivery) -> None:
        options = self._options
        mail = make_mail(delivery, make_message(delivery, self._context), options["from"], options["to"])
        try:
            async with self._client() as client:
                await client.send_message(mail)
        except self._errors as error:
            raise _delivery_error(error) from None
        except OSError as error:
            raise DeliveryError(f"the mail server cannot be reached: {type(error).__name__}") from None

    async def close(self) -> None:
        """Each mail closes its own connection."""

    def _client(self) -> aiosmtplib.SMTP:
        options = self._options
        host, _, port = options["smarthost"].rpartition(":")
        over_tls = int(port) == _TLS_PORT
        return self._client_class(
            hostname=host.strip("[]"),
            port=int(port),
            username=options.get("auth_username"),
            password=options.get("auth_password"),
            local_hostname=options.get("hello") or "localhost",  # else a name server is asked, and waited for
            timeout=TRY_SECONDS,
            use_tls=over_tls,
            start_tls=not over_tls and options.get("require_tls") is not False,
            tls_context=tls_context(options.get("tls_config") or {}),
        )


def make_mail(delivery: Delivery, message: Message, sender: str, to: str) -> EmailMessage:
    """The mail. A second try of a delivery has the same Message-ID."""
    domain = parseaddr(sender)[1].rpartition("@")[2] or "localhost"
    conversation = f"<{delivery.key}@{domain}>"
    mail = EmailMessage(policy=SMTP)
    headers = {
        "Subject": message.title,
        "From": sender,
        "To": to,
        "Date": format_datetime(datetime.fromtimestamp(delivery.now_ms / 1000, UTC)),
        "Message-ID": f"<{delivery.id}@{domain}>",
        "In-Reply-To": conversation,
        "References": conversation,
        "Auto-Submitted": "auto-generated",
    }
    for name, text in headers.items():
        mail[name] = " ".join(text.split())  # no line of a text becomes a header
    mail.set_content("\n".join((message.title, "", *message.lines, "")))
    mail.add_alternative(_html(message), subtype="html")
    return mail


def _html(message: Message) -> str:
    colour = "#1e8449" if message.resolved else _COLOURS[message.severity]
    parts = [f'<h2 style="color:{colour};margin:0 0 8px">{html.escape(message.title)}</h2>', _paragraph(message.note)]
    for alert in message.alerts:
        rows = {"What": alert.heading, "": alert.text, "Value": alert.value, "When": alert.when, "Labels": alert.labels}
        parts.append(_table(rows, colour))
    parts += [_paragraph(f"And {message.more} more." if message.more else ""), _table(message.facts, "#ccc")]
    links = (f'<a href="{html.escape(url)}">{html.escape(text)}</a>' for text, url in message.links.items())
    parts.append(f"<p>{' &middot; '.join(links)}</p>")
    return f'<html><body style="font-family:sans-serif;font-size:14px">{"".join(parts)}</body></html>'


def _paragraph(text: str) -> str:
    return f"<p>{html.escape(text)}</p>" if text else ""


def _table(rows: dict[str, str], colour: str) -> str:
    cells = "".join(
        f'<tr><td style="color:#666;padding-right:12px;white-space:nowrap" valign="top">{html.escape(name)}</td>'
        f"<td>{html.escape(text)}</td></tr>"
        for name, text in rows.items()
        if text
    )
    return (
        f'<table style="border-left:4px solid {colour};padding-left:8px;margin:8px 0">{cells}</table>' if cells else ""
    )


def _delivery_error(error: Exception) -> DeliveryError:
    """Why the server did not take it: its number and not its words, which may quote what was sent."""
    refused = getattr(error, "recipients", None)
    code = getattr(refused[0] if refused else error, "code", None)
    if code is None:
        return DeliveryError(f"the mail server cannot be reached: {type(error).__name__}")
    what = "refused the recipients" if refused else f"answered {code}"
    return DeliveryError(f"the mail server {what} ({type(error).__name__} {code})", permanent=code >= 500)
