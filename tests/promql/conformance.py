"""Runs files in the format of Prometheus's conformance tests against the evaluator: see its `promql/promqltest`.

What is out of reach by rule is listed with the rule's reason, never skipped in silence; all else passes or fails.
"""

from __future__ import annotations

import ast
import math
import re
import struct
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from ordinaut_ext_observability.history.series import NAME, STALE, Labels, Matcher, Series, labels_of
from ordinaut_ext_observability.promql.errors import QueryError
from ordinaut_ext_observability.promql.evaluate import evaluate
from ordinaut_ext_observability.promql.parse import parse
from ordinaut_ext_observability.promql.query import Answer, Limits, Query
from tests.promql.run import run_to_end

RELATIVE_ERROR = 1e-6
"""Difference from what is expected that Prometheus's own runner lets pass."""

NATIVE = "native histograms"
START_TIMES = "start timestamps"

REFUSED_IN_MESSAGE = {
    "native histogram": NATIVE,
    "experimental": "experimental functions",
    "duration expressions": "duration expressions",
    "not valid UTF-8": "texts that are not UTF-8",
}
"""Words of refusals by name, and the reason that the report has for them."""

REFUSED_IN_QUERY = {
    re.compile(r"\b(anchored|smoothed)\b"): "extended range selectors",
    re.compile(r"\bstart_timestamp\("): START_TIMES,
    re.compile(r"\binfo\("): "experimental functions",
    re.compile(r"[<>]/"): NATIVE,
    re.compile(r"\boffset\s+[-+]?\s*[(a-z]|\[[^]]*([-+*/^(]|step|range)", re.IGNORECASE): "duration expressions",
}
"""Parts of queries that the parser does not understand, and what they are."""

