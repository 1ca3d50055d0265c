"""The doctor's report as text."""

from __future__ import annotations

from collections.abc import Iterable

from rich.console import Console
from rich.table import Table
from rich.text import Text

from ordinaut_ext_observability.cli.doctor.findings import Finding, Kind, Section

_MARKS = {Kind.FACT: ("·", "dim"), Kind.ADVICE: ("!", "yellow"), Kind.PROBLEM: ("✗", "red")}


def print_sections(console: Console, sections: Iterable[Section]) -> int:
    """Print the findings; the exit status: 1 when one is a problem."""
    problems = advice = 0
    for section in sections:
        console.print(f"\n[bold]{section.title}[/]")
        for finding in section.findings:
            _print_finding(console, finding)
            problems += finding.kind is Kind.PROBLEM
            advice += finding.kind is Kind.ADVICE
    console.print(f"\n{_count(problems, 'problem')}, {_count(advice, 'piece')} of advice")
    return 1 if problems else 0


def _print_finding(console: Console, finding: Finding) -> None:
    mark, style = _MARKS[finding.kind]
    lines = Table.grid(padding=(0, 1, 0, 0))
    lines.add_row(Text(f"  {mark}", style=style), Text(finding.sign))
    if finding.remedy:
        lines.add_row("", Text(finding.remedy))
    console.print(lines)
    for line in finding.paste.splitlines():
        # Not wrapped: it is to be copied.
        console.print(Text(f"      {line}", style="cyan"), soft_wrap=True)


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
