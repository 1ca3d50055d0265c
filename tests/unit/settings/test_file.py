"""The configuration file: what can be used takes effect, the rest is told by its place, and no secret with it."""

from __future__ import annotations

import os
import socket
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from ordinaut_ext_observability.settings.sections import CallableCheckEntry, HttpCheckEntry
from ordinaut_ext_observability.settings.sections import ConfigFile
from ordinaut_ext_observability.settings.load import load_settings
from ordinaut_ext_observability.settings.config_file import MAX_FILE_BYTES, read_config_file

SECRET = "hunter2XcorrectY"
URL = "url: https://example.com/health"


class ReadFile(NamedTuple):
    """What was read of a file, and its problems by their place."""

    http: list[HttpCheckEntry]
    callables: list[CallableCheckEntry]
    problems: dict[str, str]


Read = Callable[..., ReadFile]
NOTHING = ReadFile([], [], {})


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "observability.yaml"


@pytest.fixture
def read(path: Path) -> Read:
    def read_text(text: str | bytes, **environment: str) -> ReadFile:
        path.write_bytes(text if isinstance(text, bytes) else textwrap.dedent(text).encode())
        file, problems = read_config_file(ConfigFile, str(path), environment)
        return ReadFile(file.health.http, file.health.callables, problems)

    return read_text


def places(file: ReadFile) -> list[str]:
    return list(file.problems)


def names(file: ReadFile) -> list[str]:
    return [entry.name for entry in (*file.http, *file.callables)]


@pytest.mark.parametrize(
    "text", ["", "# nothing\n", "health:\n", "{}", "health: {}", "health: {http: , callables: []}"]
)
def test_everything_is_optional(read: Read, text: str) -> None:
    assert read(text) == NOTHING


def test_the_documented_example_is_read(read: Read) -> None:
    root = Path(__file__).parents[3]
    page = (root / "docs" / "configuration.md").read_text()
    example = page.partition("```yaml\n")[2].partition("```")[0]
    file = read(example, MCP_TOKEN="abc")
    assert file.problems == {}
    (service,) = file.http
    assert (service.name, str(service.url), service.method) == ("mcp-github", "https://mcp.example.com/health", "GET")
    assert service.headers == {"Authorization": "Bearer abc"}
    assert (service.expected_statuses, service.timeout_seconds, service.slow_seconds) == ([200], 3, 1)
    assert (service.verify_tls, service.required) == (True, False)
    assert (service.failures_to_worsen, service.passes_to_recover) == (2, 1)
    (function,) = file.callables
    assert (function.name, function.target, function.required) == (
        "license",
        "my_package.checks:license_is_valid",
        False,
    )


def test_defaults(read: Read) -> None:
    file = read(f"health: {{http: [{{name: a, {URL}}}], callables: [{{name: b, import: 'm:f'}}]}}")
    (service,), (function,) = file.http, file.callables
    assert (service.method, service.headers, service.expected_statuses, service.verify_tls) == ("GET", {}, [], True)
    assert service.slow_seconds is None
    assert (service.required, function.required) == (False, True)
    for entry in (service, function):
        assert (entry.timeout_seconds, entry.failures_to_worsen, entry.passes_to_recover) == (3.0, 2, 1)


@pytest.mark.parametrize(
    "entry",
    [
        f'{{name: a, {URL}, headers: {{"Authorization: Bearer {SECRET}": ""}}}}',
        f'{{name: a, {URL}, "password={SECRET}": 1}}',
        f'{{name: a, {URL}, headers: {{X-Token: "{SECRET}\\n"}}}}',
    ],
)
def test_a_secret_in_the_wrong_place_is_not_shown(read: Read, entry: str) -> None:
    problems = read(f'health: {{http: [{entry}]}}\n"{SECRET} {SECRET}": 1').problems
    assert len(problems) == 2
    assert SECRET not in str(problems)


@pytest.mark.parametrize(
    ("text", "position"),
    [
        ("health: [", "line 1, column 10"),
        ("health:\n  http:\n - x: [", "line 3, column 2"),
        ("a: b: c", "line 1, column 5"),
        (b"\xff\xfe\x00", ""),
        (b"a: \x00", ""),
        ("!!python/object/apply:os.system ['true']", "line 1, column 1"),
        ("[" * 5000, ""),
        ("a: 2026-13-45", ""),
        ("? {a: b}\n: c", "line 1, column 3"),
        (f"a: '{SECRET}", ""),
    ],
)
def test_bad_yaml_is_one_problem(read: Read, text: str | bytes, position: str) -> None:
    file = read(text)
    assert (names(file), places(file)) == ([], [""])
    assert file.problems[""].startswith("is not YAML")
    assert position in file.problems[""]
    assert SECRET not in file.problems[""]


