"""Levels of loggers over HTTP and by the command: who sees them, who changes them, what is refused."""

from __future__ import annotations

import logging
import subprocess
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from fastapi import FastAPI

MOUNT = "/ext/observability"
TOKEN = "an-operators-token-0123456789"
VIEWER = "a-viewers-token-0123456789012"
NAME = "tests.loggers"


@pytest.fixture
def served(serve: Callable[..., Any]) -> Iterator[Any]:
    served = serve(FastAPI(), OPERATOR_TOKEN=TOKEN, VIEWER_TOKEN=VIEWER)
    yield served
    served.runtime.stop()
    assert logging.getLogger(NAME).level == logging.NOTSET


def call(served: Any, method: str, name: str = NAME, token: str = TOKEN, **options: Any) -> Any:
    path = f"{MOUNT}/loggers/{name}".rstrip("/")
    return served.client.request(method, path, headers={"Authorization": f"Bearer {token}"}, **options)


def test_level_is_changed_for_a_while_and_its_change_ended(served: Any) -> None:
    answer = call(served, "PUT", json={"level": "DEBUG", "for": "1h30m"}).json()
    until = answer["changed"].pop("until")
    assert until.endswith("Z")
    assert answer.pop("notes") == call(served, "GET", token=VIEWER).json()["notes"]
    assert answer == {
        "name": NAME,
        "level": "DEBUG",
        "effective_level": "DEBUG",
        "changed": {"level": "DEBUG", "set_by": "127.0.0.1", "previous_level": "NOTSET"},
        "reach": "this process alone: processes share no store",
    }
    loggers = {logger["name"]: logger for logger in call(served, "GET", "", VIEWER).json()["loggers"]}
    assert loggers[NAME]["changed"]["until"] == until and loggers["root"]["changed"] is None
    ended = call(served, "PUT", json={"level": None}).json()
    assert (ended["level"], ended["changed"]) == ("NOTSET", None)
    changed, back = served.log.lines(2, event_type="log_level_changed")
    actions = served.log.lines(2, event_type="operator_action")
    assert [line["correlation_id"] for line in (changed, back)] == [line["correlation_id"] for line in actions]
    facts = {"changed_logger": NAME, "source": "request", "security_event": True}
    expected = {**facts, "previous_level": "NOTSET", "new_level": "DEBUG", "seconds": 5400}
    assert expected | {"client_address": "127.0.0.1"} == {name: changed[name] for name in (*expected, "client_address")}
    assert facts | {"new_level": "NOTSET"} == {name: back[name] for name in (*facts, "new_level")}


@pytest.mark.parametrize(
    ("length", "seconds"), [({}, 600), ({"for": 90}, 90), ({"for": "1.9"}, 2), ({"for": "1d"}, 86400)]
)
def test_time_is_a_duration_or_seconds(served: Any, length: dict[str, Any], seconds: int) -> None:
    assert call(served, "PUT", json={"level": "INFO", **length}).status_code == 200
    assert served.log.line(event_type="log_level_changed")["seconds"] == seconds


@pytest.mark.parametrize(
    ("name", "body", "said"),
    [
        (NAME, {"level": "LOUD"}, "body.level: Input should be 'DEBUG', 'INFO'"),
        (NAME, {"for": "10m"}, "body.level: Field required"),
        (NAME, {"level": "DEBUG", "level_": 1}, "body.level_: Extra"),
        (NAME, [], "body: "),
        (NAME, {"level": "DEBUG", "for": "soon"}, "body.for: give a duration such as 30s"),
        *((NAME, {"level": "DEBUG", "for": wrong}, "body.for: ") for wrong in (None, True, "", 0, -1, "2d", 1e300, [])),
        *((wrong, {"level": "DEBUG"}, "path.name: ") for wrong in ("a%20b", "a%0ab", "%C3%A4", "a" * 129)),
    ],
)
def test_what_cannot_be_read_is_named(served: Any, name: str, body: Any, said: str) -> None:
    answer = call(served, "PUT", name, json=body)
    assert (answer.status_code, answer.json()["error"]) == (422, "invalid_request")
    assert answer.json()["message"].startswith(said)


@pytest.mark.parametrize("body", [b"", b"{", b"\xff", b"[" * 100_000, b'{"level":"DEBUG","for":NaN}', b"1" * 5000])
def test_body_of_any_bytes_is_no_failure(served: Any, body: bytes) -> None:
    assert call(served, "PUT", content=body).status_code in (400, 422)
    assert served.internal_errors().get("endpoint") is None


def test_viewers_change_nothing_and_unknown_loggers_are_not_made(served: Any) -> None:
    assert call(served, "PUT", token=VIEWER, json={"level": "DEBUG"}).status_code == 403
    assert call(served, "GET", f"{NAME}.unknown").json()["error"] == "no_such_logger"
    assert f"{NAME}.unknown" not in logging.root.manager.loggerDict
    for number in range(50):
        assert call(served, "PUT", f"{NAME}.{number}", json={"level": "DEBUG"}).status_code == 200
    refused = call(served, "PUT", json={"level": "DEBUG"})
    assert (refused.status_code, refused.json()["error"]) == (400, "too_many_changed")


def test_command_lists_shows_changes_and_ends(
    served: Any, invoke_command: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    def run(*arguments: str, token: str = TOKEN) -> tuple[int, str]:
        done = invoke_command("log-level", *arguments, "--url", served.url, "--token", token)
        return done.returncode, done.stdout

    status, told = run(NAME, "debug", "--for", "5m")
    assert (status, told.partition(" until ")[0]) == (0, f"DEBUG    {NAME}")
    assert "then NOTSET" in told and "Reach: this process alone" in told
    assert f"DEBUG    {NAME} until" in run()[1] and run(NAME, token=VIEWER)[1].startswith("DEBUG")
    assert "until" not in run(NAME, "--reset")[1]
    assert run(NAME, "loud") == (2, "body.level: Input should be 'DEBUG', 'INFO', 'WARNING', 'ERROR' or 'CRITICAL'\n")
    assert run(NAME, "info", token=VIEWER) == (2, "The viewer token changes nothing.\n")
    assert run("--reset")[1].startswith("Which logger?")
    assert "path.name" in run("a b", "debug")[1]
    assert run("a b")[0] == run("a/../../health")[0] == 2


def test_logger_of_a_name_that_nobody_can_ask_for_is_not_listed(serve: Any) -> None:
    for name in ("\ud800", "tests\nodd"):
        logging.getLogger(name)
    served = serve(FastAPI(), OPERATOR_TOKEN=TOKEN)
    answer = call(served, "GET", "").json()
    assert "tests\nodd" not in {logger["name"] for logger in answer["loggers"]}
    assert answer["not_listed"] >= 2
