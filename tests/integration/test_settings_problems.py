"""Settings that cannot be used: all reported at once, never in the host's way, and closed where they protect."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI

from ordinaut_ext_observability.settings.environment import MAX_VALUE_LENGTH
from ordinaut_ext_observability.settings.load import (
    MAX_UNKNOWN_NAMES,
    SettingProblem,
    Settings,
    SETTINGS,
    effective_values,
    load_settings,
)

MOUNT = "/ext/observability"
TOKEN = "an-operators-token-0123456789"
AUTHORIZATION = {"Authorization": f"Bearer {TOKEN}"}

WRONG = {
    "ORDINAUT_OBS_DISABLED": "perhaps",
    "ORDINAUT_OBS_HTTP_METRICS": "2",
    "ORDINAUT_OBS_HTTP_BUCKETS": "3,2,1",
    "ORDINAUT_OBS_TRUST_REQUEST_IDS_FROM": "10.0.0.0/99",
    "ORDINAUT_OBS_LABEL_BUDGET": "0",
    "ORDINAUT_OBS_LABEL_BUDGETS": "{not json",
    "ORDINAUT_OBS_SERIES_LIMIT": "many",
    "ORDINAUT_OBS_ACCESS_LOG_SAMPLE_RATIO": "1.5",
    "ORDINAUT_OBS_SLOW_REQUEST_SECONDS": "-1",
    "ORDINAUT_OBS_LOG_DESTINATION": "syslog",
    "ORDINAUT_OBS_OPERATOR_TOKEN": "short-secret",
    "ORDINAUT_OBS_SCRAPE_TOKEN": "also-short",
    "ORDINAUT_OBS_SCRAPE_ALLOW": "the office",
    "ORDINAUT_OBS_MANAGEMENT_PORT": "99999",
    "ORDINAUT_OBS_LOOP_BLOCKED_SECONDS": "0",
}


def make_app() -> FastAPI:
    app = FastAPI()
    app.add_api_route("/tasks/{task_id}", lambda task_id: task_id)
    return app


def test_every_problem_is_reported_at_once(clean_process: pytest.MonkeyPatch) -> None:
    for variable, value in WRONG.items():
        clean_process.setenv(variable, value)
    assert {problem.variable for problem in load_settings().problems} == set(WRONG)


def test_problem_tells_value_and_what_is_accepted(clean_process: pytest.MonkeyPatch) -> None:
    clean_process.setenv("ORDINAUT_OBS_LOG_DESTINATION", "syslog")
    (problem,) = load_settings().problems
    assert problem.value == "syslog"
    assert "'stderr'" in problem.problem
    assert "Default used: stderr" in problem.problem


def test_secret_values_are_masked_everywhere(serve: Any) -> None:
    served = serve(make_app(), OPERATOR_TOKEN=TOKEN, SCRAPE_TOKEN="too-short-a-1")
    config = served.get(f"{MOUNT}/config", headers=AUTHORIZATION)
    index = served.get(f"{MOUNT}/", headers=AUTHORIZATION)
    (problem,) = config.json()["problems"]
    assert (problem["variable"], problem["value"]) == ("ORDINAUT_OBS_SCRAPE_TOKEN", "<masked>")
    served.log.line(event_type="settings_problem")
    for told in (config.text, index.text, served.log.path.read_text()):
        assert "too-short-a-1" not in told
        assert TOKEN not in told


def test_problems_are_in_the_log_the_index_the_config_and_a_metric(serve: Any) -> None:
    served = serve(make_app(), OPERATOR_TOKEN=TOKEN, LABEL_BUDGET="none", SERIES_LIMIT="none")
    expected = {"ORDINAUT_OBS_LABEL_BUDGET", "ORDINAUT_OBS_SERIES_LIMIT"}
    logged = served.log.lines(2, event_type="settings_problem", level="WARNING")
    index = served.get(f"{MOUNT}/", headers=AUTHORIZATION).json()["settings_problems"]
    config = served.get(f"{MOUNT}/config", headers=AUTHORIZATION).json()["problems"]
    for problems in (logged, index, config):
        assert {problem["variable"] for problem in problems} == expected
    served.expect("ordinaut_observability_settings_problems", 2)


@pytest.mark.parametrize("variable", ["SCRAPE_TOKEN", "SCRAPE_ALLOW"])
def test_unusable_protection_of_the_scrape_closes_it(serve: Any, variable: str) -> None:
    served = serve(make_app(), **{variable: "wrong"})
    for path in (f"{MOUNT}/metrics", f"{MOUNT}/health", "/metrics"):
        assert served.get(path).status_code == 403
    assert served.get(f"{MOUNT}/health/live").status_code == 200


def test_unusable_allow_list_is_not_opened_by_a_token(serve: Any) -> None:
    served = serve(make_app(), SCRAPE_ALLOW="wrong", SCRAPE_TOKEN=TOKEN)
    assert served.get(f"{MOUNT}/metrics", headers=AUTHORIZATION).status_code == 403


def test_unusable_operator_token_leaves_the_tier_off(serve: Any) -> None:
    served = serve(make_app(), OPERATOR_TOKEN="short")
    assert served.get(f"{MOUNT}/", headers={"Authorization": "Bearer short"}).status_code == 404


def test_unusable_trust_list_trusts_nobody(serve: Any) -> None:
    served = serve(make_app(), TRUST_REQUEST_IDS_FROM="wrong")
    assert served.get("/tasks/1", headers={"X-Request-ID": "mine"}).headers["x-correlation-id"] != "mine"


@pytest.mark.parametrize(
    ("variable", "meant"),
    [
        ("ORDINAUT_OBS_SCRAPE_TOKN", "ORDINAUT_OBS_SCRAPE_TOKEN"),
        ("ORDINAUT_OBS_ACESS_LOG", "ORDINAUT_OBS_ACCESS_LOG"),
        ("ORDINAUT_OBS_MANAGEMENTPORT", "ORDINAUT_OBS_MANAGEMENT_PORT"),
    ],
)
def test_unknown_name_is_reported_with_a_suggestion(
    clean_process: pytest.MonkeyPatch, variable: str, meant: str
) -> None:
    clean_process.setenv(variable, "a-secret-perhaps")
    (problem,) = load_settings().problems
    assert problem.variable == variable
    assert f"did you mean {meant}?" in problem.problem
    assert problem.value == "<masked>"


def test_unknown_name_like_no_other_is_reported(clean_process: pytest.MonkeyPatch) -> None:
    clean_process.setenv("ORDINAUT_OBS_ZZZ", "1")
    (problem,) = load_settings().problems
    assert problem.variable == "ORDINAUT_OBS_ZZZ"


def test_empty_values_are_unset_ones(clean_process: pytest.MonkeyPatch) -> None:
    for variable in WRONG:
        clean_process.setenv(variable, "")
    assert load_settings().problems == ()


def test_host_with_wrong_settings_answers_as_before(serve: Any, serve_bare: Any) -> None:
    served = serve(make_app(), **{name.removeprefix("ORDINAUT_OBS_"): value for name, value in WRONG.items()})
    bare = serve_bare(make_app())
    for path in ("/tasks/1", "/nowhere", "/tasks/1/"):
        answer, expected = served.client.post(path), bare.client.post(path)
        assert (answer.status_code, answer.content) == (expected.status_code, expected.content)
    assert served.get(f"{MOUNT}/health/ready").status_code == 200


def test_health_says_degraded(serve: Any) -> None:
    response = serve(make_app(), LABEL_BUDGET="none").get(f"{MOUNT}/health")
    assert response.status_code == 200
    assert response.json()["status"] == "degraded"
    assert {check["name"]: check["status"] for check in response.json()["checks"]}["settings"] == "degraded"


def test_value_that_is_no_text_is_reported_like_any_other(serve: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Environments hold bytes; Python shows those that are not UTF-8 as lone surrogates."""
    monkeypatch.setenv("ORDINAUT_OBS_LABEL_BUDGET", os.fsdecode(b"\xff\xfe"))
    served = serve(make_app(), OPERATOR_TOKEN=TOKEN, MANAGEMENT_PORT="0")
    assert served.get("/tasks/1").status_code == 200
    assert served.get(f"{MOUNT}/config", headers=AUTHORIZATION).status_code == 200
    assert served.get(f"{MOUNT}/", headers=AUTHORIZATION).json()["management_port"].startswith("http://")
    assert served.log.line(event_type="settings_problem")["variable"] == "ORDINAUT_OBS_LABEL_BUDGET"
    assert served.internal_errors() == {}


