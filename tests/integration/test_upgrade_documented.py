"""Claims of the docs: docs/upgrade.md about what is left behind, docs/scaling.md about what is given to Prometheus."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import redis
from fastapi import FastAPI

DOCS = Path(__file__).parents[2] / "docs"
TOKEN = "an-operators-token-0123456789"


def test_all_keys_in_redis_are_removed_by_the_documented_pattern(serve: Any, redis_url: str, eventually: Any) -> None:
    (pattern,) = re.findall(r"--pattern '(.*?)'", (DOCS / "upgrade.md").read_text())
    served = serve(FastAPI(), OPERATOR_TOKEN=TOKEN, REDIS_URL=redis_url, RELAY_INTERVAL_SECONDS="0.1", VERSION="1.0")
    with redis.Redis.from_url(redis_url) as client:
        assert eventually(lambda: any(b"deployments" in key for key in client.scan_iter()))
        served.stop()
        keys = list(client.scan_iter(pattern))
        assert client.unlink(*keys) == len(keys) > 3
        assert client.dbsize() == 0


def test_block_for_remote_write_is_one_that_prometheus_takes(tmp_path: Path) -> None:
    program = shutil.which("promtool")
    if program is None:
        if os.environ.get("CI"):
            pytest.fail("promtool is not on PATH")
        pytest.skip("promtool is not on PATH")
    (block,) = re.findall(r"```yaml\n(.*?)```", (DOCS / "scaling.md").read_text(), re.DOTALL)
    (tmp_path / "prometheus.yml").write_text(block)
    command = [program, "check", "config", str(tmp_path / "prometheus.yml")]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    assert "remote_write" in block
