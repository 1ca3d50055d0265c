"""A real Prometheus that has us as its Alertmanager."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI

from tests.http_receiver import HttpReceiver
from tests.integration.test_notifications import RULES
from tests.integration.test_notifications import configured as configured

TOKEN = "an-operators-token-0123456789"
CONFIG = """
global: {evaluation_interval: 1s}
rule_files: [%s]
alerting:
  alertmanagers:
  - path_prefix: /ext/observability
    authorization: {credentials: %s}
    static_configs: [{targets: ["127.0.0.1:%s"]}]
"""


def test_prometheus_delivers_an_alert_and_its_end_through_us(
    serve: Any,
    receiver: HttpReceiver,
    configured: Any,
    tmp_path: Path,
    free_port: Any,
    eventually: Any,
) -> None:
    program = shutil.which("prometheus")
    if program is None:
        if os.environ.get("CI") == "true":
            pytest.fail("prometheus is not installed")
        pytest.skip("prometheus is not installed (Debian: prometheus)")
    served = serve(FastAPI(), OPERATOR_TOKEN=TOKEN, **configured(0))
    rules, config = tmp_path / "theirs.yaml", tmp_path / "prometheus.yaml"
    rules.write_text(RULES.replace("Planted", "Theirs") % 1)
    config.write_text(CONFIG % (rules, TOKEN, served.port))
    command = [program, f"--config.file={config}", f"--storage.tsdb.path={tmp_path / 'data'}"]
    command += [f"--web.listen-address=127.0.0.1:{free_port()}", "--rules.alert.resend-delay=1s"]
    with (tmp_path / "log").open("wb") as log:
        prometheus = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        assert eventually(lambda: ("Theirs", "firing") in receiver.told(), 20), (tmp_path / "log").read_text()
        (alert,) = receiver.taken[0]["alerts"]
        assert alert["labels"] == {"alertname": "Theirs", "severity": "critical"}
        assert alert["generatorURL"].startswith("http://") and alert["annotations"] == {"summary": "It is planted"}
        rules.write_text(RULES.replace("Planted", "Theirs") % 0)
        prometheus.send_signal(signal.SIGHUP)
        assert eventually(lambda: receiver.told() == [("Theirs", "firing"), ("Theirs", "resolved")], 20)
    finally:
        prometheus.kill()
        prometheus.wait()