def test_settings_in_the_environment_take_effect(serve: Any) -> None:
    served = serve(make_app(), OPERATOR_TOKEN=TOKEN, ENVIRONMENT="staging", VERSION="2.2.2", LABEL_BUDGET="50")
    assert served.runtime.settings.problems == ()
    served.expect("ordinaut_observability_build_info", 1, environment="staging", host_version="2.2.2")
    settings = served.get(f"{MOUNT}/config", headers=AUTHORIZATION).json()["settings"]
    assert settings["ORDINAUT_OBS_LABEL_BUDGET"] == 50
    assert settings["ENVIRONMENT"] == "staging"


@pytest.mark.parametrize("value", ["1", "true", "yes", "on"])
def test_disabled_adds_no_route_no_middleware_and_no_thread(set_up: Any, serve_bare: Any, value: str) -> None:
    threads = set(threading.enumerate())
    app = make_app()
    before = (list(app.router.routes), app.build_middleware_stack, app.router.lifespan_context, dict(app.state._state))
    face, _ = set_up(app, DISABLED=value, MANAGEMENT_PORT="0")
    after = (list(app.router.routes), app.build_middleware_stack, app.router.lifespan_context, dict(app.state._state))
    assert face is None
    assert before == after
    served = serve_bare(app)
    response = served.get("/tasks/1", headers={"X-Request-ID": "mine"})
    assert "x-correlation-id" not in response.headers
    assert served.get(f"{MOUNT}/health/live").status_code == 404
    assert served.get("/metrics").status_code == 404
    new = set(threading.enumerate()) - threads
    assert [thread.name for thread in new if thread.name.startswith("observability")] == []


