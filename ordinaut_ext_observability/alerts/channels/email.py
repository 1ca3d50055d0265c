"""Mail, by SMTP: text and HTML. All mails on one group to one receiver are one conversation."""

from __future__ import annotations

import html
from datetime import UTC, datetime
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime, parseaddr

import aiosmtplib

from ordinaut_ext_observability.alerts.channels.base import TRY_SECONDS, Channel
from ordinaut_ext_observability.alerts.channels.http import tls_context
from ordinaut_ext_observability.alerts.channels.message import COLOURS, Message, make_message
from ordinaut_ext_observability.alerts.notifications.deliveries import Delivery, DeliveryError


class EmailChannel(Channel):
    """Sends one mail for each notification, over a connection of its own."""

    async def send(self, delivery: Delivery) -> None:
        options = self._options
        host, _, port = options["smarthost"].rpartition(":")
        over_tls = port == "465"
        try:
            await aiosmtplib.send(
                make_mail(delivery, make_message(delivery, self._context), options["from"], options["to"]),
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
        except (aiosmtplib.SMTPException, OSError) as error:
            # Its number and not its words, which may quote what was sent.
            code = getattr(getattr(error, "recipients", [error])[0], "code", 0)
            words = f"mail is not taken: {type(error).__name__} {code or ''}".strip()
            raise DeliveryError(words, permanent=code >= 500) from None


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
    shown = ["".join(f"{name}: {text}\n" for name, text in part.items()) for part in (*message.parts, message.links)]
    mail.set_content("\n".join((f"{message.title}\n", *shown)))
    mail.add_alternative(_html(message), subtype="html")
    return mail


def _html(message: Message) -> str:
    colour = COLOURS[message.status]
    parts = [
        f'<p style="border-left:4px solid {colour};padding-left:8px">'
        + "<br>".join(f"<b>{html.escape(name)}:</b> {html.escape(text)}" for name, text in part.items())
        for part in message.parts
    ]
    links = [f'<a href="{html.escape(url)}">{html.escape(text)}</a>' for text, url in message.links.items()]
    title = f'<h3 style="color:{colour}">{html.escape(message.title)}</h3>'
    return f'<body style="font:14px sans-serif">{title}{"".join(parts)}<p>{" &middot; ".join(links)}</body>'
