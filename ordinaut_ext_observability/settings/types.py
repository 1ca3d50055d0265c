"""Types of settings as they are written in an environment: lists with commas, networks, JSON.

What a validator says goes on from the variable's name, and never repeats the value: it may be a secret.
"""

from __future__ import annotations

import fnmatch
import ipaddress
import os
import re
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, Json, SecretStr

from ordinaut_ext_observability.postgresql.url import asyncpg_url
from ordinaut_ext_observability.scrub.text import mask_value
from ordinaut_ext_observability.settings.checks import BuiltInCheck

Network = ipaddress.IPv4Network | ipaddress.IPv6Network

EVERYWHERE: tuple[Network, ...] = (ipaddress.ip_network("0.0.0.0/0"), ipaddress.ip_network("::/0"))

_LABEL = r"[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?"
_HOST_NAME = re.compile(rf"(?=.{{1,254}}$){_LABEL}(?:\.{_LABEL})*\.?")


def _matching(pattern: str, problem: str) -> AfterValidator:
    """A validator of texts and secrets: the pattern matches the whole of them."""
    matches = re.compile(pattern, re.DOTALL | re.ASCII).fullmatch

    def validate(value: str | SecretStr) -> str | SecretStr:
        if not matches(value if isinstance(value, str) else value.get_secret_value()):
            raise ValueError(problem)
        return value

    return AfterValidator(validate)


def _split(value: Any) -> Any:
    return [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value


def _split_networks(value: Any) -> Any:
    return EVERYWHERE if value == "everywhere" else _split(value)  # as the documentation shows the default


def _network(value: Any) -> Network:
    try:
        return ipaddress.ip_network(value, strict=False)
    except ValueError:
        raise ValueError("is no address and no network") from None


def _ascending(bounds: tuple[float, ...]) -> tuple[float, ...]:
    if list(bounds) != sorted(set(bounds)):
        raise ValueError("must ascend")
    return bounds


def _pattern(pattern: str) -> str:
    try:
        re.compile(fnmatch.translate(pattern))
    except re.error:
        raise ValueError("is no shell pattern") from None
    return pattern


def _directory(path: str) -> str:
    if not os.path.isdir(path):  # noqa: PTH112 - of a name that is too long, `Path` raises
        raise ValueError("is not a directory that exists")
    return path


def _host(host: str) -> str:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        if not _HOST_NAME.fullmatch(host):
            raise ValueError("is no address and no host name") from None
    return host


def _postgresql_url(url: SecretStr) -> SecretStr:
    try:
        asyncpg_url(url.get_secret_value())
    except ValueError as error:
        raise ValueError(str(error).removeprefix("the database URL ")) from None
    return url


def _redis_url(url: SecretStr) -> SecretStr:
    try:
        parts = urlsplit(url.get_secret_value())
        # With an @ elsewhere, what looks like a host and a port is the beginning of a password.
        escaped = "@" not in f"{parts.path}{parts.query}{parts.fragment}" or parts.scheme == "unix"
        _ = parts.port if escaped else None
    except ValueError:
        raise ValueError("has a host or port that cannot be read") from None
    if not escaped:
        raise ValueError("cannot be read, a password's special characters need %-escapes")
    return url


ShownText = Annotated[str, AfterValidator(mask_value)]
"""Text that goes into labels and reports, and nowhere else."""
PathText = Annotated[str, _matching("(?!.*://).*", "is a URL where a path is expected")]
DirectoryText = Annotated[PathText, AfterValidator(_directory)]
PathList = Annotated[tuple[PathText, ...], BeforeValidator(_split)]
Pattern = Annotated[str, Field(max_length=200), AfterValidator(_pattern)]
"""Translating a pattern takes time with the square of its length, at worst."""
PatternList = Annotated[tuple[Pattern, ...], BeforeValidator(_split), Field(max_length=100)]
CheckNames = Annotated[tuple[BuiltInCheck, ...], BeforeValidator(_split)]
LogLevel = Annotated[
    Literal["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"], BeforeValidator(lambda value: str(value).upper())
]
Limits = Json[Annotated[dict[str, Annotated[int, Field(ge=1, le=100_000)]], Field(max_length=100)]]
Bounds = Annotated[tuple[Annotated[float, Field(gt=0)], ...], BeforeValidator(_split), AfterValidator(_ascending)]
HostText = Annotated[str, AfterValidator(_host)]
NetworkList = Annotated[
    tuple[Annotated[Network, BeforeValidator(_network)], ...], BeforeValidator(_split_networks), Field(max_length=500)
]
"""A client's address is looked for in one after the other."""
Token = Annotated[
    SecretStr,
    _matching("[ -~]{16,1000}", "must have 16 to 1000 characters, all of them ASCII: clients can send no others"),
]
PostgresqlUrl = Annotated[SecretStr, AfterValidator(_postgresql_url)]
RedisUrl = Annotated[
    SecretStr,
    _matching(
        "(rediss?|unix|memory|disabled)://.*", "must begin with redis://, rediss://, unix://, memory:// or disabled://"
    ),
    AfterValidator(_redis_url),
]
StoreText = Annotated[str, _matching(r"redis|memory|file:\s*\S.*", "must be redis, memory or file:PATH")]
InstallationName = Annotated[
    str, _matching(r"[\w-][\w.-]{0,63}", "must have 1 to 64 letters, digits, dots, hyphens or underscores")
]
"""It is a part of keys and of a file's name."""
