"""promtool, Prometheus's own client, against a running `serve`, by the URL that it prints."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest

COMMAND = str(Path(sys.executable).with_name("ordinaut-observability"))
REQUESTS = "orchestrator_http_requests_total"


@pytest.fixture(scope="module", params=["lean", "full"])
def url(request: Any, start_child: Any, eventually: Any) -> str:
    """The URL with the token, of a service that has counted requests and has them in its history."""
    child = start_child(
        COMMAND,
        "serve",
        "--port",
        "0",
        "--shape",
        request.param,
        environ={"ORDINAUT_OBS_HISTORY_INTERVAL_SECONDS": "1"},
    )
    assert eventually(lambda: "static_configs" in child.out, 30), child.err
    [(base, path, token)] = re.findall(r"(http://[^/]+)(\S+)#token=(\S+)", child.out)
    url = base.replace("://", f"://operator:{token}@") + path
    child.wait_for_port(int(base.rpartition(":")[2]))

    def is_in_history() -> bool:
        httpx.get(f"{base}/tools", trust_env=False, verify=False)
        return REQUESTS in promtool("query", "labels", url, "__name__").stdout

    assert eventually(is_in_history, 30), child.err
    return url


def promtool(*arguments: str) -> subprocess.CompletedProcess[str]:
    program = shutil.which("promtool")
    if program is None:
        if os.environ.get("CI") == "true":
            pytest.fail("promtool is not on PATH")
        pytest.skip("promtool is not on PATH")
    return subprocess.run([program, *arguments], capture_output=True, text=True, timeout=30, check=False)


def answer(*arguments: str) -> str:
    done = promtool("query", *arguments)
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    return done.stdout


def test_instant_query(url: str) -> None:
    told = answer("instant", url, f'sum by (endpoint) ({REQUESTS}{{endpoint="/tools"}})')
    assert re.fullmatch(r'\{endpoint="/tools"\} => [0-9]+ @\[[0-9.]+\]\n', told)
    assert answer("instant", url, "scalar(vector(3)) * 2").startswith("scalar: 6 @[")
    assert f'"__name__":"{REQUESTS}"' in answer("--format=json", "instant", url, f"{REQUESTS}[5m]")


def test_range_query(url: str) -> None:
    assert REQUESTS in answer("range", "--step=1s", url, REQUESTS)


def test_series_and_labels(url: str) -> None:
    series = answer("series", f"--match={REQUESTS}", url)
    assert f'{{__name__="{REQUESTS}", endpoint="/tools", method="GET", status_code="200"}}' in series
    assert "/tools" in answer("labels", url, "endpoint").splitlines()


def test_query_that_is_wrong_is_told(url: str) -> None:
    done = promtool("query", "instant", url, "sum(")
    assert done.returncode == 1
    assert done.stderr.startswith('query error: bad_data: invalid parameter "query": ')


def test_wrong_token_is_told(url: str) -> None:
    done = promtool("query", "instant", re.sub("operator:[^@]+@", "operator:wrong@", url), "1")
    assert done.returncode == 1
    assert "401" in done.stderr
