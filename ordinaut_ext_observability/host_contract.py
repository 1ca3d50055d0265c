"""The types the host's extension loader exchanges with an extension.

Inside a host they are the host's own; elsewhere (the stand-in host, tools, tests) stand-ins of the same shape.
This module and `extension` are the only ones that know the host's package.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from fastapi import APIRouter, FastAPI

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


class Extension(Protocol):
    """What the loader calls, in this order."""

    def info(self) -> ExtensionInfo:
        """Who the extension is; its id must be the one it was found under."""

    def requested_capabilities(self) -> set[Capability]:
        """What it asks to be granted."""

    def setup(
        self,
        *,
        app: FastAPI,
        mount_path: str,
        tool_registry: Any,
        grants: set[Capability],
        context: dict[str, Any] | None = None,
    ) -> APIRouter | None:
        """Attach to the host; the router returned is mounted under the path."""

    async def on_startup(self, app: FastAPI) -> None:
        """May be called once or never."""

    async def on_shutdown(self, app: FastAPI) -> None:
        """May be called once or never."""


__all__ = ["Capability", "Extension", "ExtensionInfo"]
