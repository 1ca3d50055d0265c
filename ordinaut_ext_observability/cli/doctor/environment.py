"""What is installed here, how the host's loader would load the extension, and our settings."""

from __future__ import annotations

import contextlib
import json
import platform
import sys
import tomllib
from collections.abc import Iterator, Mapping
from importlib.machinery import PathFinder
from importlib.metadata import entry_points, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from ordinaut_ext_observability.cli.doctor.findings import Finding, advice, fact, problem
from ordinaut_ext_observability.manifest import ENTRY_POINT, EXTENSION_ID
from ordinaut_ext_observability.scrub.text import mask_value
from ordinaut_ext_observability.settings.load import Settings, effective_values
from ordinaut_ext_observability.version import __version__

EAGER = "ORDINAUT_EXT_ENTRY_EAGER"
GRANTS = "ORDINAUT_EXT_ENTRY_GRANTS"
SCOPES = "ORDINAUT_REQUIRE_SCOPES"
PATHS = "ORDINAUT_EXT_PATHS"
VARIABLES = (EAGER, GRANTS, SCOPES, PATHS)

INSTALL = (
    "Install this package into the environment that runs Ordinaut; its entry point takes the built-in's place.",
    "pip install ordinaut-ext-observability  # or its folder, or a wheel of it",
)
"""Remedy and line to paste where the host does not find us."""

EAGER_LINE = f"export {EAGER}='{{\"{EXTENSION_ID}\": true}}'"

_LIBRARIES = ("fastapi", "starlette", "uvicorn", "prometheus_client", "pydantic")
_GROUP = "ordinaut.plugins"
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
    package = find_spec("observability")
    if package is not None and package.origin and Path(package.origin).parent.parent == _OUR_FOLDER:
        yield fact("the package observability that Ordinaut 2.2.2 imports is ours")
    else:
        yield problem(
            "the package observability that Ordinaut 2.2.2 imports is not ours: "
            f"{package.origin if package is not None else 'none is found'}",
            "Remove the other one, or install this package again.",
        )
    # Without importing it, which would start engines and print. The current folder is first, as it is for the host.
    host = PathFinder.find_spec("ordinaut", ["", *sys.path])
    if host is None or not host.submodule_search_locations:
        yield fact("Ordinaut is not found: run doctor in the folder from which Ordinaut runs to have it examined")
    else:
        yield from _host(Path(next(iter(host.submodule_search_locations))).resolve().parent)


def _host(folder: Path) -> Iterator[Finding]:
    number = "of an unknown version"
    with contextlib.suppress(OSError, tomllib.TOMLDecodeError, LookupError, TypeError):
        number = tomllib.loads((folder / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
    has_built_in = (folder / "ordinaut" / "extensions" / EXTENSION_ID).is_dir()
    built_in = f"; its built-in extension {EXTENSION_ID} is replaced by ours" if has_built_in else ""
    yield fact(f"Ordinaut {number} in {folder}{built_in}")
    starlette = f"starlette {version('starlette')}"
    if starlette.startswith("starlette 0."):
        yield fact(f"Ordinaut's loader works with {starlette}")
    else:
        yield problem(
            f"{starlette} lacks what Ordinaut 2.2.2's loader calls (add_event_handler): extensions fail to load",
            "Install the versions Ordinaut pins.",
            'pip install "fastapi==0.112.2" "starlette<1"',
        )


def loading(variables: Mapping[str, str], *, is_served: bool = False) -> Iterator[Finding]:
    """What the loader's variables lead to; `is_served`: the running host serves us already."""
    grants, eager = _json_object(variables, GRANTS), _json_object(variables, EAGER)
    for name, value, line in ((GRANTS, grants, f"unset {GRANTS}"), (EAGER, eager, EAGER_LINE)):
        if value is None:
            yield problem(
                f"{name}={mask_value(variables[name])!r} is not a JSON object: the host's loader then ignores both "
                f"{GRANTS} and {EAGER}",
                "Correct it, or unset it: an empty value is no JSON either.",
                line,
            )
    if grants is not None and eager is not None:
        granted = grants.get(EXTENSION_ID)
        if isinstance(granted, list) and granted and "ROUTES" not in granted:
            yield problem(
                f"{GRANTS} gives {EXTENSION_ID} grants without ROUTES: its endpoints are not mounted (404)",
                "Grant ROUTES, or leave the extension out: then it gets all it asks for.",
                f'export {GRANTS}=\'{{"{EXTENSION_ID}": ["ROUTES"]}}\'',
            )
        if eager.get(EXTENSION_ID):
            yield fact(f"{EAGER} loads the extension with the host: every request is measured")
        elif not is_served:  # else the running host says how it loaded us
            yield advice(
                f"{EAGER} does not name {EXTENSION_ID}: Ordinaut's lean host loads the extension with the first "
                f"request to /ext/{EXTENSION_ID}. Until then nothing is measured, and there is no /metrics at the "
                "root. (The full host loads it at its start by itself.)",
                "Load it with the host.",
                EAGER_LINE,
            )
    if variables.get(PATHS):
        yield fact(f"{PATHS} is set: where this package is installed, a folder of it in there does not count")
    if variables.get(SCOPES, "").lower() in ("1", "true", "yes"):
        yield advice(
            f"{SCOPES} is on: requests to /ext/{EXTENSION_ID} need the header X-Scopes",
            "Send it, or scrape /metrics at the root or the management port, which do not need it.",
            f"X-Scopes: ext:{EXTENSION_ID}:routes",
        )


def _json_object(variables: Mapping[str, str], name: str) -> dict[str, Any] | None:
    try:
        value = json.loads(variables.get(name, "{}"))
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def settings_in_effect(settings: Settings, *, has_token: bool) -> Iterator[Finding]:
    """The settings that are not the defaults, and the problems; `has_token`: an operator token was given by hand."""
    defaults = effective_values(Settings())
    changed = [f"{name}={value}" for name, value in effective_values(settings).items() if value != defaults[name]]
    yield fact(f"in effect: {', '.join(changed)}" if changed else "every setting has its default")
    if settings.general.disabled:
        yield advice("ORDINAUT_OBS_DISABLED is on: the extension does nothing", "", "unset ORDINAUT_OBS_DISABLED")
    if settings.access.operator_token is None and not has_token:
        yield advice(
            "ORDINAUT_OBS_OPERATOR_TOKEN is not set: the operator endpoints are off",
            "Set one to see the index, the settings in effect and what the checks say.",
            'export ORDINAUT_OBS_OPERATOR_TOKEN="$(openssl rand -hex 24)"',
        )
    yield from (problem(f"{one.variable}={one.value}: not used", one.problem) for one in settings.problems)
