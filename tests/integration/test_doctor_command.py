"""`ordinaut-observability doctor` before hosts of both shapes, ill and well."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest
import starlette
import yaml
from fastapi import FastAPI

from ordinaut_ext_observability.cli.check import Tokens
from ordinaut_ext_observability.cli.doctor.findings import Finding, Kind
from ordinaut_ext_observability.cli.doctor.host import find_host, running_host
from ordinaut_ext_observability.demo.standin_host import ExtensionSpec, create_full_app, create_lean_app
from ordinaut_ext_observability.extension import ObservabilityExtension

TOKEN = "an-operators-token-0123456789"
EAGER = '{"observability": true}'


@pytest.fixture
def doctor(invoke_command: Callable[..., Any], clean_process: pytest.MonkeyPatch) -> Callable[..., Any]:
    return partial(invoke_command, "doctor")


@pytest.fixture
def serve_host(serve_bare: Any, clean_process: pytest.MonkeyPatch) -> Callable[..., Any]:
    """A stand-in host with the extension; its checks of the machine are off, so that only the host may be ill."""

    def run(create: Callable[..., FastAPI], *, eager: bool = True, **environ: str) -> Any:
        clean_process.setenv("ORDINAUT_OBS_HEALTH_DISABLED_CHECKS", "cpu,memory,disk,network,file_descriptors")
        clean_process.setenv("LOG_LEVEL", "CRITICAL")  # nobody reads the lines
        clean_process.setenv("ORDINAUT_OBS_OPERATOR_TOKEN", TOKEN)
        for name, value in environ.items():
            clean_process.setenv(name, value)
        return serve_bare(create(extra_specs=[ExtensionSpec("observability", ObservabilityExtension, eager=eager)]))

    return run


def found(served: Any, token: str = "") -> list[Finding]:
    return list(running_host(find_host([served.url], Tokens(token, ""), 5.0)))


def problems(findings: list[Finding]) -> list[str]:
    return [finding.sign for finding in findings if finding.kind is Kind.PROBLEM]


def one(findings: list[Finding], text: str) -> Finding:
    (finding,) = [finding for finding in findings if text in finding.sign]
    return finding


def test_well_lean_host_has_no_problem(serve_host: Any) -> None:
    findings = found(serve_host(create_lean_app), TOKEN)
    assert {finding.kind for finding in findings} == {Kind.FACT}
    signs = "\n".join(finding.sign for finding in findings)
    for text in ("the lean host", "state loaded", "health: healthy", "root metrics: on", "management port: off"):
        assert text in signs


def test_lazy_extension_is_told(serve_host: Any) -> None:
    findings = found(serve_host(create_lean_app, eager=False))
    assert problems(findings) == []
    assert "ORDINAUT_EXT_ENTRY_EAGER" in one(findings, "lazily").paste


def test_full_host_in_production(serve_host: Any) -> None:
    served = serve_host(create_full_app, ENVIRONMENT="production")
    findings = found(served)
    assert "the full host" in findings[0].sign
    scrape = yaml.safe_load(one(findings, "Invalid host header").paste)
    assert scrape["scrape_configs"][0]["static_configs"] == [{"targets": ["api:9464"]}]
    assert "management" in one(findings, "User-Agent").remedy


def assert_kubelet_is_answered(served: Any, probes: Any) -> None:
    """A kubelet names the pod's address as host; the port is the one that the settings in the YAML open."""
    environ = {variable["name"]: variable["value"] for variable in probes["env"]}
    assert environ["ORDINAUT_OBS_MANAGEMENT_HOST"] == "0.0.0.0"
    management = served.runtime.ports.notes()["management_port"].replace("0.0.0.0", "127.0.0.1")
    for name in ("livenessProbe", "readinessProbe", "startupProbe"):
        asked = probes[name]["httpGet"]
        assert str(asked["port"]) == environ["ORDINAUT_OBS_MANAGEMENT_PORT"]
        headers = {"Host": f"10.1.2.3:{asked['port']}"}
        assert httpx.get(f"{management}{asked['path']}", headers=headers, trust_env=False).status_code == 200


