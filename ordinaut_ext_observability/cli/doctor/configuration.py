"""Which of our settings took effect, and what was wrong with the others."""

from __future__ import annotations

from collections.abc import Iterator

from ordinaut_ext_observability.cli.doctor.findings import Finding, Kind, fact
from ordinaut_ext_observability.settings.load import Settings, effective_values


def configuration(settings: Settings, *, has_token: bool) -> Iterator[Finding]:
    """The settings that are not the defaults, and the problems; `has_token`: an operator token was given by hand."""
    defaults = effective_values(Settings())
    changed = {variable: value for variable, value in effective_values(settings).items() if value != defaults[variable]}
    if changed:
        yield fact("in effect: " + ", ".join(f"{variable}={value}" for variable, value in changed.items()))
    else:
        yield fact("every setting has its default")
    if settings.general.disabled:
        yield Finding(
            Kind.ADVICE, "ORDINAUT_OBS_DISABLED is on: the extension does nothing", "", "unset ORDINAUT_OBS_DISABLED"
        )
    if settings.access.operator_token is None and not has_token:
        yield Finding(
            Kind.ADVICE,
            "ORDINAUT_OBS_OPERATOR_TOKEN is not set: the operator endpoints are off",
            "Set one to see the index, the settings in effect and what the checks say.",
            'export ORDINAUT_OBS_OPERATOR_TOKEN="$(openssl rand -hex 24)"',
        )
    for problem in settings.problems:
        yield Finding(Kind.PROBLEM, f"{problem.variable}={problem.value}: not used", problem.problem)
