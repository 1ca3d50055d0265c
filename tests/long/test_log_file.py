"""The log file of real servers under load: a reader that keeps to the inode, and a disk that is full.

Takes about a minute: `python -m pytest tests/long/test_log_file.py`. The disk is a small tmpfs, which only root can
mount.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.integration.test_mixed_processes import report
from tests.integration.test_mixed_processes import start_server as start_server
from tests.unit.logs.test_log_file import Follower

SECONDS = 30.0
UVICORN = ("uvicorn", "application:app", "--port", "{port}", "--no-access-log", "--workers")
DROPPED = re.compile(r'log_lines_total\{destination="file",outcome="dropped"\} (\d+)')


def dropped(port: int) -> int:
    return sum(map(int, DROPPED.findall(httpx.get(f"http://127.0.0.1:{port}/metrics", trust_env=False).text)))


def load(port: int, name: str, seconds: float) -> list[str]:
    """Send requests as fast as they are answered; the ids of those that were."""
    ids = []
    ends_at = time.monotonic() + seconds
    with httpx.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False) as client:
        while time.monotonic() < ends_at:
            ids.append(f"{name}-{len(ids)}")
            assert client.get("/nothing-here", headers={"X-Request-ID": ids[-1]}).status_code == 404
    return ids


def test_a_reader_of_two_workers_that_rotate_gets_the_line_of_every_request_once(
    start_server: Any, tmp_path: Path
) -> None:
    folder = tmp_path / "logs"
    server, port = start_server(
        *(*UVICORN, "2"), ORDINAUT_OBS_LOG_FILE=f"{folder}/api.jsonl", ORDINAUT_OBS_LOG_FILE_MAX_BYTES="65536"
    )
    follower = Follower(folder)
    with ThreadPoolExecutor(4) as pool:
        sent = [each for ids in pool.map(lambda name: load(port, name, SECONDS), "abcd") for each in ids]
    server.end()
    lines = [json.loads(line) for line in follower.end()]
    read = Counter(line["correlation_id"] for line in lines if line["message"] == "request")
    assert len({line["process"] for line in lines}) >= 2
    assert len(sent) > 1500  # 8 files or more
    assert {each: read[each] for each in sent if read[each] != 1} == {}
    kept = list(folder.glob("api.?.jsonl*"))
    assert max(path.stat().st_size for path in kept) <= 65_536
    assert len(kept) <= 2 * 6 + 1  # the parent of the workers may have written too
    assert (folder / "api.0.jsonl.2").exists()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 1 MB."""
    if os.geteuid():
        pytest.skip("only root can mount a small file system")
    (tmp_path / "disk").mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", tmp_path / "disk"], check=True)
    yield tmp_path / "disk"
    subprocess.run(["umount", "-l", tmp_path / "disk"], check=True)


def test_the_host_answers_while_the_disk_is_full_and_lines_are_written_when_it_is_not(
    start_server: Any, small_disk: Path, eventually: Any
) -> None:
    server, port = start_server(
        *(*UVICORN, "1"), ORDINAUT_OBS_LOG_FILE=f"{small_disk}/api.jsonl", ORDINAUT_OBS_LOG_FILES_KEPT="1"
    )

    def check() -> dict[str, Any]:
        return next(check for check in report(port)["checks"] if check["name"] == "log_file")

    assert check()["status"] == "healthy"
    (small_disk / "others").write_bytes(b"x" * (1_000_000 - 100_000))
    load(port, "full", 5.0)
    assert eventually(lambda: dropped(port) > 0)
    assert eventually(lambda: check()["status"] == "unhealthy")
    assert check()["message"] == "No space left on device"
    assert len(server.log_lines(message="log file cannot be written; its lines are dropped")) == 1
    (small_disk / "others").unlink()
    load(port, "free", 0.5)
    assert eventually(lambda: check()["status"] == "healthy")
    *lines, last = (small_disk / "api.0.jsonl").read_bytes().split(b"\n")
    assert last == b""
    # All whole but those that broke off where the disk was full.
    broken = [line for line in lines if not line.endswith(b"}")]
    assert len(broken) <= 2
    assert b'"correlation_id":"free-0"' in b"".join(lines)
    # Of every request of that time there is a line on the stream.
    assert len(server.log_lines(message="request", path="<unmatched>")) > 500
