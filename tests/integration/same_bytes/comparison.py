"""Runs the cases on one kind of server, without us and with us, and tells where the bytes differ."""

from __future__ import annotations

import json
import re
import subprocess
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from .cases import Case, head
from .client import Client, comparable

FOLDER = Path(__file__).parent
MORE_TRIES = 7
"""Where a client leaves or a server closes, chance decides what arrives; a difference has to last."""

NOTE_SECONDS = 0.7
"""Longest wait for what the application notes once its client has gone; not every server tells it."""

SETTLE_SECONDS = 0.2
"""A server that closes after its answer has done so by then."""

STOP_SECONDS = 5.0

StartChild = Callable[..., Any]

APP = "same_bytes.application:app"
COMMANDS: dict[str, tuple[str, ...]] = {
    "uvicorn httptools": ("uvicorn", APP, "--port", "{port}", "--http", "httptools"),
    "uvicorn h11": ("uvicorn", APP, "--port", "{port}", "--http", "h11"),
    "gunicorn": ("gunicorn", APP, "-k", "uvicorn.workers.UvicornWorker", "-b", "127.0.0.1:{port}"),
    "gunicorn preload": ("gunicorn", APP, "-k", "uvicorn.workers.UvicornWorker", "-b", "127.0.0.1:{port}", "--preload"),
    "gunicorn asgi": ("gunicorn", APP, "-k", "asgi", "-b", "127.0.0.1:{port}", "--no-control-socket"),
    "hypercorn": ("hypercorn", APP, "-b", "127.0.0.1:{port}"),
    "granian": ("granian", APP, "--interface", "asgi", "--port", "{port}", "--no-access-log"),
}
EXITS = ("system-exit", "keyboard-interrupt")
DEADLY = {"hypercorn": EXITS, "gunicorn asgi": EXITS, "granian": ("status-true", "status-1000")}
"""Ends of the names of cases that a server itself does not survive."""

CHANCE = {
    "granian": ("posted without the body", "expects", "half-close", "body expects", "body large", "body chunked, un")
}
"""Beginnings of the names of cases a server answers now so, now so: granian adds `connection: close` or answers 400 to
what follows, by whether it had read the rest of the request when its answer went out."""


@dataclass(frozen=True)
class Outcome:
    """What can be seen of a case from outside, and by the application."""

    received: bytes
    ending: str
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
    unsteady: list[Difference] = field(default_factory=list)
    differences: list[Difference] = field(default_factory=list)
    ids_wrong: set[str] = field(default_factory=set)
    """Cases whose answer has an id twice, or another request's."""
    ids_missing: set[str] = field(default_factory=set)
    internal_errors: float = 0.0


def prepare_files(folder: Path) -> None:
    """The files that are served; both sides serve the same ones, since their times show in headers."""
    (folder / "plain.txt").write_text("0123456789\n")
    (folder / "large.bin").write_bytes(bytes(range(256)) * 2000)
    (folder / "folder").mkdir()
    (folder / "folder" / "index.html").write_text("<p>index</p>")


class Side:
    """A server of this kind with the application, without us or with us; started again where a case ends it."""

    def __init__(self, server: str, mounted: bool, files: Path, start_child: StartChild, port: int) -> None:
        self._environ = {
            "SAME_BYTES_FILES": str(files),
            "PYTHONPATH": str(FOLDER.parent),
            "PYTHONWARNINGS": "ignore",
            "PYTHONHASHSEED": "0",  # Starlette lists the allowed methods in the order of a set
            **({"SAME_BYTES_MOUNTED": "1"} if mounted else {}),
        }
        self._command = ["-m", *(part.format(port=port) for part in COMMANDS[server])]
        self._start_child = start_child
        self.port = port

    def __enter__(self) -> Self:
        self._child = self._start_child(*self._command, environ=self._environ)
        self._child.wait_for_port(self.port)
        return self

    def __exit__(self, *_: object) -> None:
        process = self._child.process
        process.terminate()
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:  # requests that never end are among the cases
            process.kill()
            process.wait()

    def run(self, case: Case, result: Comparison | None = None) -> Outcome:
        """The outcome of a case, whether or not the server outlives it."""
        try:
            outcome = _run(case, self.port, result)
        except OSError as error:
            outcome = Outcome(b"", f"no server: {type(error).__name__}", ())
        if self._child.process.poll() is not None:
            outcome = Outcome(outcome.received, "the server ended", ())
            self.__enter__()
        return outcome


