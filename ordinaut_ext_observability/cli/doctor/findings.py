"""The findings of the doctor, and its report as text."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from enum import Enum
from functools import partial
from typing import NamedTuple

from rich.console import Console
from rich.table import Table
from rich.text import Text


class Kind(Enum):
    """Kinds of findings: nothing to do; it could work better; it does not work. With its mark and style."""

    FACT = ("·", "dim")
    ADVICE = ("!", "yellow")
    PROBLEM = ("✗", "red")


class Finding(NamedTuple):
    """One thing found: what was seen, what to do about it, and a text to paste (a shell line, YAML, a URL)."""

    kind: Kind
    sign: str
    remedy: str = ""
    paste: str = ""


fact = partial(Finding, Kind.FACT)
advice = partial(Finding, Kind.ADVICE)
problem = partial(Finding, Kind.PROBLEM)


def print_sections(console: Console, sections: Iterable[tuple[str, Iterable[Finding]]]) -> int:
    """Print the findings; the number of problems."""
    numbers: Counter[Kind] = Counter()
    for title, findings in sections:
        console.print(f"\n[bold]{title}[/]")
        for finding in _examined(findings):
            numbers[finding.kind] += 1
            mark, style = finding.kind.value
            lines = Table.grid(padding=(0, 1, 0, 0))
            lines.add_row(Text(f"  {mark}", style=style), Text("\n".join(filter(None, (finding.sign, finding.remedy)))))
            console.print(lines)
            for line in finding.paste.splitlines():
                console.print(Text(f"      {line}", style="cyan"), soft_wrap=True)  # not wrapped: it is to be copied
    problems, pieces = numbers[Kind.PROBLEM], numbers[Kind.ADVICE]
    console.print(f"\n{problems} problem{'s' * (problems != 1)}, {pieces} piece{'s' * (pieces != 1)} of advice")
    return problems


def _examined(findings: Iterable[Finding]) -> Iterator[Finding]:
    """The findings; an examination that fails is one itself, and the others go on."""
    try:
        yield from findings
    except Exception as error:  # noqa: BLE001 - a report with a part missing is better than none
        yield problem(f"This could not be examined: {type(error).__name__}.")
