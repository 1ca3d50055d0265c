"""The types the host's extension loader exchanges with an extension.

Inside a host they are the host's own; elsewhere (the stand-in host, tools, tests) stand-ins of the same shape.
This module and `extension` are the only ones that know the host's package.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto

try:
    from ordinaut.plugins.base import Capability, ExtensionInfo
except ImportError:

    class Capability(Enum):  # type: ignore[no-redef]
        """What an extension may be granted."""

        ROUTES = auto()
        TOOLS = auto()
        EVENTS_PUB = auto()
        EVENTS_SUB = auto()
        STATIC = auto()
        BACKGROUND_TASKS = auto()

    @dataclass(frozen=True)
    class ExtensionInfo:  # type: ignore[no-redef]
        """Who an extension is."""

        id: str
        name: str
        version: str
        description: str = ""


__all__ = ["Capability", "ExtensionInfo"]
