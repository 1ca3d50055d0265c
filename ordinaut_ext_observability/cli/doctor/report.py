"""Everything the doctor looks at, in order, and its report as text."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from urllib.parse import urlsplit

from rich.console import Console
from rich.table import Table
from rich.text import Text

from ordinaut_ext_observability.cli.check import Tokens
from ordinaut_ext_observability.cli.doctor.environment import VARIABLES, loading, settings_in_effect
from ordinaut_ext_observability.cli.doctor.findings import Finding, Kind, problem
from ordinaut_ext_observability.cli.doctor.host import find_host, running_host
from ordinaut_ext_observability.cli.doctor.installation import installation
from ordinaut_ext_observability.cli.doctor.merging import merging
from ordinaut_ext_observability.cli.http_client import NoAnswerError
from ordinaut_ext_observability.settings.load import load_settings, read_host_variables

_MARKS = {Kind.FACT: ("·", "dim"), Kind.ADVICE: ("!", "yellow"), Kind.PROBLEM: ("✗", "red")}

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


def print_sections(console: Console, sections: Iterable[tuple[str, Iterable[Finding]]]) -> int:
    """Print the findings; the number of problems."""
    problems = advice = 0
    for title, findings in sections:
        console.print(f"\n[bold]{title}[/]")
        for finding in _examined(findings):
            _print_finding(console, finding)
            problems += finding.kind is Kind.PROBLEM
            advice += finding.kind is Kind.ADVICE
    console.print(f"\n{problems} problem{'s' * (problems != 1)}, {advice} piece{'s' * (advice != 1)} of advice")
    return problems


def _examined(findings: Iterable[Finding]) -> Iterator[Finding]:
    """The findings; an examination that fails is one itself, and the others go on."""
    try:
        yield from findings
    except Exception as error:  # noqa: BLE001 - a report with a part missing is better than none
        yield problem(f"This could not be examined: {type(error).__name__}.")


def _print_finding(console: Console, finding: Finding) -> None:
    mark, style = _MARKS[finding.kind]
    lines = Table.grid(padding=(0, 1, 0, 0))
    lines.add_row(Text(f"  {mark}", style=style), Text("\n".join(filter(None, (finding.sign, finding.remedy)))))
    console.print(lines)
    for line in finding.paste.splitlines():
        # Not wrapped: it is to be copied.
        console.print(Text(f"      {line}", style="cyan"), soft_wrap=True)