# -- What is said ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("variable", "value", "sentence"),
    [
        ("DISABLED", "perhaps", "It must be true or false."),
        ("LABEL_BUDGET", "1.5", "It is not a whole number."),
        ("LABEL_BUDGET", "0", "It must be at least 1."),
        ("LABEL_BUDGET", "9" * 5000, "It is too large a number."),
        ("SLOW_REQUEST_SECONDS", "inf", "It is not a finite number."),
        ("SLOW_REQUEST_SECONDS", "nan", "It is not a finite number."),
        ("SLOW_REQUEST_SECONDS", "soon", "It is not a number."),
        ("SLOW_REQUEST_SECONDS", "0", "It must be more than 0.0."),
        ("LOG_DESTINATION", "syslog", "It must be 'stderr', 'stdout' or 'none'."),
        ("HTTP_BUCKETS", "1,2,x", "Entry 3 is not a number."),
        ("HTTP_BUCKETS", ",".join(map(str, range(1, 60))), "It must have at most 50 entries."),
        ("HTTP_BUCKETS", "2,1", "It must ascend."),
        ("LABEL_BUDGETS", "[" * 2000, "It is not a JSON object."),
        ("LABEL_BUDGETS", "[1]", "It must be a mapping of names to values."),
        ("LABEL_BUDGETS", '{"endpoint": 0}', "It must be at least 1."),
        ("OPERATOR_TOKEN", "short", "It must have 16 to 1000 characters, all of them ASCII"),
        (
            "OPERATOR_TOKEN",
            "a token with an umlaut: \N{LATIN SMALL LETTER U WITH DIAERESIS}",
            "It must have 16 to 1000",
        ),
        ("OPERATOR_TOKEN", "a token with a\nline break in it", "It must have 16 to 1000"),
        ("SCRAPE_ALLOW", "10.0.0.0/8,the office", "Entry 2 is no address and no network."),
        ("SCRAPE_ALLOW", "10.0.0.1," * 501, "It must have at most 500 entries."),
        ("EXCLUDE_ENDPOINTS", "[" * 201, "Entry 1 must have at most 200 characters."),
        ("EXCLUDE_ENDPOINTS", "/a," * 101, "It must have at most 100 entries."),
        ("HEALTH_DISABLED_CHECKS", "cpu,gpu", "Entry 2 must be 'event_loop', 'cpu', "),
        ("MANAGEMENT_HOST", "a." * 130, "It is no address and no host name."),
        ("MANAGEMENT_HOST", "x" * 64, "It is no address and no host name."),
        ("PROMETHEUS_MULTIPROC_DIR", "/dev/zero", "It is not a directory that exists."),
        ("RELAY_DIR", "postgresql://h/d", "It is a URL where a path is expected."),
        ("VERSION", os.fsdecode(b"\xff"), "It is not UTF-8 text."),
        ("LABEL_BUDGET", "1" * (MAX_VALUE_LENGTH + 1), f"It is longer than {MAX_VALUE_LENGTH} characters."),
        ("DATABASE_URL", "postgresql://u:secret@h:x/d", "It has a host or port that cannot be read."),
        ("REDIS_URL", "redis://:secret@h:x/0", "It has a host or port that cannot be read."),
        ("REDIS_URL", "redis://:se/cr@et@h/0", "It cannot be read, a password's special characters need %-escapes."),
        ("REDIS_URL", "http://h", "It must begin with redis://, rediss://, unix://, memory:// or disabled://."),
    ],
)
def test_what_is_wrong_is_told_in_plain_words(
    clean_process: pytest.MonkeyPatch, variable: str, value: str, sentence: str
) -> None:
    of_others = ("DATABASE_URL", "PROMETHEUS_MULTIPROC_DIR", "REDIS_URL", "VERSION")
    variable = variable if variable in of_others else f"ORDINAUT_OBS_{variable}"
    clean_process.setenv(variable, value)
    (problem,) = load_settings().problems
    assert problem.variable == variable
    assert problem.problem.startswith(sentence)
    assert "Accepted: " in problem.problem
    assert "secret" not in repr(problem).partition("Accepted")[0]


