"""Everything the doctor looks at, in order."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ordinaut_ext_observability.cli.check import Tokens
from ordinaut_ext_observability.cli.doctor.configuration import configuration
from ordinaut_ext_observability.cli.doctor.findings import Finding, Kind, Section
from ordinaut_ext_observability.cli.doctor.installation import installation
from ordinaut_ext_observability.cli.doctor.loading import VARIABLES, loading
from ordinaut_ext_observability.cli.doctor.relaying import relaying
from ordinaut_ext_observability.cli.doctor.service import Service
from ordinaut_ext_observability.settings.load import load_settings, read_host_variables


def examine(urls: Sequence[str], tokens: Tokens, timeout_seconds: float) -> Iterator[Section]:
    """The sections of the report. The first of the URLs at which somebody answers is the running host's."""
    services = [Service(url, tokens, timeout_seconds) for url in urls]
    service = next((service for service in services if service.answers()), services[0])
    running = _examined(service.findings())
    settings = load_settings()
    yield Section("Installation", _examined(installation()))
    variables = loading(read_host_variables(VARIABLES), is_served=service.serves_us)
    yield Section("Loading, by the environment here", _examined(variables))
    effective = configuration(settings, has_token=bool(tokens.operator))
    yield Section("Settings, by the environment here", _examined(effective))
    yield Section("Merging of processes, by the environment here", _examined(relaying(settings, service.port)))
    yield Section("Running host", running)


def _examined(findings: Iterator[Finding]) -> list[Finding]:
    """The findings; an examination that fails is one itself, and the others go on."""
    found: list[Finding] = []
    try:
        found.extend(findings)
    except Exception as error:  # noqa: BLE001 - a report with a part missing is better than none
        found.append(Finding(Kind.PROBLEM, f"This could not be examined: {type(error).__name__}."))
    return found
