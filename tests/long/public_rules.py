"""Rules and dashboards that others publish: which of their queries are parsed and evaluated, refused by name, or fail.

`python -m tests.long.public_rules DIRECTORY [--rules-only]`. The directory has files in YAML (groups of rules; what has
a `query` beside a `name`) and JSON (dashboards), in folders of any depth. Each expression is evaluated over one series
for each selector, made from what the selector asks for, at one time and over a range. What fails is shown to promtool:
panels may be in another language. Prints a table, the failures by reason, and what the expressions' patterns are made of.
"""

from __future__ import annotations

import json
import random
import re
import subprocess
import sys
import tempfile
from array import array
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from ordinaut_ext_observability.history.series import NAME, Series, labels_of
from ordinaut_ext_observability.promql.errors import BadQueryError, QueryError
from ordinaut_ext_observability.promql.evaluate import evaluate
from ordinaut_ext_observability.promql.parse import parse
from ordinaut_ext_observability.promql.query import Limits, Query
from ordinaut_ext_observability.promql.matchers import compile_regex
from tests.promql.run import run_to_end

END_MS = 1_700_000_000_000
STEP_MS = 15_000
REFUSED = re.compile("not supported|experimental|native histogram")
PATTERN = re.compile(r"""[=!]~\s*("(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*'|`[^`]*`)""")
REPLACE = re.compile(r"""label_replace\(.*?("(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*')\s*\)""", re.DOTALL)


# What is in the files


def documents(directory: Path) -> Iterator[tuple[Path, Any]]:
    for path in sorted(directory.rglob("*")):
        if path.suffix in {".yml", ".yaml"}:
            try:
                for document in yaml.load_all(path.read_text(), yaml.CSafeLoader):
                    yield path, document
            except yaml.YAMLError as error:
                print(f"not YAML: {path.relative_to(directory)}: {str(error).splitlines()[0]}")
        elif path.suffix == ".json":
            yield path, json.loads(path.read_text())


def expressions(node: Any) -> Iterator[tuple[str, str]]:
    """Kind and text of each expression in a document: `rule` or `panel`."""
    if isinstance(node, dict):
        text = node.get("expr", node.get("query") if "severity" in node else None)
        if isinstance(text, str | int) and str(text).strip():
            is_rule = "alert" in node or "record" in node or "severity" in node
            yield ("rule" if is_rule else "panel"), str(text).strip()
        for value in node.values():
            yield from expressions(value)
    elif isinstance(node, list):
        for value in node:
            yield from expressions(value)
    elif isinstance(node, str) and node.startswith("{") and '"panels"' in node:
        yield from expressions(json.loads(node))


VARIABLE = re.compile(r"\$\{(\w+)(?::\w+)?\}|\$(\w+)|\[\[(\w+)(?::\w+)?\]\]")


def without_variables(text: str) -> str:
    """The query of a panel, with a value for each variable: as its place asks for it."""

    def value(found: re.Match[str]) -> str:
        before = text[: found.start()].rstrip()
        name = next(filter(None, found.groups()))
        quoted = text[: found.start()].count('"') % 2 or text[: found.start()].count("'") % 2
        if quoted:
            return "value"
        if before.endswith(("[", "[1m:", ":", "offset", "offset -")) or re.search(r"interval|_range$|^range$", name):
            return "5m"
        if re.search(r"(?:topk|bottomk|quantile|round|clamp_min|clamp_max)\s*\($|[-+*/<>=^]$", before):
            return "5"
        if re.search(r"(?:topk|bottomk) by \([^()]*\) \($", before):
            return "5"
        if before.endswith("}"):  # a switch of the dashboard's: which of two metrics it asks for
            return "and"
        return "value"

    return VARIABLE.sub(value, text)


# A series for each selector


