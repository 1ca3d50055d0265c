"""Canaries in everything a host handles: searched for in all that a process with the extension wrote and served."""

from __future__ import annotations

import logging
from typing import Any

import pytest
from fastapi import FastAPI, Request

from ordinaut_ext_observability.health.model import Outcome

MOUNT = "/ext/observability"
TOKEN = "an-operators-token-0123456789"
OPERATOR = {"Authorization": f"Bearer {TOKEN}"}
CANARY = "cAnArY77sEcReT"
LOG = logging.getLogger("host")


def make_app() -> FastAPI:
    app = FastAPI()

    @app.get("/work")
    def work(request: Request) -> dict[str, bool]:
        LOG.debug("headers %s", request.headers.raw)
        LOG.info("query %s of %s", request.url, dict(request.headers))
        LOG.warning("told", extra={"detail": {"users": [{"password": CANARY, "mail": f"{CANARY}@example.com"}]}})
        LOG.info("statement: SELECT * FROM users WHERE name = '%s'", CANARY)
        LOG.info("bytes %r", f"postgresql://u:{CANARY}@db/x".encode())
        try:
            raise ConnectionError(f"cannot reach redis://:{CANARY}@cache/0?token={CANARY}")
        except ConnectionError:
            LOG.exception("failed", extra={"api_key": CANARY, f"{CANARY}@example.com": 1})
        return {"ok": True}

    return app


def send_work(served: Any) -> None:
    headers = {"Cookie": f"session={CANARY}", "X-Api-Key": CANARY, "Authorization": f"Bearer {CANARY}1"}
    assert served.get(f"/work?access_token={CANARY}&to={CANARY}%40example.com", headers=headers).status_code == 200
    assert served.get(f"/none/{CANARY}@example.com?password={CANARY}", headers=headers).status_code == 404


async def check() -> Outcome:
    return Outcome(
        "healthy", f"Bearer {CANARY}1", {"dsn": CANARY, "url": f"https://u:{CANARY}@h", "list": [f"pwd={CANARY}"]}
    )


@pytest.mark.parametrize("scrubs", [True, False])
def test_no_canary_leaves_the_process(serve: Any, capfd: pytest.CaptureFixture[str], scrubs: bool) -> None:
    settings = {"OPERATOR_TOKEN": TOKEN, "CONFIGURE_LOGGING": "true", "HEALTH_INTERVAL_SECONDS": "0.1"}
    environment = {"DATABASE_URL": f"postgresql://u:{CANARY}@127.0.0.1:1/x", "VERSION": f"https://u:{CANARY}@h"}
    served = serve(make_app(), **settings, **environment, **({} if scrubs else {"SCRUB": "false"}))
    runtime = served.runtime
    runtime.logs.setup.configure("DEBUG")
    runtime.health_monitor.register_check("canary", check)
    send_work(served)
    served.log.line(message="failed")
    paths = (
        "/metrics",
        "/config",
        "/",
        "/health",
        "/health/checks?refresh=true",
        "/alerts",
        "/rules",
        f"/nothing?password={CANARY}",
    )
    answers = [served.get(f"{MOUNT}{path}", headers=OPERATOR) for path in paths]
    told = "".join(answer.text for answer in answers)
    runtime.logs.writer.flush()
    written = served.log.path.read_text() + "".join(capfd.readouterr())
    checks = {entry["name"]: entry for entry in answers[4].json()["checks"]}
    if scrubs:
        assert CANARY not in told
        assert CANARY not in written
        assert "[REDACTED_EMAIL]" in written
        assert served.value("ordinaut_observability_redactions_total", kind="secret") > 3
        assert "scrubbing" not in checks
        assert not served.internal_errors()
    else:
        assert CANARY in written
        assert CANARY not in told  # what checks say and settings hold is scrubbed all the same
        assert checks["scrubbing"]["status"] == "degraded"
        assert served.log.line(event_type="scrubbing_off")["level"] == "WARNING"


def test_pseudonyms_and_the_allow_list_come_from_the_settings(serve: Any, tmp_path: Any) -> None:
    (tmp_path / "key").write_text("k" * 32)
    (tmp_path / "config.yaml").write_text("scrub:\n  allow: [contact, user.mail]\n")
    served = serve(make_app(), SCRUB_KEY_FILE=str(tmp_path / "key"), CONFIG=str(tmp_path / "config.yaml"))
    log = served.runtime.logs.setup.get_logger("persons")
    mails = {"mail": "bob@example.com", "other": "bob@example.com"}
    log.warning("told amy@example.com", extra={"contact": "bob@example.com", "user": mails})
    line = served.log.line(logger="persons")
    assert (line["contact"], line["user"]["mail"]) == ("bob@example.com", "bob@example.com")
    assert line["user"]["other"].startswith("[REDACTED_EMAIL:")
    assert line["user"]["other"] not in line["message"]


def test_the_sanitizer_has_its_known_name() -> None:
    from observability.logging import LogSanitizer

    import ordinaut_ext_observability

    assert ordinaut_ext_observability.LogSanitizer is LogSanitizer
    assert set(LogSanitizer.SENSITIVE_PATTERNS) >= {"email", "phone", "ssn", "credit_card"}
    given = {"a": ["bob@example.com", ("555-123-4567",)], "n": 1}
    assert LogSanitizer.sanitize_data(given) == {"a": ["[REDACTED_EMAIL]", ("[REDACTED_PHONE]",)], "n": 1}
