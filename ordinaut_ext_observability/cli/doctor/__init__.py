"""`doctor`: what was found, and what to paste where something is wrong. It only reads."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from urllib.parse import urlsplit

from ordinaut_ext_observability.cli.check import Tokens
from ordinaut_ext_observability.cli.doctor.environment import VARIABLES, installation, loading, settings_in_effect
from ordinaut_ext_observability.cli.doctor.findings import Finding, problem
from ordinaut_ext_observability.cli.doctor.host import find_host, running_host
from ordinaut_ext_observability.cli.doctor.merging import merging
from ordinaut_ext_observability.cli.http_client import NoAnswerError
from ordinaut_ext_observability.settings.load import load_settings, read_host_variables

_START = "Start the host, or give its address with --url. Without --url, ports 8000 and 8080 are tried."


def examine(urls: Sequence[str], tokens: Tokens, timeout_seconds: float) -> Iterator[tuple[str, Iterable[Finding]]]:
    """The sections of the report. The running host is at the first of the URLs that answers."""
    try:
        host, silence = find_host(urls, tokens, timeout_seconds), ""
    except NoAnswerError as error:
        host, silence = None, str(error)
    settings, variables = load_settings(), read_host_variables(VARIABLES)
    yield "Installation", installation()
    yield "Loading, by the environment here", loading(variables, is_served=host is not None and host.report is not None)
    yield "Settings, by the environment here", settings_in_effect(settings, has_token=bool(tokens.operator))
    url = urlsplit(host.url if host is not None else urls[0])
    port = url.port or (443 if url.scheme == "https" else 80)
    yield "Merging of processes, by the environment here", merging(settings, port)
    yield "Running host", [problem(silence, _START)] if host is None else running_host(host)
