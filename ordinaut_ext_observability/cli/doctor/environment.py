"""What the environment here leads to: how the host's loader would load the extension, and our settings."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from ordinaut_ext_observability.cli.doctor.findings import Finding, advice, fact, problem
from ordinaut_ext_observability.manifest import EXTENSION_ID
from ordinaut_ext_observability.scrub.text import mask_value
from ordinaut_ext_observability.settings.load import Settings, effective_values

EAGER = "ORDINAUT_EXT_ENTRY_EAGER"
GRANTS = "ORDINAUT_EXT_ENTRY_GRANTS"
SCOPES = "ORDINAUT_REQUIRE_SCOPES"
PATHS = "ORDINAUT_EXT_PATHS"
VARIABLES = (EAGER, GRANTS, SCOPES, PATHS)

_EAGER_LINE = f"export {EAGER}='{{\"{EXTENSION_ID}\": true}}'"

_LAZY = advice(
    f"{EAGER} does not name {EXTENSION_ID}: Ordinaut's lean host loads the extension with the first request to "
    f"/ext/{EXTENSION_ID}. Until then nothing is measured, and there is no /metrics at the root. (The full host "
    "loads it at its start by itself.)",
    "Load it with the host.",
    _EAGER_LINE,
)


def loading(variables: Mapping[str, str], *, is_served: bool = False) -> Iterator[Finding]:
    """What the loader's variables lead to; `is_served`: the running host serves us already."""
    grants, eager = _json_object(variables, GRANTS), _json_object(variables, EAGER)
    for name, value, line in ((GRANTS, grants, f"unset {GRANTS}"), (EAGER, eager, _EAGER_LINE)):
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
            yield _LAZY
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
