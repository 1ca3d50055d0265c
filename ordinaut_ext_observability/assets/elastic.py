"""Index template of Elasticsearch for our log lines, made from the events that are logged."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

from ordinaut_ext_observability.logs.event_types import EVENTS, NAMES_OF_EVERY_LINE

_KEYWORD: Final = {"type": "keyword", "ignore_above": 1024}
_TYPES: Final[Mapping[str, Any]] = {
    "timestamp": {"type": "date"},
    "message": {"type": "text"},
    "exception": {"type": "text", "index_options": "freqs"},
    "task_context": {"properties": dict.fromkeys(("task_id", "agent_id", "request_id"), _KEYWORD)},
    **dict.fromkeys(("details", "context"), {"type": "flattened", "ignore_above": 1024}),
    **dict.fromkeys(("success",), {"type": "boolean"}),
    **dict.fromkeys(("current_value", "threshold", "seconds"), {"type": "double"}),
    **dict.fromkeys(
        ("line", "process", "status_code", "attempt", "firing", "resolved", "line_number", "rules", "files", "length")
        + ("refusals_not_logged", "jobs_created", "queue_depth", "active_leases", "fields_left_out"),
        {"type": "long"},
    ),
}
"""Fields that are no keywords; neither are those with these endings."""
_ENDINGS: Final = {"_ms": "double", "_seconds": "double", "_bytes": "long"}
_ALWAYS: Final = (
    "task_id",
    "run_id",
    "step_id",
    "agent_id",
    "worker_id",
    "exception_type",
    "exception",
    "fields_left_out",
)


def index_template() -> str:
    """The template's JSON, for `PUT _index_template/ordinaut-logs`."""
    fields = {*NAMES_OF_EVERY_LINE, *_ALWAYS, *(field for event in EVENTS for field in event.fields)}
    mappings = {
        "dynamic_templates": [{"texts": {"match_mapping_type": "string", "mapping": _KEYWORD}}],
        "properties": {field: _type_of(field) for field in sorted(fields)},
    }
    # A user's own field may have another type in every line: the line is kept, the value is not searched.
    settings = {"index": {"number_of_shards": 1, "mapping": {"ignore_malformed": True}}}
    template = {"index_patterns": ["ordinaut-logs-*"], "priority": 200}
    return json.dumps({**template, "template": {"settings": settings, "mappings": mappings}}, indent=2) + "\n"


def _type_of(field: str) -> Any:
    ending = next((kind for ending, kind in _ENDINGS.items() if field.endswith(ending)), None)
    return {"type": ending} if ending else _TYPES.get(field, _KEYWORD)
