"""What the environment here leads to: how the host's loader would load the extension, and our settings."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping

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


def loading(variables: Mapping[str, str], *, is_served: bool = False) -> Iterator[Finding]:
    """What the loader's variables lead to; `variables` are those of `VARIABLES` that are set.

    Where the running host serves us already (`is_served`), it says itself how it loaded us: no advice on that.
    """
    grants, eager = _json(variables, GRANTS), _json(variables, EAGER)
    for name, value in ((GRANTS, grants), (EAGER, eager)):
        if not isinstance(value, dict):
            yield problem(
                f"{name}={mask_value(variables[name])!r} is not a JSON object: the host's loader then ignores {GRANTS} "
                f"and {EAGER}",
                "Correct it, or unset it: an empty value is no JSON either.",
                f"unset {name}" if name == GRANTS else _EAGER_LINE,
            )
    if isinstance(grants, dict) and isinstance(eager, dict):
        granted = grants.get(EXTENSION_ID)
        if isinstance(granted, list) and granted and "ROUTES" not in granted:
            yield problem(
                f"{GRANTS} gives {EXTENSION_ID} grants without ROUTES: its endpoints are not mounted (404)",
                "Grant ROUTES, or leave the extension out: then it gets all it asks for.",
                f'export {GRANTS}=\'{{"{EXTENSION_ID}": ["ROUTES"]}}\'',
            )
        yield _eagerness(bool(eager.get(EXTENSION_ID)), is_served)
    if variables.get(PATHS):
        yield fact(f"{PATHS} is set: where this package is installed, a folder of it in there does not count")
    if variables.get(SCOPES, "").lower() in ("1", "true", "yes"):
        yield advice(
            f"{SCOPES} is on: requests to /ext/{EXTENSION_ID} need the header X-Scopes",
            "Send it, or scrape /metrics at the root or the management port, which do not need it.",
            f"X-Scopes: ext:{EXTENSION_ID}:routes",
        )


def _json(variables: Mapping[str, str], name: str) -> object:
    try:
        return json.loads(variables.get(name, "{}"))
    except (ValueError, RecursionError):
        return None


def _eagerness(is_eager: bool, is_served: bool) -> Finding:  # noqa: FBT001
    if is_eager:
        return fact(f"{EAGER} loads the extension with the host: every request is measured")
    if is_served:
        return fact(f"{EAGER} does not name {EXTENSION_ID} here; the running host, below, says how it loaded it")
    return advice(
        f"{EAGER} does not name {EXTENSION_ID}: Ordinaut's lean host loads the extension with the first request to "
        f"/ext/{EXTENSION_ID}. Until then nothing is measured, and there is no /metrics at the root. (The full host "
        "loads it at its start by itself.)",
        "Load it with the host.",
        _EAGER_LINE,
    )


def settings_in_effect(settings: Settings, *, has_token: bool) -> Iterator[Finding]:
    """The settings that are not the defaults, and the problems; `has_token`: an operator token was given by hand."""
    defaults = effective_values(Settings())
    changed = [f"{name}={value}" for name, value in effective_values(settings).items() if value != defaults[name]]
    yield fact(f"in effect: {', '.join(changed)}" if changed else "every setting has its default")
    if settings.general.disabled:
        off = "ORDINAUT_OBS_DISABLED is on: the extension does nothing"
        yield advice(off, "", "unset ORDINAUT_OBS_DISABLED")
    if settings.access.operator_token is None and not has_token:
        yield advice(
            "ORDINAUT_OBS_OPERATOR_TOKEN is not set: the operator endpoints are off",
            "Set one to see the index, the settings in effect and what the checks say.",
            'export ORDINAUT_OBS_OPERATOR_TOKEN="$(openssl rand -hex 24)"',
        )
    yield from (problem(f"{one.variable}={one.value}: not used", one.problem) for one in settings.problems)
