"""The extensions that a host finds; when two have the same id, the last one wins."""

from __future__ import annotations

import importlib.util
import json
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, Protocol

from fastapi import APIRouter, FastAPI

from ordinaut_ext_observability.host_contract import Capability, ExtensionInfo


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


@dataclass(frozen=True)
class ExtensionSpec:
    """An extension that was found; nothing of it has been imported yet."""

    id: str
    create: Callable[[], Extension]
    """Makes a new extension object; called once for each attempt to load."""
    eager: bool = False
    """Load while the app is created rather than at the first request."""
    grants: frozenset[Capability] = frozenset()
    """What the operator grants; empty means all that the extension requests."""
    source: str = "code"
    module: str = "<code>"


def found_extensions(environ: Mapping[str, str]) -> Iterator[ExtensionSpec]:
    """The extensions in the folders of `ORDINAUT_EXT_PATHS`, then those of entry points."""
    for folder in map(Path, filter(None, environ.get("ORDINAUT_EXT_PATHS", "").split(os.pathsep))):
        yield _in_folder(folder)
    grants, eager = _entry_point_settings(environ)
    for point in entry_points(group="ordinaut.plugins"):
        yield ExtensionSpec(
            point.name,
            lambda point=point: point.load()(),  # type: ignore[misc]
            eager=bool(eager.get(point.name, False)),
            grants=_capabilities(grants.get(point.name, [])),
            source="entry_point",
            module=point.value,
        )


def _in_folder(folder: Path) -> ExtensionSpec:
    manifest = json.loads((folder / "extension.json").read_text(encoding="utf-8"))
    # The manifest's "module" is required, yet the host always loads this one.
    module = folder / "extension.py"
    return ExtensionSpec(
        manifest["id"],
        partial(_create_from_file, module),
        eager=bool(manifest.get("eager", False)),
        grants=_capabilities(manifest.get("grants", [])),
        source="env_dir",
        module=str(module),
    )


def _capabilities(names: list[str]) -> frozenset[Capability]:
    return frozenset(Capability[name] for name in names if name in Capability.__members__)


def _entry_point_settings(environ: Mapping[str, str]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Grants and eagerness by id. Both or none, as in the host: grants that are no JSON discard the eagerness, too."""
    try:
        grants, eager = (json.loads(environ.get(f"ORDINAUT_EXT_ENTRY_{name}", "{}")) for name in ("GRANTS", "EAGER"))
    except ValueError:
        return {}, {}
    return (grants, eager) if isinstance(grants, dict) and isinstance(eager, dict) else ({}, {})


def _create_from_file(path: Path) -> Extension:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None:
        raise ImportError(f"{path} cannot be imported")
    module = importlib.util.module_from_spec(spec)
    # Under its stem, as in the host: modules of the same file name replace one another.
    sys.modules[path.stem] = module
    spec.loader.exec_module(module)
    extension: Extension = module.get_extension()
    return extension
