"""How the host would load the extension: the loader's variables."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping

from ordinaut_ext_observability.cli.doctor.findings import Finding, Kind, fact
from ordinaut_ext_observability.manifest import EXTENSION_ID
from ordinaut_ext_observability.scrub.text import mask_value

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
            unset = f"unset {name}" if name == GRANTS else _EAGER_LINE
            yield Finding(
                Kind.PROBLEM,
                f"{name}={mask_value(variables[name])!r} is not a JSON object: the host's loader then ignores {GRANTS} "
                f"and {EAGER}",
                "Correct it, or unset it: an empty value is no JSON either.",
                unset,
            )
    if isinstance(grants, dict) and isinstance(eager, dict):
        yield from _grants(grants)
        finding = _eager(eager)
        if finding.kind is Kind.FACT or not is_served:
            yield finding
        else:
            yield fact(f"{EAGER} does not name {EXTENSION_ID} here; the running host, below, says how it loaded it")
    if variables.get(PATHS):
        yield fact(f"{PATHS} is set: where this package is installed, a folder of it in there does not count")
    if variables.get(SCOPES, "").lower() in ("1", "true", "yes"):
        yield Finding(
            Kind.ADVICE,
            f"{SCOPES} is on: requests to /ext/{EXTENSION_ID} need the header X-Scopes",
            "Send it, or scrape /metrics at the root or the management port, which do not need it.",
            f"X-Scopes: ext:{EXTENSION_ID}:routes",
        )


def _json(variables: Mapping[str, str], name: str) -> object:
    if name not in variables:
        return {}
    try:
        return json.loads(variables[name])
    except (ValueError, RecursionError):
        return None


def _eager(eager: dict[str, object]) -> Finding:
    if eager.get(EXTENSION_ID):
        return fact(f"{EAGER} loads the extension with the host: every request is measured")
    return Finding(
        Kind.ADVICE,
        f"{EAGER} does not name {EXTENSION_ID}: Ordinaut's lean host loads the extension with the first request to "
        f"/ext/{EXTENSION_ID}. Until then nothing is measured, and there is no /metrics at the root. (The full host "
        "loads it at its start by itself.)",
        "Load it with the host.",
        _EAGER_LINE,
    )


def _grants(grants: dict[str, object]) -> Iterator[Finding]:
    granted = grants.get(EXTENSION_ID)
    if isinstance(granted, list) and granted and "ROUTES" not in granted:
        yield Finding(
            Kind.PROBLEM,
            f"{GRANTS} gives {EXTENSION_ID} grants without ROUTES: its endpoints are not mounted (404)",
            "Grant ROUTES, or leave the extension out: then it gets all it asks for.",
            f'export {GRANTS}=\'{{"{EXTENSION_ID}": ["ROUTES"]}}\'',
        )
