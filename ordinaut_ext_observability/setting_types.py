"""The types of settings as they are written in an environment: lists with commas, networks, JSON."""

from __future__ import annotations

import ipaddress
import json
from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, Field
from pydantic_settings import NoDecode

from ordinaut_ext_observability.config_file import BUILT_IN_CHECKS

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


def _split(value: object) -> object:
    """A list as comma-separated text."""
    if isinstance(value, str):
        return [part.strip() for part in value.split(",") if part.strip()]
    return value


def _upper(value: object) -> object:
    return value.upper() if isinstance(value, str) else value


def _networks(value: object) -> object:
    parts = _split(value)
    if isinstance(parts, list):
        return tuple(ipaddress.ip_network(part, strict=False) for part in parts)
    return parts


def _json_object(value: object) -> object:
    if isinstance(value, str):
        try:
            return json.loads(value)
        except ValueError as error:
            raise ValueError("not a JSON object") from error
    return value


def _known_checks(names: tuple[str, ...]) -> tuple[str, ...]:
    unknown = sorted(set(names) - set(BUILT_IN_CHECKS))
    if unknown:
        raise ValueError(f"no such check: {', '.join(unknown)}")
    return names


def _ascending(bounds: tuple[float, ...]) -> tuple[float, ...]:
    if list(bounds) != sorted(set(bounds)):
        raise ValueError("bounds must ascend")
    return bounds


TextList = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_split)]
LogLevel = Annotated[Literal["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"], BeforeValidator(_upper)]
NetworkList = Annotated[tuple[Network, ...], NoDecode, BeforeValidator(_networks)]
CheckNames = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_split), AfterValidator(_known_checks)]
Limits = Annotated[dict[str, Annotated[int, Field(ge=1, le=100_000)]], NoDecode, BeforeValidator(_json_object)]
Bounds = Annotated[
    tuple[Annotated[float, Field(gt=0, allow_inf_nan=False)], ...],
    NoDecode,
    BeforeValidator(_split),
    AfterValidator(_ascending),
]

EVERYWHERE: tuple[Network, ...] = (ipaddress.ip_network("0.0.0.0/0"), ipaddress.ip_network("::/0"))
