"""Every channel against a receiver that answers as the real one does; a real SMTP server, a real Alertmanager."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
import ssl
import subprocess
from collections.abc import Callable, Iterator
from email import message_from_bytes
from email.policy import default
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult
from fastapi import FastAPI
from typer.testing import CliRunner

from ordinaut_ext_observability.alerts.channels.base import ChannelContext, make_channel
from ordinaut_ext_observability.alerts.manager import Alert, AlertManager, AlertRule, AlertSeverity
from ordinaut_ext_observability.alerts.notifications.alert import NotifiedAlert
from ordinaut_ext_observability.alerts.notifications.deliveries import Delivery, DeliveryError
from ordinaut_ext_observability.alerts.routing.routes import Integration
from ordinaut_ext_observability.cli.main import app as command
from tests.conftest import free_port
from tests.http_receiver import HttpReceiver

NOW = 1_700_000_000_000
MOUNT = "/ext/observability"
TOKEN = "an-operators-token-0123456789"
KEY = "0123456789abcdef0123456789abcdef"
SLACK_PATH = "/services/T0/B0/SECRETsecretSECRETsecret0"
QUICK = {"HISTORY_INTERVAL_SECONDS": "1", "ALERTS_SETTLE_SECONDS": "0", "OPERATOR_TOKEN": TOKEN}
QUIET = {"HealthCheckNotHealthy": {"enabled": False}, "Watchdog": {"enabled": False}}


def slack_answer(body: Any) -> tuple[int, str]:
    """As Slack judges: https://docs.slack.dev/messaging/sending-messages-using-incoming-webhooks#handling_errors."""
    blocks = body["attachments"][0]["blocks"]
    if not body["text"] or len(blocks) > 50:
        return 400, "invalid_payload"
    for block in blocks:
        if block["type"] != "section" or not 0 < len(block["text"]["text"]) <= 3000:
            return 400, "invalid_attachments"
    return 200, "ok"


def pagerduty_answer(body: Any) -> tuple[int, str]:
    """As the Events API judges: https://developer.pagerduty.com/docs/send-alert-event."""
    wrong = [] if re.fullmatch("[0-9a-f]{32}", body["routing_key"]) else ["Length of 'routing_key' is incorrect"]
    payload = body.get("payload", {})
    if body["event_action"] == "trigger":
        wrong += [f"'{name}' is missing" for name in ("summary", "source", "severity") if not payload.get(name)]
        wrong += ["'severity' is wrong"] if payload["severity"] not in ("critical", "error", "warning", "info") else []
    elif body["event_action"] not in ("acknowledge", "resolve") or not 0 < len(body["dedup_key"]) <= 255:
        wrong.append("'event_action' is wrong")
    if wrong:
        return 400, json.dumps({"status": "invalid event", "message": "Event object is invalid", "errors": wrong})
    return 202, json.dumps({"status": "success", "message": "Event processed", "dedup_key": body["dedup_key"]})


@pytest.fixture
def receiver(receiver: HttpReceiver) -> HttpReceiver:
    """Answers as the receiver of each path does."""

    def judge(path: str, body: Any) -> tuple[int, dict[str, str], str]:
        answer = {"/services": slack_answer, "/v2": pagerduty_answer}.get(path.rpartition("/")[0][:9])
        status, text = answer(body) if answer else (200, "")
        return status, {}, text

    receiver.judge = judge
    return receiver


def send(kind: str, ends_ms: int | None = None, created_ms: int = NOW, **options: Any) -> DeliveryError | None:
    """The error of one delivery, None where it was taken."""
    alert = NotifiedAlert(
        {"alertname": "Down", "severity": "critical"}, {"summary": "It is down"}, NOW - 60_000, ends_ms
    )
    delivery = Delivery("{}", {}, "team", f"team/{kind}[0]", "first", [alert], created_ms, NOW)

    async def run() -> DeliveryError | None:
        channel = make_channel(Integration(kind, f"team/{kind}[0]", options=options), ChannelContext(lambda *_: None))
        try:
            await channel.send(delivery)
        except DeliveryError as error:
            return error
        finally:
            await channel.close()
            sockets = asyncio.get_running_loop()._selector.get_map()
            while len(sockets) > 1:  # TLS says goodbye to the server, which takes it a moment
                await asyncio.sleep(0.001)
        return None

    return asyncio.run(run())