def test_a_name_in_lower_case_is_told(clean_process: pytest.MonkeyPatch) -> None:
    clean_process.setenv("ordinaut_obs_disabled", "1")
    (problem,) = load_settings().problems
    assert problem.variable == "ordinaut_obs_disabled"
    assert "did you mean ORDINAUT_OBS_DISABLED?" in problem.problem


def test_everywhere_may_be_written_as_it_is_shown(clean_process: pytest.MonkeyPatch) -> None:
    clean_process.setenv("ORDINAUT_OBS_SCRAPE_ALLOW", "everywhere")
    settings = load_settings()
    assert settings.problems == ()
    assert settings.access == Settings().access


def test_what_cannot_be_read_stays_open_nowhere(clean_process: pytest.MonkeyPatch, tmp_path: Path) -> None:
    clean_process.setenv("ORDINAUT_OBS_CONFIG", str(tmp_path))
    clean_process.setenv("ORDINAUT_OBS_OPERATOR_TOKEN_FILE", "/dev/null")
    before = len(os.listdir("/proc/self/fd"))
    assert len(load_settings().problems) == 2
    assert len(os.listdir("/proc/self/fd")) == before


def test_spaces_around_a_value_do_not_count(clean_process: pytest.MonkeyPatch) -> None:
    values = {
        "OPERATOR_TOKEN": f" {TOKEN}\n",
        "LABEL_BUDGET": "\t7 ",
        "LOG_DESTINATION": "stdout\r\n",
        "RELAY_DIR": " ",
    }
    for name, value in values.items():
        clean_process.setenv(f"ORDINAUT_OBS_{name}", value)
    settings = load_settings()
    assert settings.problems == ()
    assert settings.access.operator_token is not None
    assert settings.access.operator_token.get_secret_value() == TOKEN
    assert (settings.metrics.label_budget, settings.logs.destination, settings.relay.directory) == (
        7,
        "stdout",
        None,
    )