@pytest.mark.parametrize("text", ["a: !!bool maybe", "a: !!int ''", "a: !!float ''", "a: !!timestamp never"])
def test_a_yaml_tag_on_a_wrong_value_is_one_problem(read: Read, text: str) -> None:
    assert read(text).problems == {"": "is not YAML"}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("just text", {"": "must be a mapping with health, rules, rule_files, scrub, alertmanager, escalations"}),
        ("[1, 2]", {"": "must be a mapping with health, rules, rule_files, scrub, alertmanager, escalations"}),
        ("health: 3", {"health": "must be a mapping with http, callables"}),
        ("health: [http]", {"health": "must be a mapping with http, callables"}),
        ("health: {http: {name: a}}", {"health.http": "must be a list"}),
        ("health: {callables: text}", {"health.callables": "must be a list"}),
        (
            "healthy: {}",
            {"healthy": "no such name; there are health, rules, rule_files, scrub, alertmanager, escalations"},
        ),
        ("health: {https: []}", {"health.https": "no such name; there are http, callables"}),
        ("{1: 2}", {"<key>": "no such name; there are health, rules, rule_files, scrub, alertmanager, escalations"}),
        ("health: {null: 2}", {"health.None": "no such name; there are http, callables"}),
        ("health: {http: [text]}", None),
        ("health: {http: [[]]}", None),
        ("health: {http: [null]}", None),
        ("health: {http: [{1: 2}]}", None),
    ],
)
def test_wrong_types_are_told_by_their_place(read: Read, text: str, expected: dict[str, str] | None) -> None:
    file = read(text)
    assert names(file) == []
    if expected is None:
        assert all(place.startswith("health.http.0") for place in places(file))
        assert file.problems
    else:
        assert file.problems == expected


@pytest.mark.parametrize(
    ("field", "place"),
    [
        ("name: ''", "name"),
        ("name: 'a/b'", "name"),
        (f"name: {'x' * 101}", "name"),
        ("name: [a]", "name"),
        ("url: example.com", "url"),
        ("url: ftp://example.com", "url"),
        ("url: 'http://example.com:port'", "url"),
        ("method: DELETE", "method"),
        ("method: get", "method"),
        ("headers: [a]", "headers"),
        ("headers: {a: 1}", "headers.a"),
        ("headers: {a: [b]}", "headers.a"),
        ("expected_statuses: 200", "expected_statuses"),
        ("expected_statuses: [200, 700]", "expected_statuses.1"),
        ("expected_statuses: [ok]", "expected_statuses.0"),
        ("timeout_seconds: 0", "timeout_seconds"),
        ("timeout_seconds: soon", "timeout_seconds"),
        ("timeout_seconds: .nan", "timeout_seconds"),
        ("timeout_seconds: .inf", "timeout_seconds"),
        ("slow_seconds: -1", "slow_seconds"),
        ("verify_tls: perhaps", "verify_tls"),
        ("required: 7", "required"),
        ("failures_to_worsen: 0", "failures_to_worsen"),
        ("passes_to_recover: 1.5", "passes_to_recover"),
        ("tiemout_seconds: 3", "tiemout_seconds"),
    ],
)
def test_a_wrong_field_is_told_by_its_place_and_the_other_entries_take_effect(
    read: Read, field: str, place: str
) -> None:
    entry = {"name": "name: bad", "url": URL} | {field.partition(":")[0]: field}
    file = read(
        f"health: {{http: [{{name: first, {URL}}}, {{{', '.join(entry.values())}}}, {{name: last, {URL}}}],"
        " callables: [{name: other, import: 'm:f'}]}"
    )
    assert names(file) == ["first", "last", "other"]
    assert places(file) == [f"health.http.1.{place}"]
    assert all(file.problems.values())


@pytest.mark.parametrize(
    "target", ["module", "module.function", ":f", "m:", "a b:c", "../m:f", "m:f()", "m:f:g", "1m:f", "m::f"]
)
def test_a_target_that_names_no_function_is_told(read: Read, target: str) -> None:
    assert places(read(f"health: {{callables: [{{name: a, import: '{target}'}}]}}")) == ["health.callables.0.import"]


