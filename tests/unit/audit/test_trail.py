"""What is kept of security events, and what becomes of it when it cannot be."""

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

from ordinaut_ext_observability.audit.trail import RECORDS_PER_MINUTE
from ordinaut_ext_observability.audit.chain import Verification
from ordinaut_ext_observability.correlation.context import RequestContext
from tests.unit.audit.auditing import Audited

Make = Callable[..., Audited]


def records(audited: Audited) -> list[dict[str, Any]]:
    files = sorted(audited.directory.iterdir(), key=lambda path: path.stem.rsplit("-", 2)[1:])
    return [json.loads(line) for path in files for line in path.read_bytes().splitlines()]


def test_a_record_has_its_place_the_ids_and_fields_without_secrets(audited: Make) -> None:
    kept = audited()
    with RequestContext(task_id="42") as context:
        kept.trail.record("security_event", {"result": "blocked", "context": {"password": "hunter2"}})
    kept.trail.close(10)
    opened, event, closed = records(kept)
    assert (opened["event_type"], event["event_type"]) == ("file_opened", "security_event")
    assert closed["event_type"] == "chain_closed"
    assert event["sequence"] == 1
    assert event["previous"] == opened["hash"]
    assert event["fields"] == {"result": "blocked", "context": {"password": "[REDACTED_SECRET]"}}
    assert (event["correlation_id"], event["task_id"]) == (context.correlation_id, "42")
    assert [chain.end for chain in kept.verify().chains.values()] == ["closed"]


def test_the_documented_command_computes_the_hash_of_a_record(audited: Make) -> None:
    kept = audited()
    kept.record("one")
    (path,) = kept.directory.iterdir()
    script = f"""sed -n '2s/,"hash":"[0-9a-f]*"}}$/}}/p' {path} | tr -d '\\n' | sha256sum"""
    computed = subprocess.run(["/bin/sh", "-c", script], capture_output=True, text=True, check=True).stdout
    assert computed.split()[0] == records(kept)[1]["hash"]


def test_files_and_directory_are_the_users_alone(audited: Make) -> None:
    kept = audited()
    kept.record("one")
    (path,) = kept.directory.iterdir()
    assert (kept.directory.stat().st_mode & 0o777, path.stat().st_mode & 0o777) == (0o700, 0o600)


@pytest.mark.parametrize("place", ["link", "writable", "file"])
def test_a_directory_that_is_not_safe_is_refused_said_once_and_mended_by_hand(
    audited: Make, tmp_path: Path, place: str
) -> None:
    kept, directory = audited(), tmp_path / "audit"
    if place == "link":
        (tmp_path / "elsewhere").mkdir()
        directory.symlink_to(tmp_path / "elsewhere")
    elif place == "file":
        directory.touch()
    else:
        directory.mkdir()
        directory.chmod(0o777)
    kept.record("one", "two")
    assert [event.name for event, _ in kept.told] == ["audit_failed"]
    assert kept.counted("disk") == 2
    directory.rename(tmp_path / "aside")
    kept.record("three")
    assert [record["event_type"] for record in records(kept)] == ["file_opened", "records_missing", "security_event"]
    assert records(kept)[1]["fields"] == {"disk": 2}
    assert any('records_missing {"disk":2}' in note for note in kept.verify().notes)


def test_a_link_in_place_of_the_file_is_not_followed(audited: Make, tmp_path: Path) -> None:
    kept, victim = audited(), tmp_path / "victim"
    kept.record("one")
    (path,) = kept.directory.iterdir()
    victim.write_bytes(path.read_bytes())
    path.unlink()
    path.symlink_to(victim)
    before = victim.read_bytes()
    kept.record("two")
    assert victim.read_bytes() == before
    assert kept.counted("written") == 2


def test_a_full_disk_leaves_whole_records_and_a_gap_that_is_recorded(tmp_path: Path) -> None:
    script = f"""
import resource
from pathlib import Path
from tests.unit.audit.auditing import Audited
kept = Audited(Path({str(tmp_path / "audit")!r}))
kept.record("one")
resource.setrlimit(resource.RLIMIT_FSIZE, (700, resource.RLIM_INFINITY))
kept.record("two", "x" * 250, "x" * 250)
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
kept.record("three")
kept.trail.close(10)
result = kept.verify()
print(len(kept.told), kept.counted("disk"), kept.counted("written"), result.problems, *result.notes)
"""
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    told, disk, written, problems, rest = ran.stdout.split(maxsplit=4)
    assert (told, problems) == ("1", "[]")
    assert int(disk) + int(written) == 5
    assert int(disk) >= 2
    assert f'records_missing {{"disk":{disk}}}' in rest


