"""`ordinaut-observability serve` as its user runs it: a process of its own, its output, its signals."""

from __future__ import annotations

import re
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from ordinaut_ext_observability.demo.announcement import made_token

MOUNT = "/ext/observability"
TOKEN = "an-operators-token-0123456789"
COMMAND = str(Path(sys.executable).with_name("ordinaut-observability"))
APP_FOR_UVICORN = "async def app(scope, receive, send): pass\n"

Run = Callable[..., tuple[Any, str]]


@pytest.fixture(scope="module")
def serve_in_child(start_child: Any, eventually: Any) -> Run:
    """Runs the command on a free port; gives the process and its base URL once it answers."""

    def run(*arguments: str, environ: dict[str, str] | None = None) -> tuple[Any, str]:
        child = start_child(COMMAND, "serve", "--port", "0", *arguments, environ=environ)

        def has_told() -> bool:
            assert child.process.poll() is None, child.err
            return "static_configs" in child.out

        assert eventually(has_told, 30)
        base = re.search(r"metrics +(http://\S+)/ext/", child.out)
        assert base, child.out
        child.wait_for_port(int(base[1].rpartition(":")[2]))
        return child, base[1]

    return run


@pytest.fixture(scope="module")
def served(serve_in_child: Run) -> tuple[Any, str]:
    """One child for all tests that only ask."""
    return serve_in_child()


def get(url: str, **options: Any) -> httpx.Response:
    return httpx.get(url, timeout=10, trust_env=False, verify=False, **options)


def test_every_url_it_prints_answers(served: tuple[Any, str]) -> None:
    child, base = served
    urls = re.findall(r"http://\S+", child.out)
    page, *others = (url for url in urls if url != base)
    assert (page, get(page).status_code) == (f"{base}{MOUNT}/#token={tokens(child)[0]}", 401)
    assert {f"{base}{MOUNT}/metrics", f"{base}{MOUNT}/health", f"{base}/tools"} <= set(others)
    assert {url: get(url).status_code for url in others} == dict.fromkeys(others, 200)


def test_every_line_fits_80_columns(served: tuple[Any, str]) -> None:
    lines = served[0].out.replace(COMMAND, ".venv/bin/ordinaut-observability").splitlines()
    assert [line for line in lines if len(line) > 80] == []


def test_token_it_prints_opens_the_operator_tier(served: tuple[Any, str]) -> None:
    child, base = served
    config = f"{base}{MOUNT}/config"
    response = get(config, headers={"Authorization": f"Bearer {tokens(child)[0]}"})
    assert response.status_code == 200
    assert response.json()["settings"]["ORDINAUT_OBS_OPERATOR_TOKEN"] == "set"
    assert get(config).status_code == 401


def test_it_says_that_the_extension_is_off(serve_in_child: Run) -> None:
    child, base = serve_in_child(environ={"ORDINAUT_OBS_DISABLED": "1"})
    assert "ORDINAUT_OBS_DISABLED is on" in child.out
    assert get(f"{base}{MOUNT}/metrics").status_code == 404


def test_metrics_and_probes_answer(served: tuple[Any, str]) -> None:
    _, base = served
    for path in ("/metrics", "/health", "/health/live", "/health/ready", "/health/startup"):
        assert get(f"{base}{MOUNT}{path}").status_code == 200
    assert get(f"{base}/metrics").status_code == 200


def test_requests_to_the_stand_in_are_measured(served: tuple[Any, str]) -> None:
    _, base = served
    get(f"{base}/tools")
    page = get(f"{base}{MOUNT}/metrics").text
    assert re.search(r'orchestrator_http_requests_total\{[^}]*endpoint="/tools"[^}]*\} [1-9]', page)


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed")
def test_promtool_accepts_a_scrape(served: tuple[Any, str]) -> None:
    _, base = served
    for path in ("/extensions", "/nowhere", "/extensions/none/events/health"):
        get(f"{base}{path}")
    page = get(f"{base}{MOUNT}/metrics").content
    checked = subprocess.run(["promtool", "check", "metrics"], input=page, capture_output=True, timeout=30, check=False)
    assert (checked.returncode, checked.stdout, checked.stderr) == (0, b"", b"")