def test_several_problems_are_told_at_once_each_with_its_place(read: Read) -> None:
    file = read(
        f"""
        speed: fast
        health:
          grpc: []
          http:
            - name: one
            - {{name: two, {URL}, method: BREW, timeout_seconds: -1}}
            - {{name: three, {URL}}}
            - {{name: four, {URL}, headers: {{A: "${{MISSING_A}} ${{MISSING_B}}"}}}}
          callables:
            - {{name: five, import: nothing}}
            - {{name: six, import: 'm:f'}}
        """
    )
    assert names(file) == ["three", "six"]
    assert set(file.problems) == {
        "speed",
        "health.grpc",
        "health.http.0.url",
        "health.http.1.timeout_seconds",
        "health.http.1.method",
        "health.http.3.headers.A",
        "health.callables.0.import",
    }
    assert file.problems["health.http.3.headers.A"] == "environment variable not set: MISSING_A, MISSING_B"


def test_too_many_entries_are_none(read: Read) -> None:
    entries = ", ".join(f"{{name: c{number}, {URL}}}" for number in range(101))
    file = read(f"health: {{http: [{entries}], callables: [{{name: other, import: 'm:f'}}]}}")
    assert (names(file), places(file)) == (["other"], ["health.http"])


@pytest.mark.parametrize(
    "text",
    [
        "health: {{http: [{{name: same, {url}}}, {{name: same, {url}}}]}}",
        "health: {{http: [{{name: same, {url}}}], callables: [{{name: same, import: 'm:f'}}]}}",
    ],
)
def test_a_name_given_twice_is_told(read: Read, text: str) -> None:
    assert len(read(text.format(url=URL)).problems) == 1


# -- Variables ---------------------------------------------------------------------------------------------------------


def test_variables_are_filled_in_wherever_there_is_text(read: Read) -> None:
    file = read(
        """
        health:
          http:
            - name: "${NAME}-1"
              url: "https://${HOST}:${PORT}/"
              timeout_seconds: "${SECONDS}"
              headers: {A: "x${A}y${A}z", B: "$A ${} ${1A} $${A}"}
        """,
        NAME="service",
        HOST="example.com",
        PORT="8443",
        SECONDS="7",
        A="val",
    )
    assert file.problems == {}
    (check,) = file.http
    assert (check.name, str(check.url), check.timeout_seconds) == ("service-1", "https://example.com:8443/", 7.0)
    assert check.headers == {"A": "xvalyvalz", "B": "$A ${} ${1A} $val"}


def test_a_value_is_not_filled_in_again(read: Read) -> None:
    file = read(f"health: {{http: [{{name: a, {URL}, headers: {{A: '${{A}}'}}}}]}}", A="${B}", B="inner")
    assert file.http[0].headers == {"A": "${B}"}


def test_an_empty_variable_is_a_value(read: Read) -> None:
    file = read(f"health: {{http: [{{name: a, {URL}, headers: {{A: '${{A}}'}}}}]}}", A="")
    assert (file.problems, file.http[0].headers) == ({}, {"A": ""})


def test_an_unknown_variable_leaves_out_its_entry_only(read: Read) -> None:
    file = read(
        f"health: {{http: [{{name: a, {URL}, headers: {{A: 'Bearer ${{GONE}}', B: '${{SET}}'}}}}, {{name: b, {URL}}}]}}",
        SET=SECRET,
    )
    assert names(file) == ["b"]
    assert file.problems == {"health.http.0.headers.A": "environment variable not set: GONE"}


@pytest.mark.parametrize(
    "field",
    [
        "name: '${S}/'",
        "url: '${S}'",
        "url: 'http://user:${S}@example.com:port/'",
        "url: 'gopher://user:${S}@example.com/'",
        "method: '${S}'",
        "headers: '${S}'",
        "headers: {A: ['${S}']}",
        "expected_statuses: ['${S}']",
        "timeout_seconds: '${S}'",
        "required: '${S}'",
        "failures_to_worsen: '${S}'",
        "unknown: '${S}'",
        "verify_tls: {a: '${S}'}",
    ],
)
def test_secrets_are_in_no_problem(read: Read, field: str) -> None:
    entry = {"name": "name: a", "url": URL} | {field.partition(":")[0]: field}
    file = read(f"health: {{http: [{{{', '.join(entry.values())}}}]}}", S=SECRET)
    assert file.problems
    assert names(file) == []
    assert SECRET not in repr(file)