def test_failures_leave_no_empty_files_that_push_out_others(tmp_path: Path) -> None:
    before = Audited(tmp_path / "audit", files=3)
    before.record("one")
    script = f"""
import resource
from pathlib import Path
from tests.unit.audit.auditing import Audited
kept = Audited(Path({str(tmp_path / "audit")!r}), files=3)
resource.setrlimit(resource.RLIMIT_FSIZE, (10, 10))
kept.record(*"abcdef")
print(kept.counted("disk"))
"""
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert float(ran.stdout) == 6
    assert [record["fields"] for record in records(before)][1:] == [{"name": "one"}]
    assert len(list(before.directory.iterdir())) == 1


def test_a_flood_of_one_of_the_hosts_events_leaves_room_for_its_others(audited: Make) -> None:
    kept = audited()
    for name in (*["login_failed"] * (RECORDS_PER_MINUTE + 1), "role_changed"):
        kept.trail.record("security_event", {"event_type": name})
    kept.trail.close(10)
    assert records(kept)[-2]["fields"] == {"event_type": "role_changed"}


def test_a_flood_of_one_kind_is_cut_counted_and_leaves_room_for_others(audited: Make) -> None:
    kept = audited()
    for _ in range(RECORDS_PER_MINUTE + 50):
        kept.trail.record("security_event", {})
    kept.trail.record("operator_action", {})
    kept.trail.close(10)
    assert (kept.counted("written"), kept.counted("too_many")) == (RECORDS_PER_MINUTE + 1, 50)
    assert sum(record["event_type"] == "operator_action" for record in records(kept)) == 1
    assert sum(record["fields"].get("too_many", 0) for record in records(kept)) == 50


def test_threads_at_once_make_one_valid_chain(audited: Make) -> None:
    kept = audited()
    threads = [threading.Thread(target=kept.record, args=[f"{number}"] * 20) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    kept.trail.close(10)
    assert kept.verify().problems == []
    assert [chain.records for chain in kept.verify().chains.values()] == [8 * 20 + 2]


def test_old_files_go_which_is_no_sign_of_a_change(audited: Make) -> None:
    kept = audited(files=3, file_bytes=64 * 1024)
    for number in range(200):
        kept.trail.record(f"type_{number}", {f"{each}": "x" * 280 for each in range(5)})
        assert kept.trail._writer.flush(10)
    result = kept.verify()
    assert len(list(kept.directory.iterdir())) == 3
    assert result.problems == []
    assert "the oldest file of its chain here" in result.notes[0]


def test_without_a_directory_nothing_is_kept_and_no_thread_runs(audited: Make) -> None:
    kept = audited()
    kept.trail._settings = type(kept.settings)()
    kept.trail.record("security_event", {})
    kept.trail.close(1)
    assert kept.trail._writer.thread is None


def test_a_process_killed_while_it_writes_leaves_a_chain_that_is_mended_and_said(tmp_path: Path) -> None:
    """The kill comes while records are written; a write that broke off is put there, where the kill came between."""
    script = f"""
import itertools
from pathlib import Path
from tests.unit.audit.auditing import Audited
kept = Audited(Path({str(tmp_path / "audit")!r}))
for number in itertools.count():
    kept.trail._taken.clear()
    kept.record("x" * 250)
    if number == 20:
        print("begun", flush=True)
"""
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        child.stdout.readline()
        child.kill()
    (path,) = (tmp_path / "audit").iterdir()
    if path.read_bytes().endswith(b"\n"):
        os.truncate(path, path.stat().st_size - 30)
    result = Verification([path], b"")
    assert result.problems == []
    assert "its process was killed while it wrote" in result.notes[0]
    next_one = Audited(tmp_path / "audit")
    next_one.record("next")
    result = next_one.verify()
    assert path.read_bytes().endswith(b"\n")
    assert result.problems == []
    assert f'file_mended {{"file":"{path.name}","torn_bytes":' in result.notes[0]


def test_three_processes_and_a_forked_child_write_one_valid_chain_each(tmp_path: Path) -> None:
    script = f"""
import os
from pathlib import Path
from tests.unit.audit.auditing import Audited
kept = Audited(Path({str(tmp_path / "audit")!r}))
kept.record(*["before"] * 10)
child = os.fork()
kept.record(*["after"] * 10)
kept.trail.close(10)
if child:
    assert os.waitpid(child, 0)[1] == 0
"""
    children = [subprocess.Popen([sys.executable, "-c", script]) for _ in range(3)]
    assert [child.wait(60) for child in children] == [0, 0, 0]
    result = Audited(tmp_path / "audit").verify()
    assert result.problems == []
    found = sorted((chain.records, chain.end) for chain in result.chains.values())
    assert found == [(12, "closed")] * 3 + [(22, "closed")] * 3
