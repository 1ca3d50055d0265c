r"""Matchers as Alertmanager's configuration, API and command line write them.

::

    parse_matchers('{severity=~"critical|warning", team!="x"}')

https://prometheus.io/docs/alerting/latest/configuration/#matcher
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Final, cast

from ordinaut_ext_observability.promql.errors import BadQueryError, ExecutionError
from ordinaut_ext_observability.promql.matchers import LabelMatcher, MatchOperator

_NAME: Final = r'[^\s=!~{},"\'`\\]+'
_MATCHER: Final = re.compile(
    rf'\s*(?:"(?P<quoted_name>(?:[^"\\]|\\.)+)"|(?P<name>{_NAME}))\s*(?P<operator>=~|!~|!=|=)\s*'
    r'(?:"(?P<quoted>(?:[^"\\]|\\.)*)"|(?P<plain>[^",}{]*?))\s*(?P<end>,|$)',
    re.DOTALL,
)
_ESCAPED: Final = re.compile(r"\\(.)", re.DOTALL)
_ESCAPES: Final = {"n": "\n"}


def parse_matchers(text: str) -> list[LabelMatcher]:
    """The matchers of a text, in braces or without. Raises ValueError where one cannot be read."""
    inner = text.strip()
    if inner.startswith("{") and inner.endswith("}"):
        inner = inner[1:-1]
    found: list[LabelMatcher] = []
    at = 0
    while inner[at:].strip():
        match = _MATCHER.match(inner, at)
        if match is None:
            raise ValueError(f'{inner[at:].strip()[:60]!r} is no matcher such as severity="critical" or team=~"a|b"')
        name = match["name"] or _unescaped(match["quoted_name"])
        value = match["plain"] if match["quoted"] is None else _unescaped(match["quoted"])
        found.append(make_matcher(name, match["operator"], value))
        at = match.end()
    return found


def make_matcher(name: str, operator: str, value: str) -> LabelMatcher:
    """The matcher. Raises ValueError for a wrong regular expression."""
    try:
        return LabelMatcher(name, cast("MatchOperator", operator), value)
    except BadQueryError as error:
        raise ValueError(str(error)) from None


def match_all(matchers: Iterable[LabelMatcher], labels: Mapping[str, str]) -> bool:
    """Tell whether all match. One that may take too long on a long label does not: the alert is told as without it."""
    try:
        return all(matcher.matches(labels.get(matcher.name, "")) for matcher in matchers)
    except ExecutionError:
        return False


def matchers_text(matchers: Iterable[LabelMatcher]) -> str:
    """The matchers as Alertmanager writes them: `{severity="critical",team!="x"}`."""
    return "{" + ",".join(f"{each.name}{each.operator}{_quoted(each.value)}" for each in matchers) + "}"


def sort_matchers(matchers: Iterable[LabelMatcher]) -> tuple[LabelMatcher, ...]:
    """The matchers in the order that Alertmanager keeps them in."""
    return tuple(sorted(matchers, key=lambda each: (each.name, each.value, each.operator)))


def _unescaped(text: str) -> str:
    return _ESCAPED.sub(lambda found: _ESCAPES.get(found[1], found[1]), text)


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'
