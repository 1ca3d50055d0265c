"""What is installed: versions, the entry point, the host's package."""

from __future__ import annotations

import platform
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, entry_points, version
from importlib.util import find_spec
from pathlib import Path

from ordinaut_ext_observability.cli.doctor.findings import Finding, Kind, fact
from ordinaut_ext_observability.manifest import ENTRY_POINT, EXTENSION_ID
from ordinaut_ext_observability.version import __version__

_LIBRARIES = ("fastapi", "starlette", "uvicorn", "prometheus_client", "pydantic")
_GROUP = "ordinaut.plugins"


def installation() -> Iterator[Finding]:
    """What this Python has."""
    yield fact(f"ordinaut-ext-observability {__version__}, Python {platform.python_version()}")
    yield fact(", ".join(f"{name} {_version(name)}" for name in _LIBRARIES))
    yield _starlette()
    yield _entry_point()
    yield _host_package()


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed"


def _starlette() -> Finding:
    starlette = _version("starlette")
    if starlette.split(".")[0] == "0" or find_spec("ordinaut") is None:
        return fact("the libraries are ones that Ordinaut's loader works with")
    return Finding(
        Kind.PROBLEM,
        f"starlette {starlette} lacks what Ordinaut 2.2.2's loader calls (add_event_handler): extensions fail to load",
        "Install the versions Ordinaut pins.",
        'pip install "fastapi==0.112.2" "starlette<1"',
    )


def _entry_point() -> Finding:
    found = [point for point in entry_points(group=_GROUP) if point.name == EXTENSION_ID]
    if any(point.value == ENTRY_POINT for point in found):
        return fact(f"entry point {_GROUP}: {EXTENSION_ID} = {ENTRY_POINT}; it takes the place of the built-in one")
    values = ", ".join(point.value for point in found) or "none"
    return Finding(
        Kind.PROBLEM,
        f"entry point {_GROUP} {EXTENSION_ID}: {values}, not {ENTRY_POINT}",
        "Install this package into the environment that runs Ordinaut.",
        "pip install ordinaut-ext-observability",
    )


def _host_package() -> Finding:
    """Found without importing it: an import would start engines and print."""
    spec = find_spec("ordinaut")
    if spec is None or not spec.submodule_search_locations:
        return fact("the package ordinaut is not importable from here (run this where Ordinaut runs, in its folder)")
    root = Path(next(iter(spec.submodule_search_locations)))
    built_in = root / "extensions" / EXTENSION_ID
    text = f"Ordinaut at {root.parent}"
    return fact(f"{text}; its built-in extension {EXTENSION_ID} gives way to ours" if built_in.is_dir() else text)
