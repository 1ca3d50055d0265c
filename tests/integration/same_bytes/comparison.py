"""Runs the cases on one kind of server, without us and with us, and tells where the bytes differ."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .cases import Case, head
from .client import Client, comparable

FOLDER = Path(__file__).parent
MORE_TRIES = 4
"""Where a client leaves or a server closes, chance decides what arrives; a difference has to last."""

APP = "same_bytes.application:app"
COMMANDS: dict[str, tuple[str, ...]] = {
    "uvicorn httptools": ("uvicorn", APP, "--port", "{port}", "--http", "httptools"),
    "uvicorn h11": ("uvicorn", APP, "--port", "{port}", "--http", "h11"),
    "gunicorn": ("gunicorn", APP, "-k", "uvicorn.workers.UvicornWorker", "-b", "127.0.0.1:{port}"),
    "gunicorn preload": ("gunicorn", APP, "-k", "uvicorn.workers.UvicornWorker", "-b", "127.0.0.1:{port}", "--preload"),
    "gunicorn asgi": ("gunicorn", APP, "-k", "asgi", "-b", "127.0.0.1:{port}", "--no-control-socket"),
    "hypercorn": ("hypercorn", APP, "-b", "127.0.0.1:{port}"),
    "granian": ("granian", APP, "--interface", "asgi", "--port", "{port}", "--no-log-access"),
}
SURVIVE_AN_EXIT = frozenset(("uvicorn httptools", "uvicorn h11", "gunicorn", "gunicorn preload", "granian"))
"""Servers that answer a request that raises `SystemExit` and live on."""


@dataclass(frozen=True)
class Outcome:
    """What can be seen of a case from outside, and by the application."""

    answer: bytes
    ending: str
    next_answer: bytes
    seen: tuple[str, ...]


@dataclass
class Difference:
    """A case with what came without us and with us."""

    case: str
    without: set[Outcome]
    with_us: set[Outcome]

    def __str__(self) -> str:
        lines = [f"{self.case}:"]
        for side, outcomes in (("without", self.without), ("with us", self.with_us)):
            lines += [f"  {side}: {_short(outcome)}" for outcome in outcomes]
        return "\n".join(lines)


@dataclass
class Comparison:
    """The result for one server."""

    server: str
    requests: int = 0
    unsteady: list[str] = field(default_factory=list)
    differences: list[Difference] = field(default_factory=list)
    ids_twice: list[str] = field(default_factory=list)
    internal_errors: float = 0.0


def prepare_files(folder: Path) -> None:
    """The files that are served; both sides serve the same ones, since their times show in headers."""
    (folder / "plain.txt").write_text("0123456789\n")
    (folder / "large.bin").write_bytes(bytes(range(256)) * 2000)
    (folder / "folder").mkdir()
    (folder / "folder" / "index.html").write_text("<p>index</p>")


@contextmanager
def served(server: str, mounted: bool, files: Path, start_child: Callable[..., Any], port: int) -> Iterator[Any]:
    """A server of this kind with the application."""
    environ = {"SAME_BYTES_FILES": str(files), "PYTHONPATH": str(FOLDER.parent), "PYTHONWARNINGS": "ignore"}
    if mounted:
        environ["SAME_BYTES_MOUNTED"] = "1"
    command = ["-m", *(part.format(port=port) for part in COMMANDS[server])]
    child = start_child(*command, environ=environ)
    try:
        child.wait_for_port(port)
        yield child
    finally:
        if child.process.poll() is None:
            child.process.terminate()
            child.process.wait(15)


def compare(
    server: str, cases: Iterable[Case], files: Path, start_child: Callable[..., Any], free_port: Callable[[], int]
) -> Comparison:
    """Ask both sides everything."""
    result = Comparison(server)
    plain, ours = free_port(), free_port()
    with (
        served(server, False, files, start_child, plain) as child_without,
        served(server, True, files, start_child, ours) as child_with,
    ):
        for case in cases:
            if case.deadly and server not in SURVIVE_AN_EXIT:
                continue
            result.requests += 1
            without, with_us = {_run(case, plain, result)}, {_run(case, ours, result)}
            for _ in range(MORE_TRIES):
                if without & with_us:
                    break
                without.add(_run(case, plain, result))
                with_us.add(_run(case, ours, result))
            if not without & with_us:
                result.differences.append(Difference(case.name, without, with_us))
            elif len(without | with_us) > 1:
                result.unsteady.append(case.name)
            for child in (child_without, child_with):
                assert child.process.poll() is None, f"{server} ended at {case.name}: {child.err[-2000:]}"
        result.internal_errors = _internal_errors(ours)
    return result


def _run(case: Case, port: int, result: Comparison) -> Outcome:
    client = Client(port)
    case.talk(client)
    if case.settles and not client.ending:
        client.read_to_end(0.2)
    answered = len(client.received)
    seen = None
    if client.ending != "left":
        client.send(head("/seen", more="Connection: close\r\n"))
        client.read_to_end()
        seen = _notes(bytes(client.received[answered:]))
    # Only whether the server goes on is certain: what a client of a closed connection gets depends on its timing.
    ending = "open" if seen is not None else client.ending.replace("reset", "closed")
    client.close()
    if seen is None:
        seen = _fetch_notes(port, case.leaves_note)
    _expect_ids_once(case, bytes(client.received), result)
    return Outcome(
        comparable(bytes(client.received[:answered])),
        ending,
        comparable(bytes(client.received[answered:])),
        tuple(seen),
    )


def _fetch_notes(port: int, expected: bool) -> list[str]:
    deadline = time.monotonic() + 2.0
    notes: list[str] = []
    while True:
        client = Client(port)
        client.send(head("/seen", more="Connection: close\r\n"))
        client.read_to_end()
        client.close()
        notes += _notes(bytes(client.received)) or []
        if notes or not expected or time.monotonic() > deadline:
            return notes
        time.sleep(0.01)


def _notes(answer: bytes) -> list[str] | None:
    found = re.search(rb'\[(".*")?\]', answer)
    if b" 200 " not in answer or found is None:
        return None
    notes: list[str] = json.loads(found[0])
    return notes


def _expect_ids_once(case: Case, received: bytes, result: Comparison) -> None:
    for lines in re.findall(rb"HTTP/1\.[01] \d{3}.*?\r\n\r\n", received, re.S):
        lower = lines.lower()
        own = lower.count(b"x-request-id: own")
        if lower.count(b"x-correlation-id:") > 1 or lower.count(b"x-request-id:") > max(own, 1):
            result.ids_twice.append(case.name)


def _internal_errors(port: int) -> float:
    client = Client(port)
    client.send(head("/metrics", more="Connection: close\r\n"))
    client.read_to_end()
    client.close()
    samples = re.findall(rb"^ordinaut_observability_internal_errors_total\S* (\S+)", client.received, re.M)
    return sum(map(float, samples))


def _short(outcome: Outcome) -> str:
    def cut(data: bytes) -> str:
        return repr(data if len(data) < 700 else data[:400] + b" ... " + data[-200:])[2:-1]

    rest = "" if outcome.ending != "open" else f" then {cut(outcome.next_answer.partition(b'[')[0][:40])}"
    return f"[{outcome.ending}] {cut(outcome.answer)}{rest} seen={list(outcome.seen)}"


def table(results: Iterable[Comparison]) -> str:
    """One line a server."""
    lines = [f"{'server':<18} {'requests':>8} {'differences':>11} {'unsteady':>8} {'ids twice':>9} {'errors of ours':>14}"]
    lines += [
        f"{r.server:<18} {r.requests:>8} {len(r.differences):>11} {len(r.unsteady):>8} {len(r.ids_twice):>9}"
        f" {r.internal_errors:>14.0f}"
        for r in results
    ]
    return "\n".join(lines)