def test_thousands_of_unknown_names_are_told_in_few_lines(clean_process: pytest.MonkeyPatch) -> None:
    for number in range(3000):
        clean_process.setenv(f"ORDINAUT_OBS_SETTING_{number:04}{'X' * 200 if number < 5 else ''}", "a-secret-perhaps")
    problems = load_settings().problems
    assert len(problems) == MAX_UNKNOWN_NAMES + 1
    assert str(3000 - MAX_UNKNOWN_NAMES) in problems[-1].problem
    assert "a-secret-perhaps" not in repr(problems)


# -- Passwords ---------------------------------------------------------------------------------------------------------

PASSWORD = "plantedPa55word"
URLS = [
    f"postgresql://user:{PASSWORD}@host/db",
    f"postgresql+psycopg_async://user:{PASSWORD}@host/db",
    f"redis://:{PASSWORD}@host",
    f"postgresql://user:x@{PASSWORD}@host/db",
    f"postgresql://user:x/{PASSWORD}@host/db",
    f"postgresql://user:x?{PASSWORD}@host/db",
    f"postgresql://user:x {PASSWORD}@host/db",
    f"postgresql://user:x,{PASSWORD}@host/db",
    f"postgresql://user:x'{PASSWORD}@host/db",
    f"https://host/path?token={PASSWORD}",
    f"user:{PASSWORD}@host",
]


@pytest.mark.parametrize("url", URLS)
def test_a_password_is_shown_under_no_name(clean_process: pytest.MonkeyPatch, url: str) -> None:
    for setting in SETTINGS:
        clean_process.setenv(setting.variable, url)
    settings = load_settings()
    general = settings.general
    shown = f"{settings.problems}{effective_values(settings)}{general.environment}{general.version}"
    assert PASSWORD not in shown


def test_a_password_in_a_label_of_the_host_is_masked_wherever_it_is_shown(serve: Any, capfd: Any) -> None:
    served = serve(make_app(), OPERATOR_TOKEN=TOKEN, ENVIRONMENT=URLS[0], VERSION=URLS[1], CONFIG=URLS[0])
    paths = ("/metrics", "/config", "/", "/health/checks")
    told = "".join(served.get(f"{MOUNT}{path}", headers=AUTHORIZATION).text for path in paths)
    served.log.line(event_type="settings_problem")
    assert "[REDACTED_PASSWORD]@host/db" in told
    assert PASSWORD not in told + served.log.path.read_text() + "".join(capfd.readouterr())


def test_lists_are_shown_as_they_are(clean_process: pytest.MonkeyPatch) -> None:
    networks = [f"10.{number}.0.0/16" for number in range(100)]
    clean_process.setenv("ORDINAUT_OBS_EXCLUDE_ENDPOINTS", "/v?/docs,/internal/*")
    clean_process.setenv("ORDINAUT_OBS_SCRAPE_ALLOW", ",".join(networks))
    values = effective_values(load_settings())
    assert values["ORDINAUT_OBS_EXCLUDE_ENDPOINTS"] == ["/v?/docs", "/internal/*"]
    assert values["ORDINAUT_OBS_SCRAPE_ALLOW"] == networks
    assert values["ORDINAUT_OBS_HEALTH_DISABLED_CHECKS"] == []


# -- Secrets from files ------------------------------------------------------------------------------------------------

WriteSecret = Callable[..., str]


