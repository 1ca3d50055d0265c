"""`ordinaut-observability check` as health checks of containers run it: exit status, table, JSON."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI

from ordinaut_ext_observability.demo.standin_host import ExtensionSpec, create_lean_app
from ordinaut_ext_observability.extension import ObservabilityExtension
from ordinaut_ext_observability.health.model import HealthStatus, Outcome, unknown

MOUNT = "/ext/observability"
TOKEN = "an-operators-token-0123456789"
SCRAPE_TOKEN = "a-scrapers-token-0123456789"

Check = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def check(invoke_command: Check, clean_process: pytest.MonkeyPatch) -> Check:
    return partial(invoke_command, "check")


def serve_ill(serve: Any, *, required: bool) -> Any:
    """An application with a check that fails, its first results there."""

    def dependency() -> None:
        raise ConnectionError("postgresql://app:hunter2@db/ordinaut refused")

    served = serve(FastAPI(), OPERATOR_TOKEN=TOKEN, HEALTH_DISABLED_CHECKS="cpu,memory,disk,network,file_descriptors")
    served.runtime.health_monitor.register_check("database", dependency, required=required)
    served.on_loop(served.runtime.health_monitor.run_all_checks())
    return served


def test_service_that_serves_is_0(serve: Any, run_command: Check, check: Check) -> None:
    served = serve(FastAPI(), MANAGEMENT_PORT="0")
    for url in (served.url, f"{served.url}/", f"{served.url}{MOUNT}", served.runtime.ports.notes()["management_port"]):
        answer = run_command("check", url) if url == served.url else check(url)
        assert answer.returncode == 0, answer.stdout + answer.stderr
        assert "event_loop" in answer.stdout
        assert answer.stdout.rstrip().endswith("(live: ok, ready: ok)")
        assert answer.stderr == ""
        assert ("--token" in answer.stdout) is (url != served.runtime.ports.notes()["management_port"]), (
            "it is not served there"
        )


def test_unhealthy_service_is_1_and_operators_see_why(serve: Any, check: Check) -> None:
    served = serve_ill(serve, required=True)
    bare, told = check(served.url), check(served.url, "--token", TOKEN)
    assert (bare.returncode, told.returncode) == (1, 1)
    assert "database" in bare.stdout.splitlines()[1]  # the worst first
    assert "ConnectionError" not in bare.stdout
    assert "ConnectionError" in told.stdout
    assert "hunter2" not in told.stdout
    assert "ready: unavailable" in told.stdout


def test_degraded_service_is_0_unless_strict(serve: Any, check: Check) -> None:
    served = serve_ill(serve, required=False)
    assert check(served.url).returncode == 0
    assert check(served.url, "--strict").returncode == 1
    assert "degraded" in check(served.url).stdout


@pytest.mark.parametrize(("grace", "status", "code"), [("30", "unknown", 0), ("0", "unhealthy", 1)])
def test_what_is_not_known_yet_is_0_and_1_after_the_grace(
    serve: Any, check: Check, grace: str, status: str, code: int
) -> None:
    served = serve(FastAPI(), OPERATOR_TOKEN=TOKEN, HEALTH_STARTUP_GRACE_SECONDS=grace)
    served.runtime.health_monitor.register_check("database", lambda: unknown("not read yet"))
    answer = check(served.url, "--token", TOKEN)
    assert answer.returncode == code, answer.stdout
    assert answer.stdout.splitlines()[1].split()[:3] == ["database", status, "required"]
    assert "not read yet" in answer.stdout
    assert "ready: unavailable" in answer.stdout


@pytest.mark.parametrize("url", ["http://127.0.0.1:1", "127.0.0.1:8080", "ftp://127.0.0.1/", "http://[bad", ""])
def test_service_that_cannot_be_asked_is_2_and_one_line(check: Check, url: str) -> None:
    answer = check(url or "http://127.0.0.1:1/ext/observability", "--timeout", "1")
    assert answer.returncode == 2
    assert len((answer.stdout + answer.stderr).splitlines()) == 1
    assert "[Errno" not in answer.stdout
    assert "Traceback" not in answer.stderr


def test_service_without_us_is_2(serve_bare: Any, check: Check) -> None:
    app = FastAPI()
    app.add_api_route("/health", lambda: {"status": "healthy", "checks": []})
    answer = check(serve_bare(app).url)
    assert answer.returncode == 2
    assert "not with a health report of this extension" in answer.stdout
    assert "ordinaut-observability doctor --url" in answer.stdout


@pytest.mark.parametrize("protection", [{"SCRAPE_TOKEN": SCRAPE_TOKEN}, {"SCRAPE_ALLOW": "10.0.0.0/8"}])
def test_protected_service_tells_whether_it_is_ready(serve: Any, check: Check, protection: dict[str, str]) -> None:
    """A container's health check needs no token, and may come from an address that may not scrape."""
    served = serve(FastAPI(), **protection)
    answer = check(served.url)
    needed = "--scrape-token" if "SCRAPE_TOKEN" in protection else "ORDINAUT_OBS_SCRAPE_ALLOW"
    assert answer.returncode == 0
    assert needed in answer.stdout.splitlines()[0]
    assert answer.stdout.rstrip().endswith("(ready: ok)")
    served.runtime.lifecycle.stopping = True
    assert check(served.url).returncode == 1