def test_probes_to_paste_are_answered_in_production(serve_host: Any) -> None:
    served = serve_host(
        create_full_app,
        ENVIRONMENT="production",
        ORDINAUT_OBS_MANAGEMENT_PORT="0",
        ORDINAUT_OBS_MANAGEMENT_HOST="0.0.0.0",
    )
    assert httpx.get(f"{served.url}/health", headers={"Host": "10.1.2.3:8000"}, trust_env=False).status_code == 400
    assert_kubelet_is_answered(served, yaml.safe_load(one(found(served), "answers 200 whatever it says").paste))
    page = (Path(__file__).resolve().parents[2] / "docs" / "health.md").read_text()
    (block,) = [block for block in re.findall(r"```yaml\n(.*?)```", page, re.DOTALL) if "livenessProbe" in block]
    assert_kubelet_is_answered(served, yaml.safe_load(block)["containers"][0])


def test_bugs_of_the_full_host_are_told(serve_host: Any) -> None:
    findings = found(serve_host(create_full_app))
    assert "answers a plain-text 500" in one(findings, "/tasks/").sign
    assert one(findings, "uptime_seconds").paste == "time() - process_start_time_seconds"
    assert [finding for finding in findings if "Invalid host" in finding.sign] == []


def test_being_asked_often_bans_nobody(serve_host: Any) -> None:
    served = serve_host(create_full_app, ENVIRONMENT="production")
    for _ in range(10):
        found(served, TOKEN)
    assert httpx.get(f"{served.url}/health", trust_env=False).status_code == 200


def test_ill_check_is_told_with_its_reason_to_operators(serve_host: Any) -> None:
    served = serve_host(create_lean_app, ORDINAUT_OBS_LABEL_BUDGET="many")
    assert "token" in one(found(served), "check settings").sign
    told = found(served, TOKEN)
    assert "1 setting could not be used" in one(told, "check settings").sign
    assert "ORDINAUT_OBS_LABEL_BUDGET=many" in "".join(problems(told))


def test_host_without_us(serve_bare: Any) -> None:
    app = FastAPI()
    app.add_api_route("/extensions", lambda: [{"id": "webui", "eager": False}])
    findings = found(serve_bare(app))
    assert "pip install" in one(findings, "does not list").paste
    assert len(problems(findings)) == 2


class _SomeoneElses:
    """An extension under our id that is not ours."""

    def info(self) -> Any:
        from ordinaut_ext_observability.host_contract import ExtensionInfo

        return ExtensionInfo(id="observability", name="Other", version="1")

    def requested_capabilities(self) -> set[Any]:
        return set()

    def setup(self, **_: Any) -> None:
        return None

    async def on_startup(self, app: Any) -> None: ...

    async def on_shutdown(self, app: Any) -> None: ...


def test_someone_elses_extension_under_our_id(serve_bare: Any, clean_process: Any) -> None:
    spec = ExtensionSpec("observability", _SomeoneElses, eager=True)
    findings = found(serve_bare(create_lean_app(extra_specs=[spec])))
    assert "is not ours" in "".join(problems(findings))


def test_any_application_can_be_asked(serve_bare: Any) -> None:
    app = FastAPI(title="Something else", version="9")
    app.add_api_route("/health", lambda: "fine")
    findings = found(serve_bare(app))
    assert findings[0].sign.endswith("answers: Something else 9, another application than Ordinaut's")
    assert len(problems(findings)) == 1


def test_other_application_that_has_us_mounted_is_no_host_of_ordinaut(serve: Any) -> None:
    """Not even one with probes of its own, as the full host has."""
    app = FastAPI(title="Something else", version="9")
    app.add_api_route("/health/live", lambda: "alive")
    findings = found(serve(app, HEALTH_DISABLED_CHECKS="cpu,memory,disk,network,file_descriptors"))
    assert "another application than Ordinaut's" in findings[0].sign
    assert {finding.kind for finding in findings} == {Kind.FACT}