def test_slack_takes_a_message_and_its_refusals_are_told_apart(receiver: HttpReceiver, caplog: Any) -> None:
    caplog.set_level("DEBUG")
    url = f"{receiver.url}{SLACK_PATH}"
    assert send("slack", api_url=url, channel="#ops") is None
    ((_, body),) = receiver.posted
    assert (body["text"], body["channel"], body["attachments"][0]["color"]) == (
        "CRITICAL Down: It is down",
        "#ops",
        "#c0392b",
    )
    for answer, permanent, wait, words in (
        ((404, {}, "no_service"), True, None, "the receiver answered 404: no_service"),
        ((200, {}, "invalid_payload"), True, None, "the receiver answered 200: invalid_payload"),
        ((429, {"Retry-After": "30"}, "rate_limited"), False, 30.0, "the receiver answered 429: rate_limited"),
        ((500, {}, f"see {SLACK_PATH}"), False, None, "the receiver answered 500"),
    ):
        receiver.next = answer
        error = send("slack", api_url=url)
        assert error is not None
        assert (error.permanent, error.retry_after_seconds, str(error)) == (permanent, wait, words)
    assert "HTTP Request: POST http://127.0.0.1" in caplog.text
    assert "SECRET" not in caplog.text


def test_pagerduty_opens_and_resolves_one_incident(receiver: HttpReceiver) -> None:
    url = f"{receiver.url}/v2/enqueue"
    assert send("pagerduty", routing_key=KEY, url=url) is None
    assert send("pagerduty", routing_key=KEY, url=url, ends_ms=NOW) is None
    (_, opened), (_, resolved) = receiver.posted
    assert (opened["event_action"], resolved["event_action"]) == ("trigger", "resolve")
    assert opened["dedup_key"] == resolved["dedup_key"]
    assert (refused := send("pagerduty", routing_key="short", url=url)) is not None
    assert refused.permanent
    receiver.next = (429, {}, "")
    assert (busy := send("pagerduty", routing_key=KEY, url=url)) is not None
    assert (busy.permanent, busy.retry_after_seconds) == (False, 120.0)


class Mailbox:
    """A handler of aiosmtpd that keeps what it is given."""

    def __init__(self) -> None:
        self.mails: list[Any] = []
        self.answer = ""

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:
        if self.answer:
            return self.answer
        self.mails.append(message_from_bytes(envelope.content, policy=default))
        return "250 OK"


@pytest.fixture
def mailbox(tmp_path: Path) -> Iterator[tuple[Mailbox, dict[str, Any]]]:
    """A server with STARTTLS and a login, and the options of an integration for it."""
    certificate, key = tmp_path / "certificate.pem", tmp_path / "key.pem"
    made = ("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost")
    names = ("-addext", "subjectAltName=DNS:localhost", "-keyout", str(key), "-out", str(certificate))
    subprocess.run(["openssl", *made, *names], check=True, capture_output=True)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate, key)

    def log_in(server: Any, session: Any, envelope: Any, mechanism: str, data: Any) -> AuthResult:
        return AuthResult(success=data.login == b"ordinaut" and data.password == b"hunter2", handled=False)

    box = Mailbox()
    options = {"tls_context": context, "require_starttls": True, "authenticator": log_in, "auth_required": True}
    controller = Controller(box, "localhost", free_port(), **options)
    controller.start()
    yield (
        box,
        {
            "to": "a@example.com, b@example.com",
            "from": "Ordinaut <ordinaut@example.com>",
            "smarthost": f"localhost:{controller.port}",
            "auth_username": "ordinaut",
            "auth_password": "hunter2",
            "require_tls": True,
            "tls_config": {"ca_file": str(certificate)},
        },
    )
    controller.stop()


