"""Types of settings as an environment holds them. What a validator says never repeats the value: it may be a secret."""

from __future__ import annotations

import fnmatch
import ipaddress
import os
import re
from collections.abc import Callable
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, Json, SecretStr

from ordinaut_ext_observability.postgresql.url import read_url
from ordinaut_ext_observability.scrub.text import mask_value
from ordinaut_ext_observability.settings.sections import BuiltInCheck

Network = ipaddress.IPv4Network | ipaddress.IPv6Network

EVERYWHERE: tuple[Network, ...] = (ipaddress.ip_network("0.0.0.0/0"), ipaddress.ip_network("::/0"))

_LABEL = r"[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?"
_HOST_NAME = re.compile(rf"(?=.{{1,254}}$){_LABEL}(?:\.{_LABEL})*\.?")


def _must(accept: Callable[[Any], object], problem: str) -> AfterValidator:
    """A validator that tells the problem of values that are not accepted; a ValueError is no acceptance either."""

    def validate(value: Any) -> Any:
        try:
            accepted = accept(value.get_secret_value() if isinstance(value, SecretStr) else value)
        except (ValueError, re.error):
            accepted = False
        if not accepted:
            raise ValueError(problem)
        return value

    return AfterValidator(validate)


def _like(pattern: str, problem: str) -> AfterValidator:
    return _must(lambda text: re.fullmatch(pattern, text, re.ASCII | re.DOTALL), problem)


def _split(value: Any) -> Any:
    return [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value


def _network(value: Any) -> Network:
    try:
        return ipaddress.ip_network(value, strict=False)
    except ValueError:
        raise ValueError("is no address and no network") from None


def _postgresql_url(url: SecretStr) -> SecretStr:
    try:
        read_url(url.get_secret_value())
    except ValueError as error:
        raise ValueError(str(error).removeprefix("the database URL ")) from None
    return url


def _is_escaped(url: str) -> bool:
    """With an @ elsewhere, what looks like a host and a port is the beginning of a password."""
    parts = urlsplit(url)
    return parts.scheme == "unix" or "@" not in f"{parts.path}{parts.query}{parts.fragment}"


def _is_time_zone(name: str) -> bool:
    from zoneinfo import ZoneInfo  # not while the host starts: few set one

    try:
        return bool(ZoneInfo(name))
    except (KeyError, OSError):
        return False


AlwaysTrue = Annotated[bool, _must(bool, "cannot be false")]
"""A switch that others know, and that cannot be switched here."""
ShownText = Annotated[str, AfterValidator(mask_value)]
"""Text that goes into labels and reports, and nowhere else."""
PathText = Annotated[str, _must(lambda path: "://" not in path, "is a URL where a path is expected")]
# Not `Path`, which raises where a name is too long.
DirectoryText = Annotated[PathText, _must(os.path.isdir, "is not a directory that exists")]
PathList = Annotated[tuple[PathText, ...], BeforeValidator(_split)]
Pattern = Annotated[
    str, Field(max_length=200), _must(lambda text: re.compile(fnmatch.translate(text)), "is no shell pattern")
]
"""Translating a pattern takes time with the square of its length, at worst."""
PatternList = Annotated[tuple[Pattern, ...], BeforeValidator(_split), Field(max_length=100)]
CheckNames = Annotated[tuple[BuiltInCheck, ...], BeforeValidator(_split)]
LogLevel = Annotated[
    Literal["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"], BeforeValidator(lambda value: str(value).upper())
]
LogStream = Literal["stderr", "stdout", "none"]
Limits = Json[Annotated[dict[str, Annotated[int, Field(ge=1, le=100_000)]], Field(max_length=100)]]
Bounds = Annotated[
    tuple[Annotated[float, Field(gt=0)], ...],
    Field(min_length=1, max_length=50),
    BeforeValidator(_split),
    _must(lambda bounds: list(bounds) == sorted(set(bounds)), "must ascend"),
]
HostText = Annotated[
    str, _must(lambda host: _HOST_NAME.fullmatch(host) or ipaddress.ip_address(host), "is no address and no host name")
]
NetworkList = Annotated[
    tuple[Annotated[Network, BeforeValidator(_network)], ...],
    BeforeValidator(lambda text: EVERYWHERE if text == "everywhere" else _split(text)),  # so it is shown
    Field(max_length=500),
]
"""A client's address is looked for in one after the other."""
Token = Annotated[SecretStr, _like(r"[\x20-\x7e]{16,1000}", "must have 16 to 1000 characters, all of them ASCII")]
PostgresqlUrl = Annotated[SecretStr, AfterValidator(_postgresql_url)]
RedisUrl = Annotated[
    SecretStr,
    _like(
        "(rediss?|unix|memory|disabled)://.*", "must begin with redis://, rediss://, unix://, memory:// or disabled://"
    ),
    _must(_is_escaped, "cannot be read, a password's special characters need %-escapes"),
    _must(lambda url: (urlsplit(url).port, True), "has a host or port that cannot be read"),
]
ExternalUrl = Annotated[
    str,
    _like(r"https?://[^\s/@?#]+(/[^\s@?#]*)?", "must begin with http:// or https://, and have no password, ? or #"),
    AfterValidator(lambda url: url.rstrip("/")),
]
StoreText = Annotated[str, _like(r"redis|memory|file:\s*\S.*", "must be redis, memory or file:PATH")]
InstallationName = Annotated[
    str, _like(r"[\w-][\w.-]{0,63}", "must have 1 to 64 letters, digits, dots, hyphens or underscores")
]
"""It is a part of keys and of a file's name."""
TextList = Annotated[tuple[str, ...], BeforeValidator(_split), Field(max_length=100)]
_IS_HTTP = _like(r"https?://[^\s/]+\S*", "must begin with http:// or https://")
HttpText = Annotated[str, _IS_HTTP]
HttpSecret = Annotated[SecretStr, _IS_HTTP]
"""A URL that is the key to what it names."""
HttpList = Annotated[tuple[HttpText, ...], BeforeValidator(_split), Field(max_length=20)]
SmtpUrl = Annotated[
    SecretStr,
    _like(r"smtps?://\S+", "must begin with smtp:// or smtps://"),
    _must(lambda url: urlsplit(url).hostname and (urlsplit(url).port, True), "has a host or port that cannot be read"),
]
BusinessHours = Annotated[
    str,
    _like(
        r"[a-z]+(:[a-z]+)? ([01]\d|2[0-3]):[0-5]\d-(([01]\d|2[0-3]):[0-5]\d|24:00)",
        "must be days and times such as monday:friday 09:00-17:00",
    ),
]
TimeZone = Annotated[str, _must(_is_time_zone, "is no time zone such as Europe/Berlin or UTC")]
