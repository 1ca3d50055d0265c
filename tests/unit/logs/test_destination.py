"""Lines go where the stream went at the start, and into nothing the host opened since, whatever number that has."""

from __future__ import annotations

import gc
import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from ordinaut_ext_observability.logs.destination import Destination
from ordinaut_ext_observability.logs.writer import LogWriter

TIMEOUT_SECONDS = 10.0

# Runs in a process of its own. What the host opens is of every kind, one after the other; each says what it received.
PREAMBLE = """
import json, os, socket, sys
from ordinaut_ext_observability.logs.destination import standard_stream
from ordinaut_ext_observability.logs.writer import LogWriter, WriterReports

stream, result = sys.argv[1:]
number = 1 if stream == "stdout" else 2
counts = {"written": 0, "dropped": 0}
kept = []

def open_others(kind):
    "As many as it takes to get every number that is free below 40; returns the ends that are read."
    ends = []
    while not ends or max(end[0] for end in ends) < 40:
        if kind == "inet":
            server = socket.create_server(("127.0.0.1", 0)); client = socket.create_connection(server.getsockname())
            kept.extend((server, client)); ends.append((client.fileno(), server.accept()[0]))
        elif kind == "unix":
            client, peer = socket.socketpair(); kept.append(client); ends.append((client.fileno(), peer))
            kept.append(peer)
        elif kind == "pipe":
            reader, writer = os.pipe(); ends.append((writer, reader))
        else:
            descriptor = os.open(result + f".{len(ends)}", os.O_RDWR | os.O_CREAT); ends.append((descriptor, None))
    return ends

def received(ends):
    data = b""
    for descriptor, end in ends:
        if end is None:
            data += os.pread(descriptor, 1000, 0)
            continue
        end = end if isinstance(end, int) else end.fileno()
        os.set_blocking(end, False)
        try:
            data += os.read(end, 1000)
        except BlockingIOError:
            pass
    return data.decode()

def count(name):
    return lambda lines: counts.__setitem__(name, counts[name] + lines)

def make_writer():
    return LogWriter(standard_stream(stream), WriterReports(count("written"), count("dropped")))

def log(writer, line):
    writer.write(line)
    assert writer.flush(10)

def report(ends):
    with open(result, "w") as file:
        json.dump({"received": received(ends), **counts}, file)
"""


def run(code: str, stream: str, folder: Path, *, closed: bool = False) -> tuple[dict[str, Any], str]:
    """What the code reported, and what arrived where the stream went."""
    result = folder / "result"
    redirection = f"{1 if stream == 'stdout' else 2}>&-" if closed else ""
    command = ["sh", "-c", f'exec "$@" {redirection}', "sh", sys.executable, "-Wignore", "-c", PREAMBLE + code]
    ended = subprocess.run([*command, stream, str(result)], capture_output=True, text=True, timeout=30, check=False)
    assert ended.returncode == 0, ended.stderr
    return json.loads(result.read_text()), ended.stdout if stream == "stdout" else ended.stderr


KINDS = ["inet", "unix", "pipe", "file"]


