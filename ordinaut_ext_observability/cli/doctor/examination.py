"""Everything the doctor looks at, in order."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ordinaut_ext_observability.cli.check import Tokens
from ordinaut_ext_observability.cli.doctor.configuration import configuration
from ordinaut_ext_observability.cli.doctor.findings import Section
from ordinaut_ext_observability.cli.doctor.installation import installation
from ordinaut_ext_observability.cli.doctor.loading import VARIABLES, loading
from ordinaut_ext_observability.cli.doctor.relaying import relaying
from ordinaut_ext_observability.cli.doctor.service import Service
from ordinaut_ext_observability.settings import load_settings, read_host_variables


def examine(urls: Sequence[str], tokens: Tokens, timeout_seconds: float) -> Iterator[Section]:
    """The sections of the report. The first of the URLs at which somebody answers is the running host's."""
    services = [Service(url, tokens, timeout_seconds) for url in urls]
    service = next((service for service in services if service.answers()), services[0])
    running = list(service.findings())
    settings = load_settings()
    effective = list(configuration(settings, has_token=bool(tokens.operator)))
    variables = list(loading(read_host_variables(VARIABLES), is_served=service.serves_us))
    yield Section("Installation", list(installation()))
    yield Section("Loading, by the environment here", variables)
    yield Section("Settings, by the environment here", effective)
    yield Section("Merging of processes, by the environment here", list(relaying(settings, service.port)))
    yield Section("Running host", running)
