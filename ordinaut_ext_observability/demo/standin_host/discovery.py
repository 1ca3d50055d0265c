"""Where extensions are found, and which one wins when two have the same id."""

from __future__ import annotations

import importlib.util
import json
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any

from ordinaut_ext_observability.host_contract import Capability, Extension

ENTRY_POINT_GROUP = "ordinaut.plugins"
_MANIFEST = "extension.json"
_MODULE = "extension.py"


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
    root: str = "<code>"
    module: str = "<code>"


def discover(environ: Mapping[str, str], extra_specs: Iterable[ExtensionSpec] = ()) -> dict[str, ExtensionSpec]:
    """The specs by id: paths, then entry points, then the given ones; the last with an id wins.

    Raises for a manifest that is not JSON, lacks a required key or names an unknown capability.
    """
    found: dict[str, ExtensionSpec] = {}
    for specs in (_in_paths(environ), _in_entry_points(environ), extra_specs):
        for spec in specs:
            found[spec.id] = spec
    return found


def _in_paths(environ: Mapping[str, str]) -> Iterator[ExtensionSpec]:
    for part in environ.get("ORDINAUT_EXT_PATHS", "").split(os.pathsep):
        path = Path(part)
        if not part:
            continue
        if path.is_file() and path.suffix == ".py":
            create = partial(_create_from_file, path)
            yield ExtensionSpec(path.stem, create, source="env_file", root=str(path.parent), module=str(path))
        elif (path / _MANIFEST).is_file() and (path / _MODULE).is_file():
            yield from _in_directory(path)


def _in_directory(directory: Path) -> Iterator[ExtensionSpec]:
    manifest = json.loads((directory / _MANIFEST).read_text(encoding="utf-8"))
    missing = [key for key in ("id", "name", "version", "module") if key not in manifest]
    if missing:
        message = f"{directory / _MANIFEST} lacks {', '.join(missing)}"
        raise ValueError(message)
    if not manifest.get("enabled", True):
        return
    # The manifest's "module" is required, yet the host always loads this one.
    path = directory / _MODULE
    yield ExtensionSpec(
        id=manifest["id"],
        create=partial(_create_from_file, path),
        eager=bool(manifest.get("eager", False)),
        grants=frozenset(Capability[name] for name in manifest.get("grants", [])),
        source="env_dir",
        root=str(directory),
        module=str(path),
    )


def _in_entry_points(environ: Mapping[str, str]) -> Iterator[ExtensionSpec]:
    # JSON of another shape than the documented one ends the search without a word, as in the host.
    with suppress(AttributeError, TypeError):
        yield from _configured_entry_points(environ)


def _configured_entry_points(environ: Mapping[str, str]) -> Iterator[ExtensionSpec]:
    grants, eager = _entry_point_settings(environ)
    for entry_point in entry_points(group=ENTRY_POINT_GROUP):
        plugin_id = entry_point.name.replace(" ", "_")
        names = grants.get(plugin_id, [])
        yield ExtensionSpec(
            id=plugin_id,
            create=partial(_create_from_entry_point, entry_point),
            eager=bool(eager.get(plugin_id, False)),
            grants=frozenset(Capability[name] for name in names if name in Capability.__members__),
            source="entry_point",
            root="<entrypoint>",
            module=entry_point.value,
        )


def _entry_point_settings(environ: Mapping[str, str]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The grants and the eagerness by id, as far as they could be read."""
    grants: dict[str, Any] = {}
    eager: dict[str, Any] = {}
    # One block for both, as in the host: grants that are not JSON (or empty) silently discard the eagerness too.
    try:
        grants = json.loads(environ.get("ORDINAUT_EXT_ENTRY_GRANTS", "{}"))
        eager = json.loads(environ.get("ORDINAUT_EXT_ENTRY_EAGER", "{}"))
    except ValueError:
        pass
    return grants, eager


def _create_from_file(path: Path) -> Extension:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None:
        message = f"{path} cannot be imported"
        raise ImportError(message)
    module = importlib.util.module_from_spec(spec)
    # Under its stem, as in the host: modules of the same file name replace one another.
    sys.modules[path.stem] = module
    spec.loader.exec_module(module)
    extension: Extension = module.get_extension()
    return extension


def _create_from_entry_point(entry_point: EntryPoint) -> Extension:
    extension: Extension = entry_point.load()()
    return extension
