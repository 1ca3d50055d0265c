"""What log shippers and Elasticsearch are given: each kind of line fits its mapping, and each file its grammar."""

from __future__ import annotations

import json
import re
from datetime import datetime
from typing import Any

import pytest
import yaml

from ordinaut_ext_observability.assets.export import exported_files
from ordinaut_ext_observability.correlation.context import request_ids, work_ids
from ordinaut_ext_observability.logs.access import AccessLog
from ordinaut_ext_observability.logs.event_types import EVENTS, HOST_EVENTS, Event
from ordinaut_ext_observability.logs.events import EventLog

FILES = exported_files({})
TEMPLATE = json.loads(FILES["logs/elasticsearch-template.json"])["template"]
SAMPLES = {"str": "x", "_Text": "x", "int": 7, "int | None": 7, "float": 0.5, "bool": True, "list[str]": ["x"]}
SAMPLES |= {"list[dict[str, Any]]": [{"path": "/x"}]}
WORK = {"task_id": "t", "run_id": "r", "step_id": "s", "agent_id": "a", "worker_id": "w"}
HOST_SAMPLES = {
    **WORK,
    **dict.fromkeys(("status_code", "attempt", "jobs_created", "queue_depth", "active_leases"), 7),
    **dict.fromkeys(("duration_ms", "lease_duration_seconds", "lag_seconds", "current_value", "threshold"), 0.5),
    **dict.fromkeys(("request_bytes", "response_bytes"), 7),
    "success": True,
    "details": {"ip": "192.0.2.1"},
    "context": {"agent_id": "x"},
}
"""Fields of events that have no annotations, as the host gives them; all others are texts."""
JSON_TYPES = {"keyword": str, "text": str, "long": int, "double": (int, float), "boolean": bool, "flattened": dict}


def check(value: Any, mapping: dict[str, Any], place: str) -> None:
    """What Elasticsearch does with a value, but it would turn a number into a text: that would be a wrong mapping."""
    if isinstance(value, list):
        for each in value:
            check(each, mapping, place)
    elif "properties" in mapping:
        for name, inner in value.items():
            if inner is not None:
                check(inner, mapping["properties"][name], f"{place}.{name}")
    elif mapping["type"] == "date":
        datetime.strptime(value, "%Y-%m-%dT%H:%M:%S.%f%z")
    else:
        assert isinstance(value, JSON_TYPES[mapping["type"]]), (place, value, mapping)
        assert not isinstance(value, bool) or mapping["type"] == "boolean", (place, value)


@pytest.mark.parametrize("event", EVENTS, ids=lambda event: f"{event.name}-{event.level}")
def test_a_line_of_each_event_fits_the_mapping_and_brings_no_unmapped_field(event: Event[...], log_lines: Any) -> None:
    fields = {name: SAMPLES.get(event.types.get(name, ""), HOST_SAMPLES.get(name, "x")) for name in event.fields}
    tokens = [
        (request_ids, request_ids.set(("c0ffee", "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7", True))),
        (work_ids, work_ids.set({name: value for name, value in WORK.items() if name not in fields})),
    ]
    EventLog(log_lines.writer, "orchestrator.api", "DEBUG").emit(event, **fields)
    for variable, token in tokens:
        variable.reset(token)
    line = log_lines.only()
    assert {*fields, "task_context", "trace_id"} <= set(line)
    check(line, TEMPLATE["mappings"], "line")


def test_the_mapping_says_no_text_of_what_is_a_number_nor_the_other_way_round() -> None:
    assert set(HOST_EVENTS) <= {event.name for event in EVENTS} and AccessLog
    kinds = {name: mapping.get("type") for name, mapping in TEMPLATE["mappings"]["properties"].items()}
    assert (kinds["duration_ms"], kinds["status_code"], kinds["correlation_id"]) == ("double", "long", "keyword")
    assert (kinds["timestamp"], kinds["message"], kinds["level"]) == ("date", "text", "keyword")


def test_fluentd_reads_the_lines_and_keeps_their_time() -> None:
    open_tags: list[str] = []
    types = []
    for text in FILES["logs/fluentd.conf"].splitlines():
        line = text.strip()
        if not line or line.startswith("#"):
            continue
        if opened := re.fullmatch(r"<(\w+)(?: [\w.*]+)?>", line):
            open_tags.append(opened[1])
        elif closed := re.fullmatch(r"</(\w+)>", line):
            assert open_tags.pop() == closed[1]
        else:
            assert re.fullmatch(r"@?\w+ \S.*", line), line
            if line.startswith("@type"):
                types.append((open_tags[-1], line.split()[1]))
    assert open_tags == []
    assert types == [
        ("source", "tail"),
        ("parse", "json"),
        ("filter", "record_transformer"),
        ("match", "elasticsearch"),
        ("buffer", "file"),
    ]
    assert "keep_time_key true" in FILES["logs/fluentd.conf"]


def test_logstash_has_its_three_parts_with_the_plugins_that_it_brings() -> None:
    text = re.sub(r"#.*", "", FILES["logs/logstash.conf"])
    text = re.sub(r'"[^"]*"', '""', text)
    assert text.count("{") == text.count("}") and text.count("[") == text.count("]")
    parts = re.findall(r"^(\w+) \{(.*?)^\}", text, re.MULTILINE | re.DOTALL)
    plugins = {part: re.findall(r"^  (\w+) \{", body, re.MULTILINE) for part, body in parts}
    assert plugins == {"input": ["file"], "filter": ["date", "mutate"], "output": ["elasticsearch"]}


def test_the_searches_ask_for_fields_that_are_mapped() -> None:
    view, *searches = [json.loads(line) for line in FILES["logs/kibana.ndjson"].splitlines()]
    assert (view["type"], view["attributes"]["timeFieldName"]) == ("index-pattern", "timestamp")
    mapped = set(TEMPLATE["mappings"]["properties"])
    queries = []
    for search in searches:
        assert search["references"][0]["id"] == view["id"]
        query = json.loads(search["attributes"]["kibanaSavedObjectMeta"]["searchSourceJSON"])["query"]["query"]
        asked = re.findall(r"([\w.]+) (?::|>=)", query)
        assert {name.split(".")[0] for name in (*asked, *search["attributes"]["columns"])} <= mapped
        queries.append(asked)
    assert queries == [["level"], ["correlation_id"], ["task_context.task_id", "duration_ms"]]


def test_the_collector_uses_what_it_defines_and_nothing_else() -> None:
    config = yaml.safe_load(FILES["otel/collector.yml"])
    pipelines = config["service"]["pipelines"].values()
    for kind in ("receivers", "processors", "exporters"):
        assert {name for pipeline in pipelines for name in pipeline[kind]} == set(config[kind])
    assert set(config["service"]["extensions"]) == set(config["extensions"])
