"""What is installed: versions, the entry point, the host's package."""

from __future__ import annotations

import platform
import sys
import tomllib
from collections.abc import Iterator
from importlib.machinery import PathFinder
from importlib.metadata import PackageNotFoundError, entry_points, version
from importlib.util import find_spec
from pathlib import Path

from ordinaut_ext_observability.cli.doctor.findings import Finding, Kind, fact
from ordinaut_ext_observability.manifest import ENTRY_POINT, EXTENSION_ID
from ordinaut_ext_observability.version import __version__

_LIBRARIES = ("fastapi", "starlette", "uvicorn", "prometheus_client", "pydantic")
_GROUP = "ordinaut.plugins"
_OUR_FOLDER = Path(__file__).resolve().parents[3]


def installation() -> Iterator[Finding]:
    """What this Python has."""
    yield fact(f"ordinaut-ext-observability {__version__}, Python {platform.python_version()}")
    yield fact(", ".join(f"{name} {_version(name)}" for name in _LIBRARIES))
    yield _entry_point()
    yield _observability_package()
    host = _find_host()
    if host is None:
        yield fact("Ordinaut is not found: run doctor in the folder from which Ordinaut runs to have it examined")
        return
    yield _host_package(host)
    yield _starlette()


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed"


def _starlette() -> Finding:
    starlette = _version("starlette")
    if starlette.split(".")[0] == "0":
        return fact(f"Ordinaut's loader works with starlette {starlette}")
    return Finding(
        Kind.PROBLEM,
        f"starlette {starlette} lacks what Ordinaut 2.2.2's loader calls (add_event_handler): extensions fail to load",
        "Install the versions Ordinaut pins.",
        'pip install "fastapi==0.112.2" "starlette<1"',
    )


def _entry_point() -> Finding:
    found = [point for point in entry_points(group=_GROUP) if point.name == EXTENSION_ID]
    if any(point.value == ENTRY_POINT for point in found):
        return fact(f"entry point {_GROUP}: {EXTENSION_ID} = {ENTRY_POINT}")
    values = ", ".join(point.value for point in found) or "none"
    return Finding(
        Kind.PROBLEM,
        f"entry point {_GROUP} {EXTENSION_ID}: {values}, not {ENTRY_POINT}",
        "Install this package into the environment that runs Ordinaut.",
        "pip install ordinaut-ext-observability  # or its folder, or a wheel of it",
    )


def _observability_package() -> Finding:
    spec = find_spec("observability")
    if spec is not None and spec.origin and Path(spec.origin).parent.parent == _OUR_FOLDER:
        return fact("the package observability that Ordinaut 2.2.2 imports is ours")
    found = spec.origin if spec is not None else "none is found"
    return Finding(
        Kind.PROBLEM,
        f"the package observability that Ordinaut 2.2.2 imports is not ours: {found}",
        "Remove the other one, or install this package again.",
    )


def _find_host() -> Path | None:
    """The folder from which Ordinaut runs: the current one, or one on Python's path.

    Found without importing it: an import would start engines and print.
    """
    spec = PathFinder.find_spec("ordinaut", ["", *sys.path])
    locations = spec.submodule_search_locations if spec is not None else None
    return Path(next(iter(locations))).resolve().parent if locations else None


def _host_package(host: Path) -> Finding:
    try:
        project = tomllib.loads((host / "pyproject.toml").read_text(encoding="utf-8")).get("project", {})
        version_text = f"Ordinaut {project.get('version', 'of an unknown version')}"
    except (OSError, tomllib.TOMLDecodeError, AttributeError):
        version_text = "Ordinaut of an unknown version"
    has_built_in = (host / "ordinaut" / "extensions" / EXTENSION_ID).is_dir()
    built_in = f"; its built-in extension {EXTENSION_ID} is replaced by ours" if has_built_in else ""
    return fact(f"{version_text} in {host}{built_in}")