def test_token_shows_the_checks_of_a_protected_service(serve: Any, check: Check) -> None:
    served = serve(FastAPI(), SCRAPE_TOKEN=SCRAPE_TOKEN)
    for answer in (
        check(served.url, "--scrape-token", SCRAPE_TOKEN),
        check(served.url, ORDINAUT_OBS_SCRAPE_TOKEN=SCRAPE_TOKEN),
    ):
        assert answer.returncode == 0
        assert "event_loop" in answer.stdout


def test_password_of_a_url_is_the_token_and_is_not_shown(serve: Any, check: Check) -> None:
    served = serve_ill(serve, required=False)
    told = check(served.url.replace("://", f"://operator:{TOKEN}@"))
    assert told.returncode == 0
    assert "ConnectionError" in told.stdout
    silent = check(f"http://operator:{TOKEN}@127.0.0.1:1")
    assert silent.stdout == "http://127.0.0.1:1 does not answer: Connection refused\n"


def test_without_a_token_the_option_is_named(serve: Any, check: Check) -> None:
    served = serve(FastAPI(), OPERATOR_TOKEN=TOKEN)
    assert "--token" in check(served.url).stdout
    assert "--token" not in check(served.url, "--token", TOKEN).stdout


@pytest.mark.parametrize(
    ("settings", "given", "words"),
    [
        ({"OPERATOR_TOKEN": TOKEN}, ["--token", "wrong"], "ORDINAUT_OBS_OPERATOR_TOKEN"),
        ({}, ["--token", TOKEN], "ORDINAUT_OBS_OPERATOR_TOKEN is not set"),
        ({"SCRAPE_TOKEN": SCRAPE_TOKEN}, ["--scrape-token", "wrong"], "ORDINAUT_OBS_SCRAPE_TOKEN"),
    ],
)
def test_token_that_does_not_serve_is_explained(
    serve: Any, check: Check, settings: dict[str, str], given: list[str], words: str
) -> None:
    served = serve(FastAPI(), **settings)
    answer = check(served.url, *given)
    assert answer.returncode == 0
    assert words in answer.stdout
    if "access_refused" in answer.stdout:
        served.log.line(event_type="access_refused")


def test_what_a_check_says_is_text_and_no_markup(serve: Any, check: Check) -> None:
    said = "bad path [/api/v1] [bold]x[/x] :warning: [REDACTED_SECRET]"
    served = serve(FastAPI(), OPERATOR_TOKEN=TOKEN)
    served.runtime.health_monitor.register_check("odd [/name]", lambda: Outcome(HealthStatus.DEGRADED, said))
    served.on_loop(served.runtime.health_monitor.run_all_checks())
    answer = check(served.url, "--token", TOKEN)
    assert (answer.returncode, answer.stderr) == (0, "")
    assert said in answer.stdout
    assert "odd [/name]" in answer.stdout
    shown = json.loads(check(served.url, "--token", TOKEN, "--json").stdout)
    assert said in [entry["message"] for entry in shown["checks"]]


def test_lazily_loaded_extension_is_loaded_by_the_check(serve_bare: Any, check: Check, clean_process: Any) -> None:
    spec = ExtensionSpec("observability", ObservabilityExtension, eager=False)
    assert check(serve_bare(create_lean_app(extra_specs=[spec])).url).returncode == 0


def test_token_does_not_follow_a_redirect_elsewhere(serve_bare: Any, check: Check) -> None:
    from starlette.responses import RedirectResponse

    seen: list[bytes | None] = []

    async def other(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            seen.append(dict(scope["headers"]).get(b"authorization"))

    app = FastAPI()
    app.mount("/elsewhere", other)
    app.add_api_route("/{path:path}", lambda path: RedirectResponse(f"/elsewhere/{path}"))
    assert check(serve_bare(app).url, "--token", TOKEN, "--timeout", "2").returncode == 2
    assert seen == []


def test_json_is_the_report(serve: Any, check: Check) -> None:
    served = serve_ill(serve, required=True)
    report = json.loads(check(served.url, "--json", "--token", TOKEN).stdout)
    assert report["status"] == "unhealthy"
    assert {check["name"] for check in report["checks"]} == {"event_loop", "task_success", "settings", "database"}


def test_without_url_the_checks_run_here(
    serve_bare: Any, run_command: Check, clean_process: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    check = partial(run_command, "check")
    up = serve_bare(FastAPI()).url
    config = tmp_path / "observability.yaml"
    config.write_text(
        "health:\n  http:\n"
        f"    - {{name: mcp, url: '{up}/docs'}}\n"
        f"    - {{name: authentication, url: '{up}/nowhere', expected_statuses: [200], required: REQUIRED}}\n"
    )
    text = config.read_text()
    quiet = {
        "ORDINAUT_OBS_CONFIG": str(config),
        "ORDINAUT_OBS_HEALTH_DISABLED_CHECKS": "cpu,memory,disk,network,file_descriptors",
    }
    for required, status in (("true", 1), ("false", 0)):
        config.write_text(text.replace("REQUIRED", required))
        answer = check(**quiet)
        assert answer.returncode == status, answer.stdout
        assert "answered 404" in answer.stdout
        mcp = next(line for line in answer.stdout.splitlines() if line.startswith("mcp"))
        assert "healthy" in mcp
