"""Types of settings as they are written in an environment: lists with commas, networks, JSON.

What a validator says goes on from the variable's name, and never repeats the value: it may be a secret.
"""

from __future__ import annotations

import fnmatch
import ipaddress
import json
import os
import re
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr

from ordinaut_ext_observability.postgresql.url import asyncpg_url
from ordinaut_ext_observability.scrub.text import mask_value
from ordinaut_ext_observability.settings.file import BUILT_IN_CHECKS

Network = ipaddress.IPv4Network | ipaddress.IPv6Network

EVERYWHERE: tuple[Network, ...] = (ipaddress.ip_network("0.0.0.0/0"), ipaddress.ip_network("::/0"))

_MAX_NETWORKS = 500
"""A client's address is looked for in one after the other."""
_MAX_PATTERNS = 100
_MAX_PATTERN_LENGTH = 200
"""Translating a pattern takes time with the square of its length, at worst."""
_LABEL = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?")
_MAX_HOST_NAME_LENGTH = 253
_TOKEN = re.compile(r"[\x20-\x7e]{16,1000}")
_INSTALLATION = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,63}")
"""It is a part of keys and of a file's name."""
_REDIS_SCHEMES = ("redis://", "rediss://", "unix://", "memory://", "disabled://")


def _split(value: object) -> object:
    """A list as comma-separated text."""
    if isinstance(value, str):
        return [part.strip() for part in value.split(",") if part.strip()]
    return value


def _upper(value: object) -> object:
    return value.upper() if isinstance(value, str) else value


def _networks(value: object) -> object:
    parts = _split(value)
    if parts == ["everywhere"]:  # as the documentation shows the default
        return EVERYWHERE
    if not isinstance(parts, list):
        return parts
    if len(parts) > _MAX_NETWORKS:
        raise ValueError(f"must have at most {_MAX_NETWORKS} entries")
    try:
        return tuple(ipaddress.ip_network(part, strict=False) for part in parts)
    except ValueError:
        raise ValueError("has an entry that is no address and no network") from None


def _json_object(value: object) -> object:
    if isinstance(value, str):
        try:
            return json.loads(value)
        except (ValueError, RecursionError):
            raise ValueError("is not a JSON object") from None
    return value


def _known_checks(names: tuple[str, ...]) -> tuple[str, ...]:
    if not set(names) <= set(BUILT_IN_CHECKS):
        raise ValueError("has an entry that is no built-in check")
    return names


def _ascending(bounds: tuple[float, ...]) -> tuple[float, ...]:
    if list(bounds) != sorted(set(bounds)):
        raise ValueError("must ascend")
    return bounds


def _patterns(patterns: tuple[str, ...]) -> tuple[str, ...]:
    if len(patterns) > _MAX_PATTERNS or any(len(pattern) > _MAX_PATTERN_LENGTH for pattern in patterns):
        raise ValueError(f"must have at most {_MAX_PATTERNS} patterns of at most {_MAX_PATTERN_LENGTH} characters")
    for pattern in patterns:
        try:
            re.compile(fnmatch.translate(pattern))
        except re.error:
            raise ValueError("has an entry that is no shell pattern") from None
    return patterns


def _path(path: str) -> str:
    if "://" in path:
        raise ValueError("is a URL where a path is expected")
    return path


def _directory(path: str) -> str:
    if not os.path.isdir(path):  # noqa: PTH112 - of a name that is too long, `Path` raises
        raise ValueError("is not a directory that exists")
    return path


def _host(host: str) -> str:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        if len(host) > _MAX_HOST_NAME_LENGTH or not all(map(_LABEL.fullmatch, host.removesuffix(".").split("."))):
            raise ValueError("is no address and no host name") from None
    return host


def _token(token: SecretStr) -> SecretStr:
    if _TOKEN.fullmatch(token.get_secret_value()) is None:
        raise ValueError("must have 16 to 1000 characters, all of them ASCII: clients can send no others")
    return token


def _postgresql_url(url: SecretStr) -> SecretStr:
    try:
        asyncpg_url(url.get_secret_value())
    except ValueError as error:
        raise ValueError(str(error).removeprefix("the database URL ")) from None
    return url


def _redis_url(url: SecretStr) -> SecretStr:
    text = url.get_secret_value()
    if not text.startswith(_REDIS_SCHEMES):
        raise ValueError(f"must begin with {', '.join(_REDIS_SCHEMES[:-1])} or {_REDIS_SCHEMES[-1]}")
    try:
        parts = urlsplit(text)
        # With an @ elsewhere, what looks like a host and a port is the beginning of a password.
        escaped = "@" not in f"{parts.path}{parts.query}{parts.fragment}" or parts.scheme == "unix"
        _ = parts.port if escaped else None
    except ValueError:
        raise ValueError("has a host or port that cannot be read") from None
    if not escaped:
        raise ValueError("cannot be read, a password's special characters need %-escapes")
    return url


def _store(text: str) -> str:
    kind, _, path = text.partition(":")
    if text not in ("redis", "memory") and (kind != "file" or not path.strip()):
        raise ValueError("must be redis, memory or file:PATH")
    return text


def _installation(name: str) -> str:
    if _INSTALLATION.fullmatch(name) is None:
        raise ValueError("must have 1 to 64 letters, digits, dots, hyphens or underscores")
    return name


ShownText = Annotated[str, AfterValidator(mask_value)]
"""Text that goes into labels and reports, and nowhere else."""
StoreText = Annotated[str, AfterValidator(_store)]
InstallationName = Annotated[str, AfterValidator(_installation)]
PathText = Annotated[str, AfterValidator(_path)]
DirectoryText = Annotated[str, AfterValidator(_path), AfterValidator(_directory)]
HostText = Annotated[str, AfterValidator(_host)]
Token = Annotated[SecretStr, AfterValidator(_token)]
PostgresqlUrl = Annotated[SecretStr, AfterValidator(_postgresql_url)]
RedisUrl = Annotated[SecretStr, AfterValidator(_redis_url)]
PathList = Annotated[tuple[PathText, ...], BeforeValidator(_split)]
PatternList = Annotated[tuple[str, ...], BeforeValidator(_split), AfterValidator(_patterns)]
LogLevel = Annotated[Literal["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"], BeforeValidator(_upper)]
NetworkList = Annotated[tuple[Network, ...], BeforeValidator(_networks)]
CheckNames = Annotated[tuple[str, ...], BeforeValidator(_split), AfterValidator(_known_checks)]
Limits = Annotated[dict[str, Annotated[int, Field(ge=1, le=100_000)]], BeforeValidator(_json_object)]
Bounds = Annotated[
    tuple[Annotated[float, Field(gt=0)], ...],
    BeforeValidator(_split),
    AfterValidator(_ascending),
]