@pytest.fixture
def write_secret(tmp_path: Path) -> WriteSecret:
    def write(content: str | bytes, name: str = "secret") -> str:
        (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
        return str(tmp_path / name)

    return write


def test_every_secret_may_stand_in_a_file(clean_process: pytest.MonkeyPatch, write_secret: WriteSecret) -> None:
    secrets = {
        "ORDINAUT_OBS_OPERATOR_TOKEN": TOKEN,
        "ORDINAUT_OBS_VIEWER_TOKEN": TOKEN.upper(),
        "ORDINAUT_OBS_SCRAPE_TOKEN": TOKEN[::-1],
        "DATABASE_URL": "postgresql://u:p@h/d",
        "REDIS_URL": "redis://:p@h/0",
        "ORDINAUT_OBS_SCRUB_KEY": TOKEN[1:],
        "ORDINAUT_OBS_AUDIT_KEY": TOKEN[2:],
        "ORDINAUT_OBS_PAGERDUTY_ROUTING_KEY": TOKEN[3:],
        "ORDINAUT_OBS_SMTP_URL": "smtp://u:p@h",
        "ORDINAUT_OBS_WEBHOOK_URL": "https://h/key",
        "ORDINAUT_OBS_WEBHOOK_SECRET": TOKEN[4:],
        "ORDINAUT_OBS_WATCHDOG_URL": "https://h/ping",
        "SLACK_WEBHOOK_URL": "https://h/services",
    }
    assert {setting.variable for setting in SETTINGS if setting.secret} == set(secrets)
    for variable, secret in secrets.items():
        clean_process.setenv(f"{variable}_FILE", write_secret(f"{secret}\n", variable))
    settings = load_settings()
    assert settings.problems == ()
    held = {each.variable: getattr(getattr(settings, each.part), each.name) for each in SETTINGS if each.secret}
    assert {variable: secret.get_secret_value() for variable, secret in held.items()} == secrets
    assert {effective_values(settings)[variable] for variable in secrets} == {"set"}


def test_tokens_from_files_protect(serve: Any, write_secret: WriteSecret) -> None:
    served = serve(
        make_app(), SCRAPE_TOKEN_FILE=write_secret(f"{TOKEN}\r\n"), OPERATOR_TOKEN_FILE=write_secret(TOKEN, "b")
    )
    for path in ("/metrics", "/config"):
        assert served.get(f"{MOUNT}{path}").status_code == 401
        assert served.get(f"{MOUNT}{path}", headers=AUTHORIZATION).status_code == 200


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("", "It is an empty file."),
        ("too short", "It must have 16 to 1000 characters"),
        (b"\xff" * 20, "It is not UTF-8 text."),
        ("x" * 100_000, f"It is larger than {MAX_VALUE_LENGTH} bytes."),
        (None, "It cannot be read: No such file or directory."),
        ("/dev/zero", "It is not a regular file."),
        ("pipe", "It is not a regular file."),
    ],
)
def test_an_unusable_file_closes_what_it_protects(
    serve: Any, write_secret: WriteSecret, tmp_path: Path, content: str | bytes | None, told: str
) -> None:
    path = "/dev/zero" if content == "/dev/zero" else str(tmp_path / "nothing")
    if content == "pipe":
        path = str(tmp_path / "pipe")
        os.mkfifo(path)
    elif content not in (None, "/dev/zero"):
        path = write_secret(content)
    served = serve(make_app(), SCRAPE_TOKEN_FILE=path, OPERATOR_TOKEN_FILE=path)
    assert served.get(f"{MOUNT}/metrics").status_code == 403
    assert served.get(f"{MOUNT}/config", headers=AUTHORIZATION).status_code == 404
    problems: tuple[SettingProblem, ...] = served.runtime.settings.problems
    assert {problem.variable for problem in problems} == {
        "ORDINAUT_OBS_SCRAPE_TOKEN_FILE",
        "ORDINAUT_OBS_OPERATOR_TOKEN_FILE",
    }
    assert all(problem.problem.startswith(told) for problem in problems)
    assert {problem.value for problem in problems} == {"<masked>"}


