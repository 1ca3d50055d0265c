"""Findings about this installation, and where the environment leads: loading, settings, the store of the processes."""

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
from urllib.parse import urlsplit

from ordinaut_ext_observability.background.clock import Clock
from ordinaut_ext_observability.cli.doctor.findings import Finding, advice, fact, problem
from ordinaut_ext_observability.cli.http_client import name_server_answers
from ordinaut_ext_observability.cluster.base import ClusterUnavailableError
from ordinaut_ext_observability.manifest import ENTRY_POINT, EXTENSION_ID
from ordinaut_ext_observability.metrics.declarations.system import CollectorMetrics
from ordinaut_ext_observability.relay.exchange import read_entry
from ordinaut_ext_observability.relay.siblings import servers_by_address
from ordinaut_ext_observability.relay.store import RelayStore
from ordinaut_ext_observability.runtime.store import choose_store, opener_of
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
    """Find what this Python has."""
    yield fact(f"ordinaut-ext-observability {__version__}, Python {platform.python_version()}")
    yield fact(", ".join(f"{name} {version(name)}" for name in _LIBRARIES))
    values = [point.value for point in entry_points(group=_GROUP) if point.name == EXTENSION_ID]
    if ENTRY_POINT in values:
        yield fact(f"entry point {_GROUP}: {EXTENSION_ID} = {ENTRY_POINT}")
    else:
        yield problem(
            f"entry point {_GROUP} {EXTENSION_ID}: {', '.join(values) or 'none'}, not {ENTRY_POINT}", *INSTALL
        )
    package = find_spec("observability")
    origin = package.origin if package is not None else None
    imported = "the package observability that Ordinaut 2.2.2 imports is"
    if origin and Path(origin).parent.parent == _OUR_FOLDER:
        yield fact(f"{imported} ours")
    else:
        yield problem(f"{imported} not ours: {origin}", "Remove the other one, or install this package again.")
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
    number = version("starlette")
    if number.startswith("0."):
        yield fact(f"Ordinaut's loader works with starlette {number}")
    else:
        lack = (
            f"starlette {number} lacks what Ordinaut 2.2.2's loader calls (add_event_handler): extensions fail to load"
        )
        yield problem(lack, "Install the versions Ordinaut pins.", 'pip install "fastapi==0.112.2" "starlette<1"')


def loading(variables: Mapping[str, str], *, is_served: bool = False) -> Iterator[Finding]:
    """Find what the loader's variables lead to; `is_served`: the running host serves us already."""
    grants, eager = _json_object(variables, GRANTS), _json_object(variables, EAGER)
    for name, value, line in ((GRANTS, grants, f"unset {GRANTS}"), (EAGER, eager, EAGER_LINE)):
        if value is None:
            given = f"{name}={mask_value(variables[name])!r}"
            ignored = f"{given} is not a JSON object: the host's loader then ignores both {GRANTS} and {EAGER}"
            yield problem(ignored, "Correct it, or unset it: an empty value is no JSON either.", line)
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
                f"{EAGER} does not name {EXTENSION_ID}: Ordinaut's lean host loads it with the first request to "
                f"/ext/{EXTENSION_ID}, and measures nothing until then. (The full host loads it at its start.)",
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


def merging(settings: Settings, port: int) -> Iterator[Finding]:
    """Find what is in the store that the host on this port would use: are processes added up that belong together?"""
    choice = choose_store(settings)
    open_stores = opener_of(choice, Clock()) if settings.relay.enabled else None
    host = urlsplit(choice.target).hostname if choice.kind == "redis" else None
    if open_stores is None:
        why = choice.note if settings.relay.enabled else "ORDINAUT_OBS_RELAY is off"
        yield fact(f"each process shows itself alone: {why}")
        yield from _unmerged_processes(port)
        return
    yield fact(f"installation {choice.installation}: {choice.note}")
    if choice.kind == "file" and not Path(choice.target).exists():
        # Reading would make it, perhaps as another user than the host's.
        yield fact(f"the file {mask_value(choice.target)} is not there yet: the first process makes it")
    elif host and not name_server_answers(host):
        yield problem(f"REDIS_URL: no name server answers for {host}", "See /etc/resolv.conf here.")
    else:
        try:
            with contextlib.closing(open_stores()) as store:
                yield from _processes(store)
        except ClusterUnavailableError as error:
            yield problem(mask_value(str(error)), "Until it answers, each process sees itself alone.")


def _unmerged_processes(port: int) -> Iterator[Finding]:
    """Processes here that serve at one address with this port; others may be of another application."""
    serving: dict[str, int] = {}
    with contextlib.suppress(OSError):  # not Linux
        serving = servers_by_address()
    most = max((count for address, count in serving.items() if address.endswith(f":{port}")), default=0)
    if most > 1:
        yield problem(
            f"{most} processes serve at port {port} here: without a store, each scrape shows one of them",
            "Give them a store: a Redis, or a file that all of them can write to.",
            'export ORDINAUT_OBS_STORE="file:$HOME/.ordinaut-observability/store.sqlite"',
        )


def _processes(relay: RelayStore) -> Iterator[Finding]:
    reading = relay.read("", 0)
    silent, databases = 0, set()
    for entry in reading.entries:
        try:
            said = read_entry(entry)
        except ValueError:
            yield fact("one process cannot be read: it has another version")
            continue
        silent += not said.living
        gauges = said.gauges if said.living else ()
        databases |= {gauge.label_values for gauge in gauges if gauge.name == CollectorMetrics.database_info.name}
    # The number is that of ordinaut_observability_relay_processes.
    processes = f"{len(reading.entries)} processes, {silent} of them silent"
    yield fact(f"{relay.name} answers: {processes}, and {len(reading.series)} series")
    if len(databases) > 1:
        yield problem(
            f"processes that read {len(databases)} databases are one installation here: their numbers are added up",
            "Give each installation a name of its own.",
            "export ORDINAUT_OBS_INSTALLATION=NAME  # another one for each",
        )
