"""The types the host's loader exchanges with an extension: the host's own, or elsewhere stand-ins of the same shape."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

try:
    from ordinaut.plugins.base import Capability, ExtensionInfo
except ImportError:
    Capability = Enum("Capability", "ROUTES TOOLS EVENTS_PUB EVENTS_SUB STATIC BACKGROUND_TASKS")  # type: ignore[no-redef]

    @dataclass(frozen=True)
    class ExtensionInfo:  # type: ignore[no-redef]
        """Who an extension is."""

        id: str
        name: str
        version: str
        description: str = ""


__all__ = ["Capability", "ExtensionInfo"]