def test_mail_arrives_over_tls_and_its_resolve_is_in_the_same_conversation(
    mailbox: tuple[Mailbox, dict[str, Any]],
) -> None:
    box, options = mailbox
    assert send("email", **options) is None
    assert send("email", ends_ms=NOW, created_ms=NOW + 1, **options) is None
    firing, resolved = box.mails
    assert (firing["Subject"], resolved["Subject"]) == ("CRITICAL Down: It is down", "RESOLVED Down: It is down")
    assert firing["References"] == resolved["References"]
    assert firing["Message-ID"] != resolved["Message-ID"]
    assert "Since: 2023-11-14 22:12 UTC, for 1m 0s" in firing.get_body(("plain",)).get_content()
    assert "<b>Since:</b>" in firing.get_body(("html",)).get_content()


def test_mail_server_that_refuses_for_good_is_told_from_one_that_is_busy(
    mailbox: tuple[Mailbox, dict[str, Any]],
) -> None:
    box, options = mailbox
    wrong = [
        ({}, "550 no such user hunter2", True, "mail is not taken: SMTPDataError 550"),
        ({}, "451 busy", False, "mail is not taken: SMTPDataError 451"),
        ({"auth_password": "wrong"}, "", True, "mail is not taken: SMTPAuthenticationError 535"),
        ({"smarthost": f"localhost:{free_port()}"}, "", False, "mail is not taken: SMTPConnectError"),
        ({"tls_config": {}}, "", False, "mail is not taken: SSLCertVerificationError"),
    ]
    for changed, box.answer, permanent, words in wrong:
        error = send("email", **{**options, **changed})
        assert error is not None
        assert (error.permanent, str(error)) == (permanent, words)


def write_config(folder: Path, rule: str = "vector(1) > 0", **alertmanager: Any) -> dict[str, str]:
    rules, config = folder / "rules.yaml", folder / "observability.yaml"
    alert = {"alert": "Planted", "expr": rule, "labels": {"severity": "critical"}, "annotations": {"summary": "It is"}}
    rules.write_text(yaml.safe_dump({"groups": [{"name": "g", "rules": [alert]}]}))
    config.write_text(yaml.safe_dump({"rules": QUIET, "rule_files": [str(rules)], **alertmanager}))
    return {"CONFIG": str(config), **QUICK}


def routes(wait: str = "0s", **ways: Any) -> dict[str, Any]:
    route = {"receiver": "team", "group_by": ["alertname"], "group_wait": wait, "group_interval": "1s"}
    return {"alertmanager": {"route": route, "receivers": [{"name": "team", **ways}]}}


def failing_app() -> FastAPI:
    app = FastAPI()

    @app.get("/tasks/{task_id}")
    def task(task_id: int) -> None:
        raise ValueError(f"password=hunter2 {task_id}")

    return app


def test_message_names_the_failing_endpoint_the_error_and_a_request(
    serve: Any, receiver: HttpReceiver, tmp_path: Path, eventually: Any
) -> None:
    slack = {"slack_configs": [{"api_url": f"{receiver.url}{SLACK_PATH}"}]}
    rule = 'sum(increase(orchestrator_http_requests_total{status_code="500"}[1m])) > 0.5'
    served = serve(failing_app(), VERSION="4.2", **write_config(tmp_path, rule, **routes("1s", **slack)))

    def told() -> bool:
        served.get("/tasks/7", headers={"X-Request-ID": "my-request"})
        return bool(receiver.posted)

    assert eventually(told, 15)
    text = "\n".join(block["text"]["text"] for block in receiver.posted[0][1]["attachments"][0]["blocks"])
    assert re.search(r"\*Value:\* [\d.]+ \(threshold 0\.5\)", text)
    assert re.search(r"\*Most failed requests in 5 minutes:\* GET /tasks/\{task_id\} \(\d", text)
    assert re.search(r"\*Newest error:\* ValueError at /tasks/\{task_id\}, \d+ times, last .*correlation id \S+", text)
    assert re.search(r"\*Failed request:\* GET /tasks/\{task_id\}, status 500, .*correlation id \S+", text)
    assert re.search(r"\*Sent by:\* \S+, VERSION 4\.2, running since [\dT:-]+ UTC", text)
    assert "hunter2" not in text