@pytest.mark.parametrize("stream", ["stderr", "stdout"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_stream_closed_before_the_start_is_nobody_elses_later(tmp_path: Path, stream: str, kind: str) -> None:
    code = f'ends = open_others("{kind}"); log(make_writer(), "lost"); report(ends)'
    reported, _ = run(code, stream, tmp_path, closed=True)
    assert reported == {"received": "", "written": 0, "dropped": 1}


@pytest.mark.parametrize("kind", KINDS)
def test_a_stream_closed_before_the_first_line_is_nobody_elses_later(tmp_path: Path, kind: str) -> None:
    code = f'os.close(number); ends = open_others("{kind}"); log(make_writer(), "lost"); report(ends)'
    reported, arrived = run(code, "stderr", tmp_path)
    assert reported == {"received": "", "written": 0, "dropped": 1}
    assert arrived == ""


def test_an_internet_socket_is_no_stream_though_children_would_inherit_it(tmp_path: Path) -> None:
    """Servers make their listeners so."""
    code = """
os.close(number)
ends = open_others("inet")
for descriptor, _ in ends:
    os.set_inheritable(descriptor, True)
log(make_writer(), "lost")
report(ends)
"""
    reported, _ = run(code, "stderr", tmp_path)
    assert reported == {"received": "", "written": 0, "dropped": 1}


@pytest.mark.parametrize("stream", ["stderr", "stdout"])
@pytest.mark.parametrize("kind", KINDS)
def test_after_the_stream_was_closed_lines_go_where_it_went(tmp_path: Path, stream: str, kind: str) -> None:
    code = f"""
writer = make_writer()
log(writer, "first")
os.close(number)
ends = open_others("{kind}")
log(writer, "second")
report(ends)
"""
    reported, arrived = run(code, stream, tmp_path)
    assert reported == {"received": "", "written": 2, "dropped": 0}
    assert arrived == "first\nsecond\n"


@pytest.mark.parametrize("kind", KINDS)
def test_a_host_that_closes_all_it_did_not_open_still_gets_its_lines_on_the_stream(tmp_path: Path, kind: str) -> None:
    code = f"""
writer = make_writer()
log(writer, "first")
os.closerange(3, 100)
ends = open_others("{kind}")
log(writer, "second")
report(ends)
"""
    reported, arrived = run(code, "stderr", tmp_path)
    assert reported == {"received": "", "written": 2, "dropped": 0}
    assert arrived == "first\nsecond\n"


@pytest.mark.parametrize("kind", KINDS)
def test_lines_are_dropped_and_counted_when_the_stream_and_our_own_number_are_gone(tmp_path: Path, kind: str) -> None:
    code = f"""
writer = make_writer()
log(writer, "first")
os.closerange(2, 100)
ends = open_others("{kind}")
log(writer, "second")
del writer
import gc; gc.collect()
assert all(os.fstat(descriptor) for descriptor, _ in ends), "a number of the host's was closed"
report(ends)
"""
    reported, arrived = run(code, "stderr", tmp_path)
    assert reported == {"received": "", "written": 1, "dropped": 1}
    assert arrived == "first\n"


@pytest.mark.parametrize("how", ["os.fork", "multiprocessing"])
def test_a_child_writes_where_its_parent_does_whatever_it_closed(tmp_path: Path, how: str) -> None:
    code = """
def child():
    os.close(number)
    ends = open_others("inet")
    log(writer, "child")
    report(ends)

writer = make_writer()
log(writer, "parent")
"""
    code += {
        "os.fork": "pid = os.fork()\nif not pid:\n    child()\n    os._exit(0)\nassert os.waitpid(pid, 0)[1] == 0",
        "multiprocessing": """
import multiprocessing
process = multiprocessing.get_context("fork").Process(target=child)
process.start()
process.join()
assert process.exitcode == 0
""",
    }[how]
    reported, arrived = run(code, "stderr", tmp_path)
    assert reported == {"received": "", "written": 2, "dropped": 0}
    assert arrived == "parent\nchild\n"


def test_a_child_that_is_executed_gets_no_number_of_ours(tmp_path: Path) -> None:
    code = """
import subprocess
COUNT = "import os; print(sum(os.path.exists(f'/proc/self/fd/{number}') for number in range(100)))"
count_in_child = lambda: subprocess.check_output([sys.executable, "-c", COUNT], close_fds=False)
before = count_in_child()
log(make_writer(), "line")
assert count_in_child() == before
report([])
"""
    run(code, "stderr", tmp_path)


def test_a_stream_of_a_service_that_is_a_unix_socket_gets_the_lines(tmp_path: Path) -> None:
    """As of systemd's journal, and of programs that start children with socket pairs."""
    ours, theirs = socket.socketpair()
    code = "from ordinaut_ext_observability import get_logger; get_logger('service').warning('here')"
    subprocess.run([sys.executable, "-c", code], stderr=theirs, check=True, timeout=30, cwd=tmp_path)
    theirs.close()
    with ours:
        assert json.loads(ours.recv(10_000))["message"] == "here"


def test_a_stream_that_the_host_put_elsewhere_before_the_first_line_is_the_stream(tmp_path: Path) -> None:
    code = """
descriptor = os.open(result + ".log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
os.dup2(descriptor, number)
log(make_writer(), "line")
report([])
"""
    reported, arrived = run(code, "stderr", tmp_path)
    assert (reported["written"], arrived) == (1, "")
    assert (tmp_path / "result.log").read_text() == "line\n"


def test_a_process_started_without_stderr_keeps_its_connections_clean_and_counts(tmp_path: Path) -> None:
    """The whole way: the application's logger, the process's runtime, its metrics."""
    code = """
ends = open_others("inet")
from ordinaut_ext_observability import current_runtime, get_logger
get_logger("w").info("lost")
runtime = current_runtime()
assert runtime.logs.writer.flush(10)
counts["dropped"] = runtime.metrics.log_lines.labels("stderr", "dropped").value
counts["written"] = runtime.metrics.log_lines.labels("stderr", "written").value
report(ends)
"""
    reported, _ = run(code, "stderr", tmp_path, closed=True)
    assert reported == {"received": "", "written": 0, "dropped": 1}


def test_a_writer_leaves_no_descriptor_behind() -> None:
    reader, file_descriptor = os.pipe()
    os.set_blocking(reader, False)
    gc.collect()
    before = set(os.listdir("/proc/self/fd"))
    for _ in range(20):
        writer = LogWriter(file_descriptor)
        writer.write("line")
        writer.close(TIMEOUT_SECONDS)
        del writer
    gc.collect()
    assert set(os.listdir("/proc/self/fd")) <= before  # what earlier tests left may close meanwhile
    assert os.read(reader, 1000) == b"line\n" * 20
    os.close(reader)
    os.close(file_descriptor)


def test_without_a_number_left_lines_go_to_the_one_given(monkeypatch: pytest.MonkeyPatch) -> None:
    reader, file_descriptor = os.pipe()

    def fail(*_: object) -> int:
        raise OSError(24, "Too many open files")

    monkeypatch.setattr("ordinaut_ext_observability.logs.destination.fcntl.fcntl", fail)
    assert Destination(file_descriptor).write_lines(b"line\n") == 0
    assert os.read(reader, 100) == b"line\n"
    os.close(reader)
    os.close(file_descriptor)