def test_a_secret_written_into_the_file_is_in_no_problem(read: Read) -> None:
    file = read(f"health: {{http: [{{name: a, url: 'x://u:{SECRET}@h'}}, '{SECRET}', {{name: '{SECRET}!'}}]}}")
    assert len(file.problems) == 4
    assert SECRET not in repr(file)


# -- The file ----------------------------------------------------------------------------------------------------------


def test_a_file_that_is_too_large_is_not_read(read: Read) -> None:
    assert read(b"#" * MAX_FILE_BYTES) == NOTHING
    assert read(b"#" * (MAX_FILE_BYTES + 1)).problems == {"": f"is larger than {MAX_FILE_BYTES} bytes"}


@pytest.mark.parametrize("odd", ["/dev/zero", "/dev/random", "/dev/tty", "a folder", "a pipe", "a socket"])
def test_what_is_no_regular_file_is_not_read(tmp_path: Path, odd: str) -> None:
    (tmp_path / "a folder").mkdir()
    os.mkfifo(tmp_path / "a pipe")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "a socket"))
    _, problems = read_config_file(ConfigFile, str(tmp_path / odd), {})
    assert problems[""].startswith(
        ("is not a regular file", "cannot be read: Is a directory", "cannot be read: No such device")
    )


def test_a_file_that_there_is_not(path: Path) -> None:
    assert read_config_file(ConfigFile, str(path), {})[1] == {"": "cannot be read: No such file or directory"}


def test_a_path_below_a_file(read: Read, path: Path) -> None:
    read("")
    assert read_config_file(ConfigFile, f"{path}/x", {})[1] == {"": "cannot be read: Not a directory"}


# -- In the settings ---------------------------------------------------------------------------------------------------


def test_settings_take_what_can_be_used_and_tell_the_rest(
    clean_process: pytest.MonkeyPatch, read: Read, path: Path
) -> None:
    read(f"health: {{http: [{{name: good, {URL}}}, {{name: bad, url: '${{TEST_SECRET}}'}}]}}")
    clean_process.setenv("ORDINAUT_OBS_CONFIG", str(path))
    clean_process.setenv("TEST_SECRET", SECRET)
    settings = load_settings()
    assert [check.name for check in settings.file.health.http] == ["good"]
    (problem,) = settings.problems
    assert (problem.variable, problem.value) == ("ORDINAUT_OBS_CONFIG", str(path))
    assert problem.problem.startswith("health.http.1.url: ")
    assert SECRET not in repr(settings.problems)


def test_a_misspelt_check_to_leave_out_is_told(clean_process: pytest.MonkeyPatch) -> None:
    clean_process.setenv("ORDINAUT_OBS_HEALTH_DISABLED_CHECKS", "cpu,memroy")
    assert [problem.variable for problem in load_settings().problems] == ["ORDINAUT_OBS_HEALTH_DISABLED_CHECKS"]


def test_checks_of_the_file_are_registered_with_their_options(
    clean_process: pytest.MonkeyPatch, read: Read, path: Path
) -> None:
    from ordinaut_ext_observability.runtime.process import Runtime

    read(f"health: {{http: [{{name: a, {URL}, required: false}}], callables: [{{name: b, import: 'math:nothing'}}]}}")
    clean_process.setenv("ORDINAUT_OBS_CONFIG", str(path))
    runtime = Runtime(load_settings())
    checks = {check.name: check.required for check in runtime.health_monitor.report().checks}
    assert (checks["a"], checks["b"]) == (False, True)
    assert len(checks) == 10


def test_as_many_checks_as_the_file_may_name_do_not_keep_the_extension_from_coming_up(
    clean_process: pytest.MonkeyPatch, read: Read, path: Path
) -> None:
    from ordinaut_ext_observability.runtime.process import Runtime

    http = ", ".join(f"{{name: h{number}, {URL}}}" for number in range(100))
    callables = ", ".join(f"{{name: c{number}, import: 'm:f'}}" for number in range(100))
    assert len(names(read(f"health: {{http: [{http}], callables: [{callables}]}}"))) == 200
    clean_process.setenv("ORDINAUT_OBS_CONFIG", str(path))
    assert len(Runtime(load_settings()).health_monitor.report().checks) >= 200
