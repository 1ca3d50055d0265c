"""The host's table of tools, as extensions fill and read it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


class ToolRegistry:
    """Tools by name. Frozen once the eager extensions are loaded."""

    def __init__(self) -> None:
        self._tools: dict[str, dict[str, Any]] = {}
        self._frozen = False

    def add(self, name: str, tool: dict[str, Any]) -> None:
        """Raises RuntimeError once frozen, ValueError for a name that is taken."""
        if self._frozen:
            message = "The tool registry is frozen"
            raise RuntimeError(message)
        if name in self._tools:
            message = f"There is already a tool named {name}"
            raise ValueError(message)
        self._tools[name] = tool

    def freeze(self) -> None:
        """Accept no further tools."""
        self._frozen = True

    def get(self, name: str) -> dict[str, Any]:
        """Raises KeyError for an unknown tool."""
        return self._tools[name]

    def list(self) -> dict[str, dict[str, Any]]:
        """What may be published of each tool."""
        return {name: {"description": tool["description"]} for name, tool in self._tools.items()}


class ToolView:
    """Reads the tools: what an extension without the TOOLS grant gets."""

    def __init__(self, registry: ToolRegistry) -> None:
        self._registry = registry

    def get(self, name: str) -> dict[str, Any]:
        """Raises KeyError for an unknown tool."""
        return self._registry.get(name)

    def list(self) -> dict[str, dict[str, Any]]:
        """What may be published of each tool."""
        return self._registry.list()


class ToolRegistrar:
    """Adds tools whose names start with `ext.<id>.`."""

    def __init__(self, registry: ToolRegistry, plugin_id: str) -> None:
        self._registry = registry
        self._prefix = f"ext.{plugin_id}."

    def register(
        self,
        name: str,
        func: Callable[..., Any],
        *,
        input_schema: dict[str, Any] | None = None,
        output_schema: dict[str, Any] | None = None,
        description: str | None = None,
    ) -> None:
        """Raises ValueError for a foreign or taken name, RuntimeError once the registry is frozen."""
        if not name.startswith(self._prefix):
            message = f"A tool of this extension must be named {self._prefix}..."
            raise ValueError(message)
        tool = {
            "func": func,
            "input_schema": input_schema or {},
            "output_schema": output_schema or {},
            "description": description or "",
        }
        self._registry.add(name, tool)
