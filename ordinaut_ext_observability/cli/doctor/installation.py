"""What is installed: versions, the entry point, the host's package."""

from __future__ import annotations

import contextlib
import platform
import sys
import tomllib
from collections.abc import Iterator
from importlib.machinery import PathFinder
from importlib.metadata import entry_points, version
from importlib.util import find_spec
from pathlib import Path

from ordinaut_ext_observability.cli.doctor.findings import Finding, fact, problem
from ordinaut_ext_observability.manifest import ENTRY_POINT, EXTENSION_ID
from ordinaut_ext_observability.version import __version__

_LIBRARIES = ("fastapi", "starlette", "uvicorn", "prometheus_client", "pydantic")
_GROUP = "ordinaut.plugins"
INSTALL = (
    "Install this package into the environment that runs Ordinaut; its entry point takes the built-in's place.",
    "pip install ordinaut-ext-observability  # or its folder, or a wheel of it",
)
"""Remedy and line to paste where the host does not find us."""
_OUR_FOLDER = Path(__file__).resolve().parents[3]


def installation() -> Iterator[Finding]:
    """What this Python has."""
    yield fact(f"ordinaut-ext-observability {__version__}, Python {platform.python_version()}")
    yield fact(", ".join(f"{name} {version(name)}" for name in _LIBRARIES))
    values = [point.value for point in entry_points(group=_GROUP) if point.name == EXTENSION_ID]
    if ENTRY_POINT in values:
        yield fact(f"entry point {_GROUP}: {EXTENSION_ID} = {ENTRY_POINT}")
    else:
        found = ", ".join(values) or "none"
        yield problem(f"entry point {_GROUP} {EXTENSION_ID}: {found}, not {ENTRY_POINT}", *INSTALL)
    yield _observability_package()
    # Without importing it, which would start engines and print. The current folder is first, as it is for the host.
    spec = PathFinder.find_spec("ordinaut", ["", *sys.path])
    locations = spec.submodule_search_locations if spec is not None else None
    if not locations:
        yield fact("Ordinaut is not found: run doctor in the folder from which Ordinaut runs to have it examined")
        return
    yield _host(Path(next(iter(locations))).resolve().parent)
    yield _starlette(version("starlette"))


def _observability_package() -> Finding:
    spec = find_spec("observability")
    if spec is not None and spec.origin and Path(spec.origin).parent.parent == _OUR_FOLDER:
        return fact("the package observability that Ordinaut 2.2.2 imports is ours")
    found = spec.origin if spec is not None else "none is found"
    return problem(
        f"the package observability that Ordinaut 2.2.2 imports is not ours: {found}",
        "Remove the other one, or install this package again.",
    )


def _host(folder: Path) -> Finding:
    number = "of an unknown version"
    with contextlib.suppress(OSError, tomllib.TOMLDecodeError, LookupError, TypeError):
        number = tomllib.loads((folder / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
    has_built_in = (folder / "ordinaut" / "extensions" / EXTENSION_ID).is_dir()
    built_in = f"; its built-in extension {EXTENSION_ID} is replaced by ours" if has_built_in else ""
    return fact(f"Ordinaut {number} in {folder}{built_in}")


def _starlette(number: str) -> Finding:
    if number.startswith("0."):
        return fact(f"Ordinaut's loader works with starlette {number}")
    return problem(
        f"starlette {number} lacks what Ordinaut 2.2.2's loader calls (add_event_handler): extensions fail to load",
        "Install the versions Ordinaut pins.",
        'pip install "fastapi==0.112.2" "starlette<1"',
    )
