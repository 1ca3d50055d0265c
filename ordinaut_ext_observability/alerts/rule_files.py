"""Prometheus's rule files, read and checked as a whole.

::

    groups = read_rule_file("/etc/ordinaut/rules.yml")

What `promtool check rules` refuses is refused here, too. Refused besides: YAML's `<<`, a rule that stands in a file
twice, and what `promql` and `templates` do not support.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Final, NoReturn

import yaml

from ordinaut_ext_observability.alerts.rules import AlertingRule, RecordingRule, Rule, RuleGroup
from ordinaut_ext_observability.alerts.templates import Template, TemplateError, compile_template
from ordinaut_ext_observability.errors import ObservabilityError
from ordinaut_ext_observability.promql.errors import QueryError
from ordinaut_ext_observability.promql.nodes import Node
from ordinaut_ext_observability.promql.parse import parse
from ordinaut_ext_observability.promql.times import parse_duration
from ordinaut_ext_observability.settings.environment import read_regular_file

MAX_FILE_BYTES: Final = 512 * 1024
"""Ten times the largest files of the usual collections of rules. Reading takes seconds, on a thread of its own."""
MAX_RULES: Final = 1_000
"""Rules of a file."""
MAX_GROUPS: Final = 200
YAML_LOADER: Final = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
"""The one in C, where it is there, reads a long file in a tenth of the time: threads of the host wait less."""
_MAX_REASON: Final = 500
"""Characters of a reason, which may quote what is wrong: people read it in a line of a log."""

_DURATION: Final = re.compile("0|([0-9]+[a-z]+)+")
_MAX_DURATION_MS: Final = (2**63 - 1) // 10**6
"""Prometheus keeps durations as nanoseconds in 64 bits: 292 years."""
_LABEL: Final = re.compile("[a-zA-Z_][a-zA-Z0-9_]*")
_METRIC: Final = re.compile("[a-zA-Z_:][a-zA-Z0-9_:]*")

_GROUP_FIELDS: Final = ("name", "interval", "query_offset", "limit", "labels", "rules")
_RULE_FIELDS: Final = ("record", "alert", "expr", "for", "keep_firing_for", "labels", "annotations")
_OF_ALERTS: Final = ("for", "keep_firing_for", "annotations")

Fields = dict[str, yaml.Node]


class RuleFileError(ObservabilityError):
    """A rule file that is not used, as a whole."""

    def __init__(self, file: str, line: int, reason: str) -> None:
        """Lines count from 1; 0: it is not one line that is wrong."""
        reason = reason[:_MAX_REASON]
        super().__init__(f"{file}:{line}: {reason}" if line else f"{file}: {reason}")
        self.file, self.line, self.reason = file, line, reason


def read_rule_file(path: str) -> tuple[RuleGroup, ...]:
    """The groups of a file. Raises `RuleFileError`."""
    try:
        content = read_regular_file(path, MAX_FILE_BYTES)
    except ValueError as error:
        raise RuleFileError(path, 0, str(error)) from None
    return parse_rules(content, path)


def parse_rules(content: bytes | str, file: str) -> tuple[RuleGroup, ...]:
    """The groups of a file with this content and name. Raises `RuleFileError`."""
    try:
        root = yaml.compose(content, YAML_LOADER)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        reason = getattr(error, "problem", None) or "it has characters that YAML does not allow"
        raise RuleFileError(file, mark.line + 1 if mark is not None else 0, f"is not YAML: {reason}") from None
    except RecursionError:
        raise RuleFileError(file, 0, "is nested too deeply") from None
    try:
        return tuple(_groups(root, file)) if root is not None else ()
    except _WrongError as wrong:
        raise RuleFileError(file, wrong.node.start_mark.line + 1, str(wrong)) from None


class _WrongError(Exception):
    """Something wrong at a place in the file."""

    def __init__(self, node: yaml.Node, reason: str) -> None:
        super().__init__(reason)
        self.node = node


def _groups(root: yaml.Node, file: str) -> Iterator[RuleGroup]:
    names: set[str] = set()
    rules: set[tuple[object, ...]] = set()
    for node in _items(_fields(root, "the file", ("groups",)), "groups"):
        fields = _fields(node, "a group", _GROUP_FIELDS)
        name = _text(fields, "name")
        if not name:
            _refuse(node, "the group has no name")
        if name in names:
            _refuse(fields["name"], f"there is a group {name!r} already")
        names.add(name)
        if len(names) > MAX_GROUPS:
            _refuse(node, f"the file has more than {MAX_GROUPS} groups")
        labels = _labels(fields, "labels")
        yield RuleGroup(
            name,
            file,
            tuple(_rule(each, labels, rules) for each in _items(fields, "rules")),
            _duration(fields, "interval") or None,
            _number(fields, "limit"),
            _duration(fields, "query_offset"),
        )


def _rule(node: yaml.Node, group_labels: Mapping[str, str], seen: set[tuple[object, ...]]) -> Rule:
    fields = _fields(node, "a rule", _RULE_FIELDS)
    record, alert = _text(fields, "record"), _text(fields, "alert")
    if bool(record) == bool(alert):
        _refuse(node, "a rule has either 'record' or 'alert', and exactly one of them")
    labels = {**group_labels, **_labels(fields, "labels")}
    identity = (record, alert, *sorted(labels.items()))
    if identity in seen:
        _refuse(node, f"there is a rule {record or alert!r} with these labels already")
    seen.add(identity)
    if len(seen) > MAX_RULES:
        _refuse(node, f"the file has more than {MAX_RULES} rules")
    query, expression = _expression(node, fields)
    if alert:
        return AlertingRule(
            alert,
            query,
            expression,
            _duration(fields, "for"),
            _duration(fields, "keep_firing_for"),
            _templates(fields, "labels", labels),
            _templates(fields, "annotations", _labels(fields, "annotations")),
        )
    for name in _OF_ALERTS:
        if name in fields and (_labels(fields, name) if name == "annotations" else _duration(fields, name)):
            _refuse(fields[name], f"a recording rule has no {name!r}")
    if not _METRIC.fullmatch(record):
        _refuse(fields["record"], f"{record!r} is no name of a metric; letters, digits, _ and : are accepted")
    return RecordingRule(record, query, expression, labels)


def _expression(node: yaml.Node, fields: Fields) -> tuple[str, Node]:
    query = _text(fields, "expr")
    if not query:
        _refuse(node, "the rule has no 'expr'")
    try:
        return query, parse(query)
    except QueryError as error:
        _refuse(fields["expr"], f"expr: {error}")


def _templates(fields: Fields, name: str, texts: Mapping[str, str]) -> dict[str, Template]:
    compiled = {}
    for label, text in texts.items():
        try:
            compiled[label] = compile_template(text)
        except TemplateError as error:
            _refuse(fields[name], f"{name}: {label}: {error}")
    return compiled


def _labels(fields: Fields, name: str) -> dict[str, str]:
    pairs = _fields(fields[name], repr(name), None) if name in fields else {}
    for label, node in pairs.items():
        if not _LABEL.fullmatch(label) or (label == "__name__" and name == "labels"):
            _refuse(node, f"{name}: {label!r} is no name of a label; letters, digits and _ are accepted")
    return {label: _text(pairs, label) for label in pairs}


def _fields(node: yaml.Node, what: str, known: tuple[str, ...] | None) -> Fields:
    """The fields of a mapping, with the node of each value; `known` None: they may have any names."""
    if _is_null(node):
        return {}
    if not isinstance(node, yaml.MappingNode):
        _refuse(node, f"{what} must be a mapping")
    fields: Fields = {}
    for key, value in node.value:
        if not isinstance(key, yaml.ScalarNode):
            _refuse(key, f"a name in {what} must be text")
        if known is not None and key.value not in known:
            _refuse(key, f"{what} has no field {key.value!r}; there are {', '.join(known)}")
        if key.value in fields:
            _refuse(key, f"{key.value!r} stands here twice")
        fields[key.value] = value
    return fields


def _items(fields: Fields, name: str) -> list[yaml.Node]:
    node = fields.get(name)
    if node is None or _is_null(node):
        return []
    if not isinstance(node, yaml.SequenceNode):
        _refuse(node, f"{name!r} must be a list")
    return list(node.value)


def _text(fields: Fields, name: str) -> str:
    node = fields.get(name)
    if node is None or _is_null(node):
        return ""
    if not isinstance(node, yaml.ScalarNode):
        _refuse(node, f"{name!r} must be text")
    if re.search("[\ud800-\udfff]", node.value):
        _refuse(node, f"{name!r} has half of a surrogate pair, which is no character")
    return str(node.value)


def _duration(fields: Fields, name: str) -> int:
    if name not in fields or _is_null(fields[name]):
        return 0
    text = _text(fields, name)
    try:
        duration = parse_duration(text) if _DURATION.fullmatch(text) else -1
    except ValueError:
        duration = -1
    if not 0 <= duration <= _MAX_DURATION_MS:
        _refuse(fields[name], f"{name}: {text!r} is no duration; one such as 30s, 5m or 1h30m is accepted, up to 292y")
    return duration


def _number(fields: Fields, name: str) -> int:
    text = _text(fields, name)
    if text and not (fields[name].tag.endswith(":int") and re.fullmatch("-?[0-9]{1,9}", text)):
        _refuse(fields[name], f"{name} must be a whole number")
    return int(text or 0)


def _is_null(node: yaml.Node) -> bool:
    return node.tag == "tag:yaml.org,2002:null"


def _refuse(node: yaml.Node, reason: str) -> NoReturn:
    raise _WrongError(node, reason)