def test_functions_of_the_host_are_called_once_though_another_fails(
    serve: Any, tmp_path: Path, eventually: Any
) -> None:
    calls: list[tuple[str, str, AlertSeverity, str]] = []
    manager, fails = AlertManager(), [True]

    def plain(alert: Alert) -> None:
        calls.append(("plain", alert.name, alert.severity, alert.message))

    async def coroutine(alert: Alert) -> None:
        if fails.pop() if fails else False:
            raise LookupError
        calls.append(("coroutine", alert.name, alert.severity, alert.message))

    manager.add_notification_channel("pagerduty", plain)
    manager.add_notification_channel("mine", coroutine)
    manager.add_notification_channel("other", plain)
    manager.routing_rules[AlertSeverity.CRITICAL] = ["log", "pagerduty", "mine"]
    served = serve(FastAPI(), **write_config(tmp_path, **routes(function_configs=[{"name": "*"}])))
    assert eventually(lambda: len(calls) == 2, 15)
    assert calls == [(name, "Planted", AlertSeverity.CRITICAL, "It is") for name in ("plain", "coroutine")]
    assert str(send("function", name="missing")) == "the process that sends has no function of the name missing"
    assert "mine (LookupError)" in served.log.line(event_type="notification_failed")["reason"]


def test_slack_notification_of_the_old_api_tells_slack(receiver: HttpReceiver, monkeypatch: Any) -> None:
    from observability.alerts import slack_notification

    async def evaluate() -> None:
        manager = AlertManager()
        manager.add_rule(
            AlertRule("high_queue_depth", lambda ctx: ctx["depth"] > 1, AlertSeverity.WARNING, "{depth} <wait>")
        )
        manager.add_notification_channel("slack", slack_notification)
        for depth in (3, 0):
            await manager.evaluate_rules({"depth": depth})

    monkeypatch.delenv("SLACK_WEBHOOK_URL", raising=False)
    asyncio.run(evaluate())
    assert receiver.posted == []
    monkeypatch.setenv("SLACK_WEBHOOK_URL", f"{receiver.url}{SLACK_PATH}")
    asyncio.run(evaluate())
    assert [body["text"] for _, body in receiver.posted] == [
        "WARNING high_queue_depth: 3 &lt;wait&gt;",
        "RESOLVED high_queue_depth: 3 &lt;wait&gt;",
    ]


@pytest.fixture
def alertmanager(receiver: HttpReceiver, tmp_path: Path, eventually: Any) -> Iterator[str]:
    path = shutil.which("prometheus-alertmanager") or shutil.which("alertmanager")
    if path is None:
        if os.environ.get("CI") == "true":
            pytest.fail("Alertmanager is not installed")
        pytest.skip("Alertmanager is not installed (Debian: prometheus-alertmanager)")
    route = {"receiver": "r", "group_wait": "0s", "group_interval": "1s"}
    config = {"route": route, "receivers": [{"name": "r", "webhook_configs": [{"url": f"{receiver.url}/hook"}]}]}
    (tmp_path / "alertmanager.yml").write_text(yaml.safe_dump(config))
    url = f"http://127.0.0.1:{free_port()}"
    options = (
        f"--config.file={tmp_path}/alertmanager.yml",
        f"--storage.path={tmp_path}/am",
        "--cluster.listen-address=",
    )
    with (tmp_path / "alertmanager.log").open("wb") as log:
        process = subprocess.Popen([path, *options, f"--web.listen-address={url[7:]}"], stdout=log, stderr=log)

    def ready() -> bool:
        try:
            return httpx.get(f"{url}/-/ready", trust_env=False).status_code == 200
        except httpx.HTTPError:
            return False

    try:
        assert eventually(ready)
        yield url
    finally:
        process.terminate()
        process.wait()