class Anything:
    """A source that has what a selector asks for, and nothing else."""

    def __init__(self) -> None:
        self.timestamps = array("q", range(END_MS - 3_600_000, END_MS + 1, STEP_MS))
        self.values = array("d", (float(number % 200) for number in range(len(self.timestamps))))
        self.unmade: set[str] = set()

    def select(self, matchers: Any, start_ms: int, end_ms: int) -> Iterator[Series | None]:
        conditions = defaultdict(list)
        for matcher in matchers:
            conditions[matcher.name].append(matcher)
        labels = {name: self._value(found) for name, found in conditions.items()}
        labels.setdefault(NAME, "anything")
        bounds = [labels.get("le", "")]
        if labels[NAME].endswith("_bucket") and "le" not in conditions:
            bounds = ["0.1", "1", "10", "+Inf"]
        for place, bound in enumerate(bounds, 1):
            kept = [index for index, time in enumerate(self.timestamps) if start_ms <= time <= end_ms]
            if kept:
                part = slice(kept[0], kept[-1] + 1)
                values = [value * place for value in self.values[part]]
                yield Series(labels_of({**labels, "le": bound}), self.timestamps[part], values)
            yield None

    def _value(self, matchers: list[Any]) -> str:
        for candidate in candidates(matchers):
            if all(matcher.matches(candidate) for matcher in matchers):
                return candidate
        self.unmade.update(map(str, matchers))
        return ""


def candidates(matchers: list[Any]) -> Iterator[str]:
    yield from (matcher.equal_to for matcher in matchers if matcher.equal_to is not None)
    for matcher in matchers:
        if matcher.operator == "=~":
            for seed in range(20):
                yield example(re._parser.parse(matcher.value), random.Random(seed))  # type: ignore[attr-defined]
    yield from ("", "x", "value-1", "other")


def example(parsed: Any, chance: random.Random) -> str:
    """A text that a pattern matches."""
    text = ""
    for operator, argument in parsed:
        match str(operator):
            case "LITERAL":
                text += chr(argument)
            case "ANY" | "NOT_LITERAL":
                text += "x"
            case "IN":
                kind, first = argument[0]
                text += {"LITERAL": lambda a: chr(a), "RANGE": lambda a: chr(a[0])}.get(str(kind), lambda _: "1")(first)
            case "BRANCH":
                text += example(chance.choice(argument[1]), chance)
            case "SUBPATTERN":
                text += example(argument[3], chance)
            case "MAX_REPEAT" | "MIN_REPEAT":
                least, most, inner = argument
                text += "".join(example(inner, chance) for _ in range(chance.randint(least, min(most, least + 2))))
    return text


# What became of each


def verdict(text: str) -> tuple[str, str]:
    """`answered`, `nothing`, `refused` or `failed`, and the message."""
    source = Anything()
    try:
        node = parse(text)
        instant = run_to_end(evaluate(Query(node, END_MS, END_MS), source, Limits()))
        if node.type in ("scalar", "vector"):
            run_to_end(evaluate(Query(node, END_MS - 600_000, END_MS, 60_000), source, Limits()))
    except QueryError as error:
        return ("refused" if REFUSED.search(str(error)) else "failed"), str(error)
    except Exception as error:  # a defect of ours, to be counted
        return "failed", f"{type(error).__name__}: {error}"
    if source.unmade:
        return "nothing", f"no value found for {source.unmade}"
    return ("answered", "") if instant.value not in ([], None) else ("nothing", "")


def refused_by_promtool(text: str) -> bool:
    """Tell whether Prometheus does not understand it either."""
    with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
        json.dump({"groups": [{"name": "a", "rules": [{"record": "b", "expr": text}]}]}, file)
        file.flush()
        done = subprocess.run(["promtool", "check", "rules", file.name], capture_output=True, check=False)
    return done.returncode == 1 and b"could not parse expression" in done.stdout + done.stderr


# What patterns are made of