def test_access_lines_go_to_stderr_and_nothing_else_does(served: tuple[Any, str], eventually: Any) -> None:
    child, base = served
    get(f"{base}/tools", headers={"X-Request-ID": "from-the-test"})
    assert eventually(lambda: child.log_lines(message="request", correlation_id="from-the-test") != [])
    assert all(line.startswith('{"timestamp"') for line in child.err.splitlines())


def tokens(child: Any) -> list[str]:
    """The tokens in its commands and in the URL of its page."""
    return [*re.findall(r"--token \"?([^\s\"]+)", child.out), *re.findall(r"/#token=(\S+)", child.out)]


def test_made_token_is_another_each_time(served: tuple[Any, str]) -> None:
    made = tokens(served[0])
    assert len(set(made)) == 1
    assert len(made) == 5
    assert len(made[0]) >= 16
    assert made_token() not in (made[0], made_token())


def test_given_token_is_used(serve_in_child: Run) -> None:
    child, base = serve_in_child(environ={"ORDINAUT_OBS_OPERATOR_TOKEN": TOKEN})
    assert TOKEN not in child.out  # which often ends in a log
    assert set(tokens(child)) == {"$ORDINAUT_OBS_OPERATOR_TOKEN"}
    assert get(f"{base}{MOUNT}/", headers={"Authorization": "Bearer another-token-0123456789"}).status_code == 401
    assert get(f"{base}{MOUNT}/", headers={"Authorization": f"Bearer {TOKEN}"}).status_code == 200


@pytest.mark.parametrize("shape", ["lean", "full"])
def test_lazy_loads_with_the_first_request_in_both_shapes(serve_in_child: Run, shape: str) -> None:
    _, base = serve_in_child("--lazy", "--shape", shape)
    assert get(f"{base}/tools").status_code == 200
    assert get(f"{base}{MOUNT}/health/live").status_code == 307
    assert get(f"{base}{MOUNT}/health/ready").status_code == 200
    get(f"{base}/tools")
    assert re.search(
        r'orchestrator_http_requests_total\{[^}]*endpoint="/tools"[^}]*\} 1\.0',
        get(f"{base}{MOUNT}/metrics").text,
    )


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signal_ends_it_cleanly_and_with_uvicorns_status(
    serve_in_child: Run, start_child: Any, free_port: Callable[[], int], tmp_path: Path, number: signal.Signals
) -> None:
    (tmp_path / "bare.py").write_text(APP_FOR_UVICORN)
    port = free_port()
    bare = start_child("-m", "uvicorn", "bare:app", "--lifespan", "off", "--port", str(port), cwd=tmp_path)
    child, base = serve_in_child()
    get(f"{base}/tools")
    bare.wait_for_port(port)
    expected = bare.end(number)
    assert child.end(number) == expected
    assert ("Stopped; nothing is left." in child.out) is (number == signal.SIGINT)
    assert "Traceback" not in child.err + child.out
    assert child.log_lines(message="request", path="/tools") != []


def test_taken_port_is_said_with_a_way_out(invoke_command: Any) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        answer = invoke_command("serve", "--port", str(port))
    assert answer.returncode == 1
    assert (answer.stdout + answer.stderr).splitlines() == [
        f"Cannot listen on 127.0.0.1:{port}: Address already in use.",
        "Choose another port with --port; 0 takes a free one.",
    ]


def test_wrong_argument_is_explained_without_a_traceback(invoke_command: Any) -> None:
    answer = invoke_command("serve", "--port", "seventy")
    assert answer.returncode == 2
    assert "--port" in answer.stderr
    assert "Traceback" not in answer.stderr


def test_module_is_the_same_command_whatever_is_in_the_folder(start_child: Any, tmp_path: Path) -> None:
    from ordinaut_ext_observability import __version__

    for module in ("typer", "rich", "redis"):
        (tmp_path / f"{module}.py").write_text("raise RuntimeError('not the library')\n")
    child = start_child("-m", "ordinaut_ext_observability", "--version", cwd=tmp_path)
    assert child.process.wait(20) == 0
    assert child.out == f"{__version__}\n"


def test_wrong_settings_are_said_and_do_not_stop_it(serve_in_child: Run, eventually: Any) -> None:
    child, base = serve_in_child(environ={"ORDINAUT_OBS_LABEL_BUDGET": "many"})
    assert get(f"{base}{MOUNT}/health").json()["status"] == "degraded"
    assert eventually(lambda: child.log_lines(event_type="settings_problem") != [])