def test_real_alertmanager_tells_in_our_place_what_fires_and_what_is_resolved(
    serve: Any, receiver: HttpReceiver, alertmanager: str, tmp_path: Path, eventually: Any
) -> None:
    here = tmp_path / "ours"
    here.mkdir()
    ways = routes(webhook_configs=[{"url": f"{receiver.url}/ours"}])
    gone = f"http://127.0.0.1:{free_port()}"
    served = serve(FastAPI(), ALERTMANAGER_URLS=f"{gone},{alertmanager}/", **write_config(here, **ways))

    def told() -> list[tuple[str, str]]:
        return [(path, body["status"]) for path, body in receiver.posted]

    assert eventually(lambda: told() == [("/hook", "firing")], 15)
    assert receiver.posted[0][1]["alerts"][0]["labels"] == {"alertname": "Planted", "severity": "critical"}
    write_config(here, "vector(0) > 0", **ways)
    assert eventually(lambda: told() == [("/hook", "firing"), ("/hook", "resolved")], 15)
    failed = served.log.line(event_type="notification_failed")
    assert failed["integration"] == "alertmanager[0]"
    assert served.value("ordinaut_observability_notification_integration_up", integration="alertmanager[0]") == 0
    assert served.value("ordinaut_observability_notification_integration_up", integration="alertmanager[1]") == 1


def test_three_variables_alone_reach_slack_pagerduty_and_mail(
    serve: Any, receiver: HttpReceiver, monkeypatch: Any
) -> None:
    box = Mailbox()
    controller = Controller(box, "localhost", free_port())
    controller.start()
    monkeypatch.setenv("SLACK_WEBHOOK_URL", f"{receiver.url}{SLACK_PATH}")
    ways = {"PAGERDUTY_ROUTING_KEY": KEY, "PAGERDUTY_URL": f"{receiver.url}/v2/enqueue"}
    mail = {"SMTP_URL": f"smtp://localhost:{controller.port}", "EMAIL_TO": "a@example.com"}
    served = serve(FastAPI(), OPERATOR_TOKEN=TOKEN, **ways, **mail)
    done = CliRunner().invoke(command, ["notify", "test", "critical", "--url", served.url, "--token", TOKEN])
    controller.stop()
    assert {line.partition(": ")[0]: line.partition(": ")[2] for line in done.output.splitlines()} == dict.fromkeys(
        (f"critical/{kind}[0]" for kind in ("slack", "pagerduty", "email", "log", "function")), "sent"
    )
    assert sorted(path for path, _ in receiver.posted) == [SLACK_PATH] * 2 + ["/v2/enqueue"] * 2
    assert [mail["Subject"].partition(" ")[0] for mail in box.mails] == ["INFO", "RESOLVED"]


@pytest.fixture
def told(serve: Any, receiver: HttpReceiver, tmp_path: Path) -> Callable[..., Any]:
    ways = {
        "slack_configs": [{"api_url": f"{receiver.url}{SLACK_PATH}"}],
        "pagerduty_configs": [{"routing_key": KEY, "url": f"{receiver.url}/v2/enqueue"}],
    }
    served = serve(FastAPI(), **write_config(tmp_path, "vector(0) > 0", **routes(**ways)))

    def run(to: str) -> Any:
        return CliRunner().invoke(command, ["notify", "test", to, "--url", served.url, "--token", TOKEN])

    return run


def test_notify_test_sends_through_each_integration_and_says_what_came_of_it(
    told: Callable[..., Any], receiver: HttpReceiver
) -> None:
    done = told("team")
    assert (done.exit_code, done.output) == (0, "team/slack[0]: sent\nteam/pagerduty[0]: sent\n")
    assert receiver.posted[0][1]["text"] == "INFO NotificationTest: This is a test, nothing is the matter"
    assert [body["event_action"] for path, body in receiver.posted if path == "/v2/enqueue"] == ["trigger", "resolve"]
    receiver.next = (403, {}, "action_prohibited")
    done = told("team/slack[0]")
    assert (done.exit_code, done.output) == (1, "team/slack[0]: the receiver answered 403: action_prohibited\n")
    done = told("nobody")
    assert done.exit_code == 2
    assert "receivers are team" in done.output
