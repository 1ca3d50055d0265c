"""Texts and values without the secrets they tend to hold: in URLs, `password=…`, `Authorization: …`."""

from __future__ import annotations

import re
from typing import Any

from ordinaut_ext_observability.scrub.plain_values import plain_value

MAX_TEXT_LENGTH = 300
_MAX_INPUT = 4000

MASK = "[masked]"

# Matching takes linear time: what may repeat ends only where it cannot go on, or is bounded.
_URL = re.compile(r"(?<=://)[^\s'\"<>]+")
# Elsewhere a question mark may stand for any character, as in shell patterns.
_QUERY = re.compile(r"(?<=\?)(?=[^\s'\"<>?=]*=)[^\s'\"<>]+")
_SECRET_NAME = (
    r"(?:pass(?:word|wd|phrase)?(?![a-z])|pwd|secret|token|(?:api|access|account|private|secret|signing)[_-]?key"  # noqa: S105
    r"|credential|signature|(?<![a-z])(?:dsn|auth|jwt)(?![a-z]))"
)
_WHOLE_LINE_NAME = r"(?:authorization|cookie)"
_ASSIGNED = r"[\w-]{0,30}[\"']?\s{0,20}[=:]\s{0,20}"
_QUOTED = r"[bu]?\"(?:[^\"\\]|\\.)*\"?|[bu]?'(?:[^'\\]|\\.)*'?"
_PAIR = re.compile(rf"({_SECRET_NAME}{_ASSIGNED})(?:{_QUOTED}|\[masked\]|[^\s,;&}}\]]+)", re.IGNORECASE | re.DOTALL)
_LINE = re.compile(
    rf"({_WHOLE_LINE_NAME}{_ASSIGNED}(?:(?:bearer|basic)\s{{1,3}})?)(?:{_QUOTED}|[^\r\n]+)", re.IGNORECASE | re.DOTALL
)
_SCHEME = re.compile(r"\b(bearer|basic)\s{1,3}[A-Za-z0-9._~+/=-]{8,}", re.IGNORECASE)
_BARE_TOKEN = re.compile(
    r"\beyJ[\w-]{8,}\.[\w-]{8,}(?:\.[\w-]*)?|\bgh[pousr]_\w{16,}|\bsk-[\w-]{16,}|\bAKIA[0-9A-Z]{12,}|\bxox[abeprs]-[\w-]{8,}"
    r"|(?<=hooks\.slack\.com/services/)[\w/-]+|(?<=api\.telegram\.org/bot)[\w:-]+"
)
_BARE_USER_INFO = re.compile(r"\b(?!mailto:)[\w.+-]{1,64}:[^\s@/:]{1,200}@(?=[\w.-])")
SECRET_KEY = re.compile(rf"{_SECRET_NAME}|{_WHOLE_LINE_NAME}", re.IGNORECASE)


def mask_text(text: str) -> str:
    """The text cut to `MAX_TEXT_LENGTH`, its secrets masked."""
    if len(text) > _MAX_INPUT:
        # A word that was cut in the middle could hold half a secret that no pattern knows.
        whole, space, cut = text[:_MAX_INPUT].rpartition(" ")
        text = text[:_MAX_INPUT] if cut.isalnum() else f"{whole}{space}…"
    # Names first: what is quoted under one may hold what looks like a URL.
    text = _LINE.sub(rf"\1{MASK}", text)
    text = _PAIR.sub(rf"\1{MASK}", text)
    text = _SCHEME.sub(rf"\1 {MASK}", text)
    text = _URL.sub(_mask_url, text)
    text = _QUERY.sub(MASK, text)
    text = _BARE_TOKEN.sub(MASK, text)
    text = _BARE_USER_INFO.sub(f"{MASK}@", text)
    text = text.encode("utf-8", "backslashreplace").decode()
    return text if len(text) <= MAX_TEXT_LENGTH else f"{text[:MAX_TEXT_LENGTH]}…"


def mask_value(text: str) -> str:
    """One value of a setting, masked, on one line. In a URL everything before the last @ may be a password."""
    before, separator, after = text.partition("://")
    _, at, host = after.rpartition("@")
    if at:
        text = f"{before}{separator}{MASK}@{host}"
    return "".join(character if character.isprintable() else ascii(character)[1:-1] for character in mask_text(text))


def _mask_url(match: re.Match[str]) -> str:
    """Mask the password and the query of a URL. A password may hold any character, so the last @ ends it."""
    _, at, rest = match[0].rpartition("@")
    place, mark, query = rest.partition("?")
    return f"{f'{MASK}@' if at else ''}{place}{mark}{MASK if query else ''}"


def mask_details(value: Any) -> Any:
    """The value as plain JSON, bounded, the texts in it masked, and whatever stands under a secret's name."""
    return _mask(plain_value(value))


def _mask(value: Any) -> Any:
    if isinstance(value, dict):
        return {
            (masked := mask_text(name)): MASK if SECRET_KEY.search(masked) else _mask(item)
            for name, item in value.items()
        }
    if isinstance(value, list):
        is_pair = len(value) == 2 and isinstance(value[0], str) and SECRET_KEY.search(value[0])
        return [mask_text(value[0]), MASK] if is_pair else [_mask(item) for item in value]
    return mask_text(value) if isinstance(value, str) else value
