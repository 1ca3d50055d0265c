"""Index template of Elasticsearch for our log lines, made from the events that are logged."""

from __future__ import annotations

import json
import re
from typing import Any, Final

from ordinaut_ext_observability.logs.event_types import EVENTS, NAMES_OF_EVERY_LINE

_TYPES: Final = {
    "date": "timestamp",
    "text": "message|exception",
    "double": "float|.*_ms|.*_seconds|current_value|threshold",
    "long": "int|int . None|.*_bytes|line|process|status_code|attempt|jobs_created|queue_depth"
    "|active_leases|fields_left_out",
    "boolean": "bool|success|security_event",
    "flattened": r"list\[dict.*|details|context",
}
"""Annotated types of fields, and names of fields without one, by Elasticsearch's type; all others are keywords."""
_KEYWORD: Final = {"type": "keyword", "ignore_above": 1024}
_CONTEXT: Final = ("task_id", "agent_id", "request_id")
_SOMETIMES: Final = ("run_id", "step_id", "worker_id", "exception_type", "exception", "fields_left_out", *_CONTEXT)


def index_template() -> str:
    """The template's JSON, for `PUT _index_template/ordinaut-logs`."""
    fields = dict.fromkeys([*NAMES_OF_EVERY_LINE, *_SOMETIMES, "security_event"], "")
    fields |= {field: event.types.get(field, "") for event in EVENTS for field in event.fields}
    properties = {field: _type_of(field, fields[field]) for field in sorted(fields)}
    mappings = {
        "dynamic_templates": [{"texts": {"match_mapping_type": "string", "mapping": _KEYWORD}}],
        "properties": properties | {"task_context": {"properties": dict.fromkeys(_CONTEXT, _KEYWORD)}},
    }
    # A user's own field may have another type in every line: the line is kept, the value is not searched.
    settings = {"index": {"number_of_shards": 1, "mapping": {"ignore_malformed": True}}}
    template = {"index_patterns": ["ordinaut-logs-*"], "priority": 200}
    return json.dumps({**template, "template": {"settings": settings, "mappings": mappings}}, indent=2) + "\n"


def _type_of(field: str, annotated: str) -> dict[str, Any]:
    matches = (kind for kind, pattern in _TYPES.items() for text in (annotated, field) if re.fullmatch(pattern, text))
    found = next(matches, None)
    return {"type": found} if found else _KEYWORD