def compare(
    server: str, cases: Iterable[Case], files: Path, start_child: StartChild, free_port: Callable[[], int]
) -> Comparison:
    """Ask both sides everything."""
    result = Comparison(server)
    with (
        Side(server, False, files, start_child, free_port()) as plain,
        Side(server, True, files, start_child, free_port()) as ours,
    ):
        for case in cases:
            if case.name.endswith(DEADLY.get(server, ())) or case.name.startswith(CHANCE.get(server, ())):
                continue
            result.requests += 1
            without, with_us = {plain.run(case)}, {ours.run(case, result)}
            for _ in range(MORE_TRIES):
                if without & with_us:
                    break
                without.add(plain.run(case))
                with_us.add(ours.run(case, result))
            if not without & with_us:
                result.differences.append(Difference(case.name, without, with_us))
            elif len(without | with_us) > 1:
                result.unsteady.append(Difference(case.name, without, with_us))
        result.internal_errors = _internal_errors(ours.port)
    return result


def _run(case: Case, port: int, result: Comparison | None = None) -> Outcome:
    client = Client(port)
    case.talk(client)
    if case.settles and not client.ending:
        client.read_to_end(SETTLE_SECONDS)
    if client.ending == "left":
        del client.received[client.taken :]  # what a client that leaves has got by then is chance
        ending = "left"
    else:
        # Whether the server goes on is certain; what a client of a closed connection gets depends on its timing.
        answered = len(client.received)
        client.send(head("/any", more="Connection: close\r\n"))
        client.read_to_end()
        went_on = b" 200 OK\r\n" in client.received[answered:].replace(b" 200 \r\n", b" 200 OK\r\n")
        ending = "open" if went_on else client.ending.replace("reset", "closed")
    client.close()
    if result is not None:
        _look_at_ids(case, client, result)
    return Outcome(comparable(bytes(client.received)), ending, _notes(port, case.leaves_note))


def _notes(port: int, expected: bool) -> tuple[str, ...]:
    """What the application noted since the last case."""
    deadline = time.monotonic() + NOTE_SECONDS
    notes: list[str] = []
    while True:
        client = Client(port)
        client.send(head("/seen", more="Connection: close\r\n"))
        client.read_answer()
        client.close()
        found = re.search(rb'\[(".*")?\]', client.received)
        notes += json.loads(found[0]) if found else [f"nothing to read: {client.received!r}"]
        if notes or not expected or time.monotonic() > deadline:
            return tuple(notes)
        time.sleep(0.01)


def _look_at_ids(case: Case, client: Client, result: Comparison) -> None:
    received = bytes(client.received).lower()
    for lines in re.findall(rb"http/1\.[01] [2-9]\d\d.*?\r\n\r\n", received, re.S):
        own = lines.count(b"x-request-id: own")
        if lines.count(b"x-correlation-id:") > 1 or lines.count(b"x-request-id:") > max(own, 1):
            result.ids_wrong.add(case.name)
        if b"x-correlation-id:" not in lines or b"x-request-id:" not in lines:
            result.ids_missing.add(case.name)
    sent = re.findall(rb"^x-request-id: (cmp-\d+)", bytes(client.sent).lower(), re.M)
    answered = re.findall(rb"^x-request-id: (cmp-\d+)", received, re.M)
    if answered and sent != answered:
        result.ids_wrong.add(case.name)


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

    return f"[{outcome.ending}] {cut(outcome.received)} seen={list(outcome.seen)}"


def table(results: Iterable[Comparison]) -> str:
    """One line a server. `no ids`: answers the server made before or after the application."""
    columns = ("requests", "differences", "unsteady", "ids wrong", "no ids", "errors of ours")
    lines = [f"{'server':<18}" + "".join(f"{column:>16}" for column in columns)]
    for r in results:
        found = (r.differences, r.unsteady, r.ids_wrong, r.ids_missing)
        numbers = (r.requests, *map(len, found), int(r.internal_errors))
        lines.append(f"{r.server:<18}" + "".join(f"{number:>16}" for number in numbers))
    return "\n".join(lines)
