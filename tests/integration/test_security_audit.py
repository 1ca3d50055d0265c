"""Security events from the host's calls and the operators' to lines, counter and files, in a running application."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from starlette.responses import Response

import ordinaut_ext_observability
from observability.logging import StructuredLogger, log_security_event
from observability.metrics import orchestrator_metrics
from ordinaut_ext_observability.web.endpoints.base import Endpoint, add_endpoint

TOKEN = "an-operators-token-0123456789"
AUTHORIZED = {"Authorization": f"Bearer {TOKEN}"}
MOUNT = "/ext/observability"


def kept(directory: Path) -> list[tuple[str, dict[str, Any]]]:
    """The events in the files, those about the chain itself left out."""
    lines = [json.loads(line) for path in directory.iterdir() for line in path.read_text().splitlines()]
    own = ("file_opened", "chain_closed")
    return [(line["event_type"], line["fields"]) for line in lines if line["event_type"] not in own]


async def _call_both_ways() -> None:
    await log_security_event("authentication_failure", "blocked", {"ip_address": "192.0.2.7", "password": "hunter2"})
    log_security_event("operator_login", "success", severity="low")


def test_events_of_the_host_are_logged_counted_and_kept_whatever_the_level(serve: Any, tmp_path: Path) -> None:
    directory = tmp_path / "audit"
    served = serve(FastAPI(), AUDIT_DIR=str(directory), LOG_LEVEL="CRITICAL")
    assert ordinaut_ext_observability.log_security_event is log_security_event
    asyncio.run(_call_both_ways())
    StructuredLogger("orchestrator.api").security_event("scope_denied", "agent-1", {"scope": "admin"})
    orchestrator_metrics.record_blocked_request("rate", "192.0.2.7")
    assert len(served.log.lines(3, event_type="security_event", level="WARNING")) == 3
    served.expect(
        "orchestrator_security_events_total", 1, event_type="operator_login", severity="low", result="success"
    )
    served.runtime.stop()
    events = kept(directory)
    assert [name for name, _ in events] == ["security_event"] * 3 + ["blocked_request"]
    assert events[0][1]["context"] == {"ip_address": "192.0.2.7", "password": "[REDACTED_SECRET]"}
    assert events[2][1] == {
        "security_event_type": "scope_denied",
        "agent_id": "agent-1",
        "details": {"scope": "admin"},
    }


def test_operator_actions_and_refusals_are_kept(serve: Any, tmp_path: Path, run_command: Any) -> None:
    directory = tmp_path / "audit"
    served = serve(FastAPI(), AUDIT_DIR=str(directory), OPERATOR_TOKEN=TOKEN, ALERTS="false")
    failing = Endpoint("/fail/{name}", "operator", lambda name: 1 / 0, "", {}, methods=("POST",))
    for endpoint in (failing, Endpoint("/change", "operator", lambda: Response(), "", {}, methods=("POST",))):
        add_endpoint(served.app.router, served.face._endpoint_context, endpoint)
    assert served.post("/change", headers=AUTHORIZED).status_code == 200
    assert served.post("/fail/it", headers=AUTHORIZED).status_code == 500
    assert served.post(f"{MOUNT}/-/reload", headers={"Authorization": "Bearer wrong"}).status_code == 401
    assert served.get(f"{MOUNT}/config", headers=AUTHORIZED).status_code == 200
    served.runtime.stop()
    action = {"method": "POST", "client_address": "127.0.0.1"}
    assert kept(directory) == [
        ("operator_action", {**action, "endpoint": "/change", "status_code": 200}),
        ("operator_action", {**action, "endpoint": "/fail/{name}", "status_code": 500}),
        (
            "access_refused",
            {"tier": "operator", "reason": "wrong_token", "client_address": "127.0.0.1", "refusals_not_logged": 0},
        ),
    ]


def test_the_command_names_what_was_touched(serve: Any, tmp_path: Path, invoke_command: Any) -> None:
    directory = tmp_path / "audit"
    served = serve(FastAPI(), AUDIT_DIR=str(directory))
    log_security_event("login", "blocked")
    served.runtime.stop()
    good = invoke_command("audit", "verify", str(directory))
    assert (good.returncode, "closed" in good.stdout) == (0, True)
    (path,) = directory.iterdir()
    path.write_text(path.read_text().replace("blocked", "success"))
    bad = invoke_command("audit", "verify", str(path))
    assert bad.returncode == 1
    assert f"{path.name}:2: changed or inserted" in bad.stdout
    nothing = invoke_command("audit", "verify", str(tmp_path / "none"))
    told = f"Not all can be read: {tmp_path / 'none'} is no directory, and has no name of an audit file.\n"
    assert (nothing.returncode, nothing.stdout) == (2, told)


def test_switched_off_nothing_is_kept(clean_process: pytest.MonkeyPatch, tmp_path: Path) -> None:
    clean_process.setenv("ORDINAUT_OBS_DISABLED", "true")
    clean_process.setenv("ORDINAUT_OBS_AUDIT_DIR", str(tmp_path / "audit"))
    log_security_event("login", "blocked")
    StructuredLogger("orchestrator.api").security_event("scope_denied")
    assert not (tmp_path / "audit").exists()