def test_nobody_there_is_one_problem_and_the_rest_is_still_told(doctor: Any) -> None:
    answer = doctor("--url", "http://127.0.0.1:1", ORDINAUT_EXT_ENTRY_EAGER=EAGER)
    assert answer.returncode == 1
    assert answer.stderr == ""
    for title in ("Installation", "Loading", "Settings", "Running host"):
        assert title in answer.stdout
    assert "Connection refused" in answer.stdout
    assert "1 problem, 2 pieces of advice" in answer.stdout


def test_well_host_is_0_and_secrets_are_not_shown(serve_host: Any, doctor: Any) -> None:
    served = serve_host(create_lean_app)
    secret = "a-secret-of-the-operators-42"
    answer = doctor(
        "--url", served.url, ORDINAUT_EXT_ENTRY_EAGER=EAGER, ORDINAUT_OBS_OPERATOR_TOKEN=TOKEN,
        ORDINAUT_OBS_SCRAPE_TOKEN=secret,
    )  # fmt: skip
    assert answer.returncode == 0, answer.stdout
    assert "ORDINAUT_OBS_SCRAPE_TOKEN=set" in answer.stdout
    assert TOKEN not in answer.stdout
    assert secret not in answer.stdout


def test_wrong_settings_are_told_with_what_is_accepted(doctor: Any) -> None:
    answer = doctor("--url", "http://127.0.0.1:1", ORDINAUT_OBS_LABEL_BUDGET="many", ORDINAUT_OBS_TYPO="1")
    assert "ORDINAUT_OBS_LABEL_BUDGET=many: not used" in answer.stdout
    assert "It is not a whole number." in answer.stdout
    assert "ORDINAUT_OBS_TYPO" in answer.stdout
    assert answer.returncode == 1


def test_host_is_found_in_the_folder_where_it_runs(run_command: Any, tmp_path: Path) -> None:
    """A console script has not its current folder on Python's path."""
    (tmp_path / "ordinaut" / "extensions" / "observability").mkdir(parents=True)
    (tmp_path / "ordinaut" / "__init__.py").write_text("raise RuntimeError('imported')\n")
    (tmp_path / "pyproject.toml").write_text('[project]\nname = "ordinaut"\nversion = "2.2.2"\n')
    answer = run_command("doctor", "--url", "http://127.0.0.1:1")
    assert f"Ordinaut 2.2.2 in {tmp_path}; its built-in extension observability is replaced by ours" in answer.stdout
    lacks_handlers = not starlette.__version__.startswith("0.")
    assert ("lacks what Ordinaut 2.2.2's loader calls" in answer.stdout) is lacks_handlers


def test_without_a_host_nothing_is_said_of_its_libraries(doctor: Any) -> None:
    answer = doctor("--url", "http://127.0.0.1:1")
    assert "Ordinaut is not found" in answer.stdout
    assert "loader works with" not in answer.stdout
    assert "the package observability that Ordinaut 2.2.2 imports is ours" in answer.stdout


def test_rejected_token_is_explained(serve_host: Any) -> None:
    findings = found(serve_host(create_lean_app), "another-token-0123456789")
    assert "ORDINAUT_OBS_OPERATOR_TOKEN" in one(findings, "rejects the token").sign


def test_running_host_knows_better_than_the_environment_how_it_loaded_us(serve_host: Any, doctor: Any) -> None:
    slack = "https://hooks.slack.com/services/x"
    answer = doctor("--url", serve_host(create_lean_app).url, "--token", TOKEN, SLACK_WEBHOOK_URL=slack)
    assert "0 problems, 0 pieces of advice" in answer.stdout
    assert answer.returncode == 0
