"""The log file beside the host's requests: what is written, what is counted, and what is said of trouble."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from fastapi import FastAPI

LINES, RECORDS = "ordinaut_observability_log_lines_total", "ordinaut_observability_log_records_total"


def make_app() -> FastAPI:
    app = FastAPI()

    @app.get("/tasks")
    def tasks() -> str:
        return "[]"

    @app.get("/broken")
    def broken() -> str:
        raise RuntimeError

    return app


def test_lines_of_all_kinds_are_in_the_file_and_counted_by_level_and_logger(serve: Any, tmp_path: Path) -> None:
    served = serve(make_app(), LOG_FILE=f"{tmp_path}/api.jsonl")
    for path in ("/tasks", "/tasks", "/broken"):
        served.get(path)
    served.runtime.logs.setup.get_logger("reports").warning("late")
    served.runtime.logs.setup.get_logger('a "quoted" name').warning("late")
    assert served.runtime.logs.writer.flush(10)
    lines = [json.loads(line) for line in (tmp_path / "api.0.jsonl").read_text().splitlines()]
    assert [line["status_code"] for line in lines if line["message"] == "request"] == [200, 200, 500]
    assert served.value(RECORDS, level="INFO", logger="orchestrator.api") == 2
    assert served.value(RECORDS, level="ERROR", logger="orchestrator.api") == 1
    assert served.value(RECORDS, level="WARNING", logger="reports") == 1
    assert served.value(RECORDS, logger="") == 1
    written = served.value(LINES, destination="file", outcome="written")
    assert written == served.value(LINES, destination="stderr", outcome="written") == len(lines)
    assert served.value(LINES, outcome="dropped") == 0


def test_the_host_answers_though_the_file_cannot_be_written_which_is_said(
    serve: Any, tmp_path: Path, eventually: Any, capfd: Any
) -> None:
    (tmp_path / "folder").write_text("no directory")
    token = "an-operators-token-0123456789"
    served = serve(
        make_app(), LOG_FILE=f"{tmp_path}/folder/api.jsonl", HEALTH_INTERVAL_SECONDS="0.05", OPERATOR_TOKEN=token
    )

    def check() -> dict[str, Any]:
        url = "/ext/observability/health/checks"
        report = served.get(url, headers={"Authorization": f"Bearer {token}"}).json()
        return next(check for check in report["checks"] if check["name"] == "log_file")

    assert served.get("/tasks").status_code == 200
    assert served.runtime.logs.writer.flush(10)
    assert eventually(lambda: check()["status"] == "unhealthy")
    assert check()["message"] == "File exists"
    assert served.value(LINES, destination="file", outcome="dropped") > 0
    told = [line for line in capfd.readouterr().err.splitlines() if "log file cannot be written" in line]
    assert [json.loads(line)["reason"] for line in told] == ["File exists"]
    (tmp_path / "folder").unlink()
    assert served.get("/tasks").status_code == 200
    assert served.runtime.logs.writer.flush(10)
    assert eventually(lambda: check()["status"] == "healthy")
    assert "/tasks" in (tmp_path / "folder" / "api.0.jsonl").read_text()


def test_with_a_file_there_need_be_no_stream(serve: Any, tmp_path: Path) -> None:
    served = serve(make_app(), LOG_FILE=f"{tmp_path}/api.jsonl", LOG_DESTINATION="none")
    assert served.runtime.logs.writer.writers == []
    assert {labels["destination"] for labels, _ in served.samples(LINES)} == {"file"}