_LABEL = re.compile(
    r'\s*("(?:[^"\\]|\\.)*"|[^\s=,"]+)\s*(?:=\s*("(?:[^"\\]|\\.)*"|\'(?:[^\'\\]|\\.)*\'|`[^`]*`))?\s*,?'
)
_NUMBER = r"(?:inf|nan|[\d.]+(?:e[+-]?\d+)?)"
_POINTS = re.compile(rf"([+-]?{_NUMBER})(?:([+-]{_NUMBER}))?(?:x(\d+))?", re.IGNORECASE)
_UNITS = {"ms": 1, "s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000, "w": 604_800_000, "y": 31_536_000_000}
_COMMAND = re.compile(r"(clear$|load(_with_nhcb)?\s+\d|eval(_\w+)?\s+(instant|range)\b)")
_EVAL = re.compile(
    r"eval(?:_(?P<old>\w+))?\s+(?:(?P<kind>instant)\s+at\s+(?P<at>\S+)|range\s+from\s+(?P<start>\S+)\s+to\s+(?P<end>\S+)"
    r"\s+step\s+(?P<step>\S+))\s+(?P<query>.*)"
)


class Verdict(NamedTuple):
    """The outcome of one case."""

    line: int
    query: str
    problem: str = ""
    """Empty: it passed."""
    out_of_reach: str = ""
    """The rule by which it need not pass."""
    unchecked: str = ""
    """Annotations that it should have, and that nothing checks."""


@dataclass
class Case:
    """A query, and what is expected of it."""

    line: int
    query: Query | None
    text: str
    problem: str = ""
    ordered: bool = False
    fails: bool = False
    message: str | None = None
    pattern: str | None = None
    string: str | None = None
    annotations: list[str] = field(default_factory=list)
    matrix: tuple[int, int] | None = None
    expected: list[tuple[Labels | None, list[float | None]]] = field(default_factory=list)
    native: bool = False


class Store:
    """The series of a file, as a source of samples; it notes reads of series that are not supported."""

    def __init__(self) -> None:
        self.samples: dict[Labels, dict[int, float]] = {}
        self.unsupported: dict[Labels, str] = {}
        self.touched: set[str] = set()

    def select(self, matchers: Collection[Matcher], start_ms: int, end_ms: int) -> Iterator[Series | None]:
        for labels, reason in self.unsupported.items():
            if _meets(labels, matchers):
                self.touched.add(reason)
        for labels, samples in self.samples.items():
            if labels not in self.unsupported and _meets(labels, matchers):
                times = sorted(time for time in samples if start_ms <= time <= end_ms)
                if times:
                    yield Series(labels, times, [samples[time] for time in times])
            yield None


def _meets(labels: Labels, matchers: Collection[Matcher]) -> bool:
    values = dict(labels)
    return all(matcher.matches(values.get(matcher.name, "")) for matcher in matchers)


def run_file(path: Path) -> list[Verdict]:
    """The verdicts on all cases of a file."""
    store, verdicts = Store(), []
    blocks = _blocks(path.read_text())
    for line, head, body in blocks:
        word = head.split()[0]
        if word == "clear":
            store = Store()
        elif word in ("load", "load_with_nhcb"):
            _load(store, head.split()[1], body, nhcb=word != "load")
        elif word.startswith("eval"):
            verdicts.append(_check(store, _case(line, head, body)))
        else:
            raise AssertionError(f"{path}:{line}: unknown command {word}")
    return verdicts


def _blocks(text: str) -> list[tuple[int, str, list[str]]]:
    blocks: list[tuple[int, str, list[str]]] = []
    for number, line in enumerate(text.splitlines(), 1):
        stripped = line.strip()
        if not stripped or stripped.startswith("#"):
            continue
        if line[0].isspace() and blocks and not _COMMAND.match(stripped):
            blocks[-1][2].append(stripped)
        else:
            blocks.append((number, stripped, []))
    return blocks


def _load(store: Store, interval: str, body: list[str], *, nhcb: bool) -> None:
    step = duration_ms(interval)
    for line in body:
        labels, points = _series(line)
        if line.split("{{")[0].split(" ")[0].endswith("@st") or "@st " in line:
            store.unsupported[_series(line.replace("@st", ""))[0]] = START_TIMES
            continue
        if "{{" in points:
            store.unsupported[labels] = NATIVE
            continue
        samples = store.samples.setdefault(labels, {})
        for index, value in enumerate(_points(points)):
            if value is not None:
                samples[index * step] = value
        name = dict(labels).get(NAME, "")
        if nhcb and name.endswith("_bucket"):
            native = {**dict(labels), NAME: name.removesuffix("_bucket"), "le": ""}
            store.unsupported[labels_of(native)] = NATIVE


def _series(line: str) -> tuple[Labels, str]:
    """Labels of a series as it stands in a line, and what follows it."""
    match = re.match(r"[^\s{]*", line)
    assert match is not None
    labels = {NAME: match[0]}
    rest = line[match.end() :].lstrip() if line[match.end() :].lstrip().startswith("{") else line[match.end() :]
    if rest.startswith("{") and not rest.startswith("{{"):
        position = 1
        while rest[position:].lstrip()[0] != "}":
            found = _LABEL.match(rest, position)
            assert found is not None, line
            name = _unquoted(found[1])
            if found[2] is None:
                labels[NAME] = name
            else:
                labels[name] = _unquoted(found[2])
            position = found.end()
        rest = rest[rest.index("}", position) + 1 :]
    return labels_of(labels), rest.strip()


def _unquoted(text: str) -> str:
    if text.startswith("`"):
        return text[1:-1]
    return str(ast.literal_eval(text)) if text[0] in "\"'" else text


def _points(text: str) -> list[float | None]:
    points: list[float | None] = []
    for word in text.split():
        if word.startswith("_"):
            points += [None] * int(word[2:] or 1)
        elif word.startswith("stale"):
            points += [STALE] * (int(word[6:]) if word[5:] else 1)
        else:
            match = _POINTS.fullmatch(word)
            assert match is not None, f"points {word}"
            value, step = float(match[1]), float(match[2] or 0)
            for _ in range(int(match[3]) + 1 if match[3] else 1):
                points.append(value)
                value += step
    return points


def duration_ms(text: str) -> int:
    """A duration such as 1h30m, or a number of seconds."""
    sign, text = (-1, text[1:]) if text.startswith("-") else (1, text)
    parts = re.findall(r"([\d.]+)(ms|[smhdwy])", text)
    if not parts:
        return sign * round(float(text) * 1_000)
    return sign * round(sum(float(number) * _UNITS[unit] for number, unit in parts))


def _case(line: int, head: str, body: list[str]) -> Case:
    match = _EVAL.fullmatch(head)
    assert match is not None, f"line {line}: {head}"
    start = duration_ms(match["at"] or match["start"])
    end = start if match["kind"] else duration_ms(match["end"])
    step = 0 if match["kind"] else duration_ms(match["step"])
    case = Case(line, None, match["query"], ordered=match["old"] == "ordered", fails=match["old"] == "fail")
    if match["old"] in ("warn", "info"):
        case.annotations.append(match["old"])
    for text in body:
        words = text.split(None, 1)
        if words[0] == "expect":
            _expect(case, words[1])
        elif words[0] in ("expected_fail_message", "expected_fail_regexp"):
            _expect(case, f"fail {'msg' if words[0].endswith('message') else 'regex'}: {words[1]}")
        elif "{{" in text:
            case.native = True
        elif _POINTS.fullmatch(text):
            case.expected.append((None, _points(text)))
        else:
            labels, points = _series(text)
            case.expected.append((labels, _points(points)))
    try:
        case.query = Query(parse(case.text), start, end, step)
    except QueryError as error:
        case.problem = str(error)
    return case


def _expect(case: Case, text: str) -> None:
    kind, _, rest = text.partition(" ")
    if kind == "ordered":
        case.ordered = True
    elif kind == "string":
        case.string = _unquoted(rest.strip())
    elif kind == "range":
        words = rest.split()
        case.matrix = duration_ms(words[2]), duration_ms(words[6])
    elif kind == "fail":
        case.fails = True
        how, _, what = rest.partition(":")
        if how == "msg":
            case.message = what.strip()
        elif how == "regex":
            case.pattern = what.strip()
    else:
        case.annotations.append(text)


def _check(store: Store, case: Case) -> Verdict:
    store.touched.clear()
    problem, answer = case.problem, None
    if case.query is not None:
        problem, answer = _answer(store, case.query)
    out_of_reach = _out_of_reach(store, case, problem)
    if case.fails:
        difference = _failure_difference(case, problem)
    elif answer is None:
        difference = problem
    else:
        difference = _difference(case, answer)
        if not difference and case.query is not None and case.query.step_ms == 0 and answer.type == "vector":
            difference = _range_difference(store, case, answer)
    unchecked = ", ".join(one for one in case.annotations if not one.startswith("no_"))
    return Verdict(case.line, case.text, difference, out_of_reach if difference else "", unchecked)


def _answer(store: Store, query: Query) -> tuple[str, Answer | None]:
    try:
        return "", run_to_end(evaluate(query, store, Limits()))
    except QueryError as error:
        return str(error) or type(error).__name__, None


def _out_of_reach(store: Store, case: Case, problem: str) -> str:
    if store.touched:
        return ", ".join(sorted(store.touched))
    if case.native:
        return NATIVE
    named = [reason for words, reason in REFUSED_IN_MESSAGE.items() if words in problem]
    if case.problem:
        named += [reason for pattern, reason in REFUSED_IN_QUERY.items() if pattern.search(case.text)]
    return named[0] if named else ""


def _failure_difference(case: Case, problem: str) -> str:
    if not problem:
        return "did not fail"
    if case.message is not None and problem != case.message:
        return f"failed with {problem!r}, not {case.message!r}"
    if case.pattern is not None and not re.search(case.pattern, problem):
        return f"failed with {problem!r}, not as {case.pattern!r}"
    return ""


def _difference(case: Case, answer: Answer) -> str:
    assert case.query is not None
    if case.string is not None:
        return "" if answer.value == case.string else f"{answer.value!r}, not {case.string!r}"
    if answer.type == "scalar":
        [(_, [expected])] = case.expected
        return "" if expected is not None and _same(answer.value, expected) else f"{answer.value}, not {expected}"
    assert isinstance(answer.value, list)
    start, step = case.matrix or (case.query.start_ms, case.query.step_ms)
    expected_rows = [
        (labels or (), [(start + index * step, value) for index, value in enumerate(points) if value is not None])
        for labels, points in case.expected
    ]
    rows = [
        (one.labels, list(zip(one.timestamps, one.values, strict=True)))
        if isinstance(one, Series)
        else (one.labels, [(case.query.start_ms, one.value)])
        for one in answer.value
    ]
    if case.ordered and [labels for labels, _ in rows] != [labels for labels, _ in expected_rows]:
        return f"in another order: {[labels for labels, _ in rows]}"
    return _rows_difference(dict(rows), dict(row for row in expected_rows if row[1]))


def _rows_difference(rows: dict, expected: dict) -> str:
    if rows.keys() != expected.keys():
        return (
            f"series {sorted(rows.keys() - expected.keys())} too many, {sorted(expected.keys() - rows.keys())} missing"
        )
    for labels, points in rows.items():
        wanted = expected[labels]
        same = len(points) == len(wanted) and all(
            one[0] == other[0] and _same(one[1], other[1]) for one, other in zip(points, wanted, strict=True)
        )
        if not same:
            return f"{dict(labels)}: {points}, not {wanted}"
    return ""


def _range_difference(store: Store, case: Case, answer: Answer) -> str:
    """The difference in the middle step of a range query, which is evaluated in another way."""
    assert case.query is not None and isinstance(answer.value, list)
    if re.search(r"start\(\)|end\(\)|range\(\)|step\(\)", case.text):
        return ""
    at = case.query.start_ms
    query = Query(case.query.expression, at - 60_000, at + 60_000, 60_000)
    problem, ranges = _answer(store, query)
    if ranges is None:
        return f"as a range: {problem}"
    rows = {}
    for one in ranges.value:
        value = dict(zip(one.timestamps, one.values, strict=True)).get(at)
        if value is not None:
            rows[one.labels] = [(at, value)]
    difference = _rows_difference(rows, {one.labels: [(at, one.value)] for one in answer.value})
    return f"as a range: {difference}" if difference else ""


def _same(value: float, expected: float) -> bool:
    if math.isnan(value) or math.isnan(expected):
        return math.isnan(value) and math.isnan(expected)
    if value == expected:
        return True
    smallest = struct.unpack("<d", struct.pack("<Q", 1 << 52))[0]
    size = abs(value) + abs(expected)
    if value == 0 or expected == 0 or size < smallest:
        return abs(value - expected) < RELATIVE_ERROR * smallest
    return abs(value - expected) / size < RELATIVE_ERROR
