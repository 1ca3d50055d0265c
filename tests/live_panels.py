"""The exported rules and dashboards on a live demo, asked of a real Prometheus and of our own API."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from ordinaut_ext_observability.assets.export import exported_files, write_files
from ordinaut_ext_observability.metrics.declarations import PARTS
from ordinaut_ext_observability.metrics.declare import declarations_of
from tests.integration.test_demo_command import MOUNT, RunningDemo
from tests.integration.test_exported_files import PANELS, as_asked

NEVER_IN_THE_DEMO = {
    *("orchestrator_database_connections", "orchestrator_database_pool_wait_seconds"),
    *("orchestrator_database_query_duration_seconds", "orchestrator_database_query_errors_total"),
    "orchestrator_database_transactions_total",  # its host has no SQLAlchemy
    "orchestrator_database_statement_seconds_total",  # nor its PostgreSQL pg_stat_statements
    *("orchestrator_websocket_connections_open", "orchestrator_plugin_http_requests_total"),  # nobody asks for them
    *("ordinaut_observability_audit_records_total", "ordinaut_observability_redactions_total"),
    *("ordinaut_observability_internal_errors_total", "ordinaut_observability_label_overflow_total"),
    *("ordinaut_observability_collector_errors_total", "ordinaut_observability_notifications_failed_total"),
}
"""Metrics of what the demo does not have, or of failures that it has none of."""
ONLY_IN_PROMETHEUS = re.compile(r"\bup\b|\bprocess_|:error_budget_left|:ratio30d")
"""Series that Prometheus itself or rules/slo.yml adds."""


@contextlib.contextmanager
def prometheus(folder: Path, target: str, port: int) -> Iterator[str]:
    """A Prometheus with the exported configuration and rules, its target the demo; its URL."""
    program = shutil.which("prometheus")
    if program is None:
        if os.environ.get("CI") == "true":
            pytest.fail("prometheus is not on PATH")
        pytest.skip("prometheus is not on PATH")
    write_files(folder, exported_files({}))
    config = folder / "prometheus/prometheus.yml"
    given = yaml.safe_load(config.read_text())
    given["scrape_configs"] = [given["scrape_configs"][0] | {"metrics_path": f"{MOUNT}/metrics"}]
    given["scrape_configs"][0]["static_configs"] = [{"targets": [target]}]
    config.write_text(yaml.safe_dump(given))
    options = [f"--config.file={config}", f"--storage.tsdb.path={folder}/data"]
    options += [f"--web.listen-address=127.0.0.1:{port}", "--enable-feature=exemplar-storage"]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen([program, *options], stdout=log, stderr=log)
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait()


def provoke(client: httpx.Client) -> None:
    """Cause what is rare by nature: a deployment, a wrong token, an answer to a query."""
    told = {"version": "1.4.2", "commit": "4f1c9a2", "duration": "90s", "test_coverage": 87.5}
    assert client.post(f"{MOUNT}/events/deployment", json=told).status_code == 202
    client.get(f"{MOUNT}/api/v1/query", params={"query": "1"})
    client.get(f"{MOUNT}/api/v1/query", params={"query": "1"}, headers={"Authorization": "Bearer wrong"})


def labels_of(client: httpx.Client, path: str, query: str) -> set[tuple[tuple[str, str], ...]]:
    """The label sets that the query finds with a number as their value."""
    answer = client.get(path, params={"query": query})
    assert answer.status_code == 200, (query, answer.text)
    return {
        tuple(sorted(series["metric"].items()))
        for series in answer.json()["data"]["result"]
        if series["value"][1] != "NaN"
    }


def ask_every_panel(demo: RunningDemo, folder: Path, port: int, seconds: float) -> tuple[int, dict[str, Any]]:
    """Ask every panel's query until both have the same series for it, for so long; how many, and those that are left.

    No rule may have failed. Prints the metrics that were never seen.
    """
    released = int(time.time() + seconds / 2)  # with numbers on both sides of it
    absent = re.compile(rf"\b({'|'.join(NEVER_IN_THE_DEMO)})(_bucket|_count)?\b")
    left = {
        f"{uid}: {panel['title']}: {target['legendFormat']}": as_asked(target["expr"], released)
        for uid, panel in PANELS
        for target in panel["targets"]
        if not absent.search(target["expr"])
    }
    with (
        httpx.Client(base_url=demo.base_url, headers=demo.headers, timeout=30, trust_env=False, verify=False) as own,
        prometheus(folder, demo.base_url.removeprefix("http://"), port) as url,
        httpx.Client(base_url=url, timeout=30, trust_env=False) as theirs,
    ):
        deadline, asked, unequal = time.monotonic() + seconds, len(left), dict[str, Any]()
        while left and time.monotonic() < deadline:
            assert demo.process.poll() is None, demo.child.out
            time.sleep(10)
            provoke(own)
            for panel, query in list(left.items()):
                found = labels_of(theirs, "/api/v1/query", query)
                ours = found if ONLY_IN_PROMETHEUS.search(query) else labels_of(own, f"{MOUNT}/api/v1/query", query)
                # Prometheus may have seen what history has not yet, so the two are asked again until they agree.
                # About a fixed instant they never do: they have samples of different instants beside it.
                if found and (found == ours or ("@" in query and ours)):
                    del left[panel]
                elif found or ours:
                    unequal[panel] = found ^ ours
        rules = theirs.get("/api/v1/rules").json()["data"]["groups"]
        bad = {rule["name"]: rule["lastError"] for group in rules for rule in group["rules"] if rule["health"] == "err"}
        assert not bad and asked > 100
        names = theirs.get("/api/v1/label/__name__/values").json()["data"]
    seen = {re.sub("_(bucket|count|sum)$", "", name) for name in names}
    declared = {each.name for part in PARTS for _, each in declarations_of(part)}
    print(f"{asked} queries; metrics the demo never showed: {sorted(declared - seen)}")
    return asked, {panel: unequal.get(panel, "no data") for panel in left}
