"""Everything the doctor looks at, in order."""

from __future__ import annotations

from collections.abc import Iterator

from ordinaut_ext_observability.cli.check import Tokens
from ordinaut_ext_observability.cli.doctor.configuration import configuration
from ordinaut_ext_observability.cli.doctor.findings import Section
from ordinaut_ext_observability.cli.doctor.installation import installation
from ordinaut_ext_observability.cli.doctor.loading import VARIABLES, loading
from ordinaut_ext_observability.cli.doctor.service import Service
from ordinaut_ext_observability.settings import load_settings, read_host_variables


def examine(url: str, tokens: Tokens, timeout_seconds: float) -> Iterator[Section]:
    """The sections of the report, each when it is known."""
    yield Section("Installation", list(installation()))
    yield Section("Loading, by the environment here", list(loading(read_host_variables(VARIABLES))))
    yield Section(
        "Settings, by the environment here", list(configuration(load_settings(), has_token=bool(tokens.operator)))
    )
    yield Section("Running host", list(Service(url, tokens, timeout_seconds).findings()))
