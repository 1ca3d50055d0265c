"""Dashboards for Grafana in its classic schema, made from `definitions/dashboards.yaml`."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any, Final
from urllib.parse import quote

from ordinaut_ext_observability.assets.data import read_definitions

_DATASOURCE: Final = {"type": "prometheus", "uid": "prometheus"}  # as Ordinaut's own provisioning names it
_SCHEMA_VERSION: Final = 39
"""Version of the JSON: Grafana 11's. Newer ones migrate it, and 10 reads what is used of it."""
_COLUMNS: Final = 24
_SAMPLED: Final = re.compile(r"\b((?:orchestrator|ordinaut_observability|process)_\w+|up)\b(?![\w(])(\{)?")
"""Names of what is scraped; what rules record has colons, and no label `instance`."""
_FILTER: Final = 'job=~"$job",instance=~"$instance"'
_RELEASES: Final = (
    "max by (version, commit) (orchestrator_deployment_info)"
    " unless max by (version, commit) (orchestrator_deployment_info offset 2m)"
)
_TRACES: Final = "/explore?left=" + quote('{"datasource":"jaeger","queries":[],"range":{"from":"now-1h","to":"now"}}')


def dashboards(url: str) -> dict[str, str]:
    """The JSON of every dashboard, by its file's name; `url`: of our endpoints."""
    return {
        f"{each['uid']}.json": json.dumps(_dashboard(each, url), indent=2, ensure_ascii=False) + "\n"
        for each in read_definitions("dashboards.yaml")
    }


def filtered(query: str) -> str:
    """A query whose selectors of what is scraped have the variables job and instance."""
    return _SAMPLED.sub(lambda name: f"{name[1]}{{{_FILTER}{',' if name[2] else '}'}", query)


def _dashboard(defined: Mapping[str, Any], url: str) -> dict[str, Any]:
    links = [
        {"title": "Ordinaut dashboards", "type": "dashboards", "tags": ["ordinaut"], "asDropdown": True},
        {"title": "Runbooks", "type": "link", "url": f"{url}/runbooks"},
        {"title": "Traces", "type": "link", "url": _TRACES, "targetBlank": True},
    ]
    return {
        "uid": defined["uid"],
        "title": defined["title"],
        "description": defined["description"],
        "tags": ["ordinaut"],
        "schemaVersion": _SCHEMA_VERSION,
        "editable": True,
        "graphTooltip": 1,
        "timezone": "browser",
        "refresh": "30s",
        "time": {"from": defined.get("from", "now-1h"), "to": "now"},
        "links": links,
        "annotations": {
            "list": [
                _annotation("Releases", _RELEASES, "release {{version}} {{commit}}", "blue"),
                _annotation("Alerts", 'ALERTS{alertstate="firing",severity="critical"}', "{{alertname}}", "red"),
            ]
        },
        "templating": {
            "list": [
                _variable("job", "ordinaut_observability_build_info"),
                _variable("instance", 'ordinaut_observability_build_info{job=~"$job"}'),
                _RELEASED,
            ]
        },
        "panels": list(_panels(defined["rows"], url)),
    }


def _annotation(name: str, query: str, title: str, color: str) -> dict[str, Any]:
    look = {"enable": True, "iconColor": color, "titleFormat": title, "step": "60s"}
    return {"name": name, "datasource": _DATASOURCE, "expr": query, **look}


def _variable(label: str, series: str) -> dict[str, Any]:
    query = f"label_values({series}, {label})"
    return {
        "name": label,
        "label": label,
        "type": "query",
        "datasource": _DATASOURCE,
        "definition": query,
        "query": {"query": query, "refId": label},
        "refresh": 2,
        "sort": 1,
        "includeAll": True,
        "multi": True,
        "allValue": ".*",
        "current": {"text": "All", "value": "$__all"},
    }


_RELEASED: Final = {
    "name": "released",
    "label": "last release",
    "description": "When the last release was, in seconds since 1970: panels compare before and after.",
    "type": "query",
    "datasource": _DATASOURCE,
    "query": {"query": "query_result(max(orchestrator_deployment_last_timestamp_seconds))", "refId": "released"},
    "regex": r"/(\d+(?:\.\d+)?) \d+$/",
    "refresh": 2,
}


def _panels(rows: Mapping[str, Any], url: str) -> Iterator[dict[str, Any]]:
    """Panels with their places: from left to right, each line as high as its highest."""
    number = y = 0
    for title, panels in rows.items():
        number, x, height = number + 1, 0, 0
        place = {"x": 0, "y": y, "w": _COLUMNS, "h": 1}
        yield {"id": number, "type": "row", "title": title, "collapsed": False, "panels": [], "gridPos": place}
        y += 1
        for panel in panels:
            w, h = (4, 4) if panel.get("type") == "stat" else (8, 8)
            w = panel.get("width", w)
            if x + w > _COLUMNS:
                x, y, height = 0, y + height, 0
            number += 1
            yield {"id": number, **_panel(panel, url), "gridPos": {"x": x, "y": y, "w": w, "h": h}}
            x, height = x + w, max(height, h)
        y += height


def _panel(panel: Mapping[str, Any], url: str) -> dict[str, Any]:
    kind = panel.get("type", "timeseries")
    runbook = {"title": "Runbook", "url": f"{url}/runbooks/{panel.get('runbook')}", "targetBlank": True}
    steps = [{"color": "green", "value": None}, {"color": "orange", "value": panel.get("warn")}]
    defaults: dict[str, Any] = {
        "unit": panel.get("unit", "short"),
        "thresholds": {"mode": "absolute", "steps": steps if "warn" in panel else steps[:1]},
    }
    return {
        "type": kind,
        "title": panel["title"],
        "description": panel["description"],
        "datasource": _DATASOURCE,
        "interval": panel.get("interval"),
        "links": [runbook] if "runbook" in panel else [],
        "fieldConfig": {"defaults": defaults, "overrides": []},
        "options": _OPTIONS[kind],
        "targets": list(map(partial(_target, kind), "ABCDEFGH", panel["queries"].items())),
    }


_CALCULATED: Final = {"reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False}}
_OPTIONS: Final[dict[str, Any]] = {
    "stat": {**_CALCULATED, "colorMode": "value", "graphMode": "area", "textMode": "auto"},
    "bargauge": {**_CALCULATED, "displayMode": "basic", "orientation": "horizontal"},
    "table": {"showHeader": True},
    "timeseries": {
        "legend": {"displayMode": "list", "placement": "bottom", "showLegend": True},
        "tooltip": {"mode": "multi", "sort": "desc"},
    },
}


def _target(kind: str, letter: str, query: tuple[str, str]) -> dict[str, Any]:
    legend, text = query
    instant = kind in {"table", "bargauge"} or "$__range" in text
    return {
        "refId": letter,
        "datasource": _DATASOURCE,
        "expr": filtered(text),
        "legendFormat": legend,
        "editorMode": "code",
        "exemplar": kind == "timeseries" and "_bucket" in text,
        "instant": instant,
        "range": not instant,
        "format": "table" if kind == "table" else "time_series",
    }