def parts(parsed: Any, *, repeated: bool = False) -> Iterator[str]:
    """The names of what a pattern has."""
    for operator, argument in parsed:
        match str(operator):
            case "LITERAL":
                yield "repeated literal" if repeated else "literal"
            case "ANY":
                yield ".* or .+" if repeated else "."
            case "IN" | "NOT_LITERAL":
                negated = str(operator) == "NOT_LITERAL" or str(argument[0][0]) == "NEGATE"
                kind = "negated set" if negated else "set"
                if str(operator) == "IN" and any(str(item[0]) == "CATEGORY" for item in argument):
                    kind += r" with \d, \w or \s"
                yield f"repeated {kind}" if repeated else kind
            case "AT":
                yield f"anchor {argument}"
            case "BRANCH":
                yield "repeated alternation" if repeated else "alternation"
                for branch in argument[1]:
                    yield from parts(branch)
            case "SUBPATTERN":
                number, on, off, inner = argument
                yield "repeated group" if repeated else "group" if number else "group without a number"
                if on or off:
                    yield "flags"
                yield from parts(inner)
            case "MAX_REPEAT" | "MIN_REPEAT":
                least, most, inner = argument
                if str(operator) == "MIN_REPEAT":
                    yield "lazy repetition"
                unbounded = str(most) == "MAXREPEAT"
                if not unbounded:
                    yield "?" if (least, most) == (0, 1) else "counted"
                yield from parts(inner, repeated=unbounded)
            case other:
                yield other


def patterns_of(text: str) -> Iterator[str]:
    for found in (*PATTERN.finditer(text), *REPLACE.finditer(text)):
        quoted = found[1]
        try:
            yield quoted[1:-1] if quoted[0] == "`" else json.loads('"' + quoted[1:-1].replace("\\'", "'") + '"')
        except ValueError:
            yield quoted[1:-1].replace("\\\\", "\\")


def report_patterns(texts: Any) -> None:
    patterns = Counter(pattern for text in texts for pattern in set(patterns_of(text)))
    by_part = defaultdict(list)
    refused = []
    longest = 0
    for pattern in sorted(patterns):
        try:
            compile_regex(pattern)
        except BadQueryError as error:
            refused.append(f"{pattern}  -> {error}")
        try:
            found = list(parts(re._parser.parse(pattern)))  # type: ignore[attr-defined]
        except re.error as error:
            found = [f"not for Python: {error}"]
        longest = max(longest, found.count(".* or .+"))
        by_part[f"{found.count('.* or .+')} times .* or .+"].append(pattern)
        for part in set(found):
            by_part[part].append(pattern)
    print(f"\n{len(patterns)} distinct patterns, {len(refused)} refused")
    for line in refused:
        print("  ", line)
    for part, having in sorted(by_part.items(), key=lambda item: -len(item[1])):
        uses = sum(patterns[pattern] for pattern in having)
        print(f"  {len(having):5} patterns, {uses:5} expressions: {part:32} {'   '.join(having[:4])[:150]}")


def main() -> None:
    directory = Path(sys.argv[1])
    kinds = {"rule"} if "--rules-only" in sys.argv else {"rule", "panel"}
    counts: dict[tuple[str, str], Counter[str]] = defaultdict(Counter)
    failures = defaultdict(list)
    seen: set[tuple[str, str, str]] = set()
    for path, document in documents(directory):
        source = path.relative_to(directory).parts[0]
        for kind, text in expressions(document):
            if kind not in kinds or (source, kind, text) in seen:
                continue
            query = without_variables(text) if kind == "panel" else text
            outcome = verdict(query)
            if outcome[0] == "failed" and refused_by_promtool(query):
                outcome = ("failed, in Prometheus too", outcome[1])
            seen.add((source, kind, text))
            counts[source, kind][outcome[0]] += 1
            if outcome[1]:
                failures[outcome].append((source, kind, query))
    for (what, message), queries in sorted(failures.items(), key=lambda item: (item[0][0], -len(item[1]))):
        print(f"\n{what}, {len(queries)} times: {message}")
        for source, kind, query in queries[:3]:
            print(f"    {source} {kind}: {' '.join(query.split())[:300]}")
    print()
    for key, found in sorted(counts.items()):
        total = found.total()
        failed = sum(count for outcome, count in found.items() if outcome.startswith("failed"))
        print(f"{total - failed} of {total} ({1 - failed / total:.2%})  {' '.join(key)}  {dict(found)}")
    report_patterns({without_variables(text) for _, _, text in seen})


if __name__ == "__main__":
    main()