def test_a_variable_and_a_file_that_differ_are_neither_used(serve: Any, write_secret: WriteSecret) -> None:
    other = f"another-{TOKEN}"
    served = serve(make_app(), SCRAPE_TOKEN=TOKEN, SCRAPE_TOKEN_FILE=write_secret(other))
    for token in (TOKEN, other):
        assert served.get(f"{MOUNT}/metrics", headers={"Authorization": f"Bearer {token}"}).status_code == 403
    (problem,) = served.runtime.settings.problems
    assert problem.problem.startswith("It and ORDINAUT_OBS_SCRAPE_TOKEN are both set and differ: neither is used.")
    assert TOKEN not in repr(problem)


def test_a_variable_and_a_file_that_say_the_same_are_used(
    clean_process: pytest.MonkeyPatch, write_secret: WriteSecret
) -> None:
    """Images often fill the variable from the file when they start."""
    clean_process.setenv("DATABASE_URL", "postgresql://u:p@h/d")
    clean_process.setenv("DATABASE_URL_FILE", write_secret("postgresql://u:p@h/d\n"))
    settings = load_settings()
    assert settings.problems == ()
    assert settings.collectors.database_url is not None


def test_commands_take_secrets_from_files_too(
    serve: Any, invoke_command: Any, write_secret: WriteSecret, database_url: str
) -> None:
    served = serve(make_app(), OPERATOR_TOKEN=TOKEN)
    path = write_secret(f"{TOKEN}\n")
    told = invoke_command("check", served.url, "--json", ORDINAUT_OBS_OPERATOR_TOKEN_FILE=path).stdout
    assert all("message" in check for check in json.loads(told)["checks"])
    told = invoke_command("check", served.url, "--json", ORDINAUT_OBS_OPERATOR_TOKEN="another-token-0123456789").stdout
    assert not any("message" in check for check in json.loads(told)["checks"])
    url = database_url.replace("postgresql://", "postgresql+psycopg_async://")
    answer = invoke_command("db", DATABASE_URL="", DATABASE_URL_FILE=write_secret(f"{url}\n", "url"))
    assert answer.returncode == 0, answer.stdout
    differing = {"DATABASE_URL": "postgresql://127.0.0.1:1/other", "DATABASE_URL_FILE": write_secret(url, "url")}
    answer = invoke_command("db", **differing)
    assert (answer.returncode, "are both set and differ" in answer.stderr) == (2, True)
    assert invoke_command("db", "--url", database_url, **differing).returncode == 0
    answer = invoke_command("check", served.url, ORDINAUT_OBS_OPERATOR_TOKEN_FILE="/dev/zero")
    assert "ORDINAUT_OBS_OPERATOR_TOKEN_FILE is not a regular file." in answer.stderr


# -- Hostile values ----------------------------------------------------------------------------------------------------

FUZZ = Path(__file__).parents[1] / "long" / "settings_fuzz.py"
SOME_VARIABLES = (
    *(
        "ORDINAUT_OBS_CONFIG",
        "ORDINAUT_OBS_LABEL_BUDGETS",
        "ORDINAUT_OBS_EXCLUDE_ENDPOINTS",
        "ORDINAUT_OBS_SCRAPE_ALLOW",
    ),
    *("ORDINAUT_OBS_MANAGEMENT_HOST", "ORDINAUT_OBS_SCRAPE_TOKEN_FILE", "DATABASE_URL", "VERSION"),
)


@pytest.mark.parametrize(
    "options",
    [
        ("--variables", *SOME_VARIABLES, "--values", "4"),
        ("--together", "--values", "6"),
        ("--together", "--values", "6", "--doctor"),
    ],
    ids=["host", "together", "doctor"],
)
def test_the_host_starts_and_the_doctor_ends_whatever_the_settings(options: tuple[str, ...]) -> None:
    """Few of the values of `tests/long/test_settings_fuzz.py`."""
    ran = subprocess.run(
        [sys.executable, str(FUZZ), *options], capture_output=True, text=True, timeout=120, check=False
    )
    assert ran.returncode == 0, ran.stderr[-2000:]
    assert json.loads(ran.stdout)["wrong"] == []
    assert PASSWORD not in ran.stderr
