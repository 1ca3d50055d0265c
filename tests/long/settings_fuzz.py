"""Starts a small host with hostile settings, again and again in one process, and prints what went wrong as JSON.

    python tests/long/settings_fuzz.py --variables ORDINAUT_OBS_CONFIG --values 50

With `--together` every variable is hostile at the same time, with `--doctor` the command `doctor` is run instead.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import socket
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

PASSWORD = "plantedPa55word"
MOUNT = "/ext/observability"
TOKEN = "an-operators-token-0123456789"
DOCTOR_SECONDS = 5.0
SLOWER_SECONDS = 5.0
"""How much longer than with defaults a start with answers may take; hangs take far longer, a busy machine less."""

TEXTS = [
    b"\xff\xfe\x80",
    b"caf\xe9",
    b"[" * 100_000,
    b'{"a":' * 2_000,
    b"[" * 2_000 + b"]" * 2_000,
    f"postgresql://user:{PASSWORD}@host.invalid/db",
    f"redis://:{PASSWORD}@host.invalid:99999/0",
    "a" * 120_000,
    "9" * 5_000,
    ",".join(f"10.{number // 250}.{number % 250}.0/24" for number in range(7_000)),
    f"user:{PASSWORD}@host.invalid",
    f"https://host.invalid/x?token={PASSWORD}",
    f"postgresql+psycopg_async://user:{PASSWORD}@host.invalid/db",
    f"rediss://user:{PASSWORD}@127.0.0.1:1/0?socket_timeout=x",
    f'{{"postgresql://user:{PASSWORD}@host.invalid/db": 5}}',
    f"a,redis://user:{PASSWORD}@host.invalid,b",
    "redis://127.0.0.1:1/zero?max_connections=-1&foo=bar",
    "postgresql://127.0.0.1:1/db?sslmode=perhaps",
    "unix:///dev/zero",
    "1e999",
    "inf",
    "nan",
    "-1",
    "0",
    "1_000",
    "\N{ARABIC-INDIC DIGIT ONE}\N{ARABIC-INDIC DIGIT TWO}",
    " 7 ",
    "\t \n",
    "65536",
    "1" * 400,
    "true",
    "null",
    "{}",
    '{"\\ud800": 5, "b": 1e400}',
    "[[",
    "[a-",
    "[z-a]*[!]",
    "*a" * 2_000 + "b",
    "?" * 5_000,
    "\x1b[2J\x07",
    "\N{RIGHT-TO-LEFT OVERRIDE}evil\N{LINE SEPARATOR}",
    "\N{FIRE}" * 1_000,
    "host.invalid",
    "a." * 2_000,
    "256.256.256.256",
    "::1%nowhere",
    "../../../etc/passwd",
    ",,,,",
    "cpu," * 5_000,
    "(a+)+$" * 50,
]


def odd_files(folder: Path) -> Iterator[str]:
    """Paths of what is no configuration, secret or directory."""
    yield from ("/dev/zero", "/dev/random", "/dev/stdin", "/dev/tty", "/proc/self/mem", "/", "/proc/nowhere/at/all")
    pipe = folder / "pipe"
    os.mkfifo(pipe)
    yield str(pipe)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(folder / "socket"))
    yield str(folder / "socket")
    for name, content in {
        "huge": b"a: b\n" * 1_000_000,
        "deep": b"[" * 100_000,
        "maps": b"{a: " * 20_000,
        "flat": b"a,".join([b"["] + [b""] * 60_000),
        "merges": b"".join(
            b"m%d: &m%d {<<: [*m%d, *m%d]}\n" % (number, number, number - 1, number - 1)
            if number
            else b"m0: &m0 {a: 1}\n"
            for number in range(60)
        ),
        "aliases": b"".join(
            b"- &l%d [*l%d, *l%d]\n" % (number, number - 1, number - 1) if number else b"- &l0 [a]\n"
            for number in range(60)
        ),
        "number": b"a: 1" + b":59" * 40_000,
        "variables": b"health: {http: [{name: '" + b"${BIG}" * 20_000 + b"'}]}",
        "bytes": bytes(range(256)),
        "secret": f"health: {{http: [{{name: a, url: 'x://u:{PASSWORD}@h'}}]}}".encode(),
        "line": b"a line that is long enough\n",
    }.items():
        (folder / name).write_bytes(content)
        yield str(folder / name)


class Fuzz:
    """Runs of one process, and what was wrong with them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.wrong: list[str] = []
        self.slowest = 0.0
        self.usual = 0.0

    def set_environment(self, values: dict[str, bytes]) -> None:
        for variable in list(os.environb):
            if variable.startswith(b"ORDINAUT_") or variable.decode() in HOST_VARIABLES:
                del os.environb[variable]
        os.environ["ORDINAUT_OBS_OPERATOR_TOKEN"] = TOKEN
        if any("MANAGEMENT" in name for name in values):
            os.environ["ORDINAUT_OBS_MANAGEMENT_PORT"] = "0"
        os.environ["BIG"] = "x" * 100_000
        for name, value in values.items():
            os.environb[name.encode()] = value

    def start(self, values: dict[str, bytes]) -> None:
        """Start a host with these settings, ask it, stop it."""
        from starlette.testclient import TestClient

        from ordinaut_ext_observability.runtime import current

        self.set_environment(values)
        current._current = None
        began = time.perf_counter()
        app, told = make_app(), []
        with TestClient(app) as client:
            answer = client.get("/host")
            seconds = time.perf_counter() - began
            if answer.status_code != 200 or answer.json() != {"host": True}:
                self.wrong.append(f"the host answers {answer.status_code}")
            for path in ("/health/live", "/metrics", "/health", "/health/checks", "/config", "/"):
                response = client.get(f"{MOUNT}{path}", headers={"Authorization": f"Bearer {TOKEN}"})
                told.append(response.text)
                if response.status_code >= 500 and path != "/health":
                    self.wrong.append(f"{path} answers {response.status_code}")
        self.slowest = max(self.slowest, seconds)
        if self.usual and seconds > self.usual + SLOWER_SECONDS:
            self.wrong.append(f"{seconds:.1f} s until the host answered")
        runtime = current._current
        problems = runtime.settings.problems
        told.append(repr(problems))
        if PASSWORD in "".join(told):
            self.wrong.append("the password is shown")
        for problem in problems:
            if problem.variable.removesuffix("_FILE") not in {name.removesuffix("_FILE") for name in values}:
                self.wrong.append(f"a problem under {problem.variable}")
        errors = {
            sample.labels["component"]: sample.value
            for family in runtime.metrics.registry.collect()
            for sample in family.samples
            if sample.name == "ordinaut_observability_internal_errors_total"
        }
        errors.pop(
            "stop", None
        )  # a stop within its second, which `test_stop_times.py` tests on a machine that is not busy
        if errors:
            self.wrong.append(f"internal errors: {errors}")

    def doctor(self, values: dict[str, bytes]) -> None:
        """Run `doctor` with these settings."""
        from typer.testing import CliRunner

        from ordinaut_ext_observability.cli.main import app

        self.set_environment(values)
        began = time.perf_counter()
        result = CliRunner().invoke(app, ["doctor", "--url", "http://127.0.0.1:1", "--timeout", "0.5"])
        seconds = time.perf_counter() - began
        self.slowest = max(self.slowest, seconds)
        if result.exit_code not in (0, 1) or not isinstance(result.exception, SystemExit | None):
            self.wrong.append(f"doctor: {result.exit_code} {result.exception!r}")
        if PASSWORD in result.output:
            self.wrong.append("doctor shows the password")
        if "Settings, by the environment" not in result.output:
            self.wrong.append(f"doctor says {result.output[-300:]!r}")
        if self.usual and seconds > self.usual + DOCTOR_SECONDS:
            self.wrong.append(f"doctor took {seconds:.1f} s")


def make_app() -> Any:
    from fastapi import FastAPI

    from ordinaut_ext_observability.extension import ObservabilityExtension

    app = FastAPI()
    app.add_api_route("/host", lambda: {"host": True})
    router = ObservabilityExtension().setup(app=app, mount_path=MOUNT)
    if router is not None:
        app.include_router(router, prefix=MOUNT)
    return app


HOST_VARIABLES = ("ENVIRONMENT", "VERSION", "LOG_LEVEL", "DATABASE_URL", "REDIS_URL", "PROMETHEUS_MULTIPROC_DIR")


def variables() -> list[str]:
    """Every variable that is a setting."""
    from ordinaut_ext_observability.settings.load import SETTINGS

    return [variable for setting in SETTINGS for variable in setting_variables(setting)]


def setting_variables(setting: Any) -> list[str]:
    return [setting.variable, f"{setting.variable}_FILE"] if setting.secret else [setting.variable]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--variables", nargs="*")
    parser.add_argument("--values", type=int, default=1000)
    parser.add_argument("--from-value", type=int, default=0)
    parser.add_argument("--together", action="store_true")
    parser.add_argument("--doctor", action="store_true")
    arguments = parser.parse_args()
    names = arguments.variables or variables()
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        fuzz = Fuzz(Path(folder))
        texts = [text if isinstance(text, bytes) else text.encode() for text in TEXTS]
        files = [path.encode() for path in odd_files(Path(folder))]
        # Files before texts where a file is asked for, so that a small number of values has them.
        rounds: list[dict[str, bytes]] = []
        if arguments.together:
            shift = itertools.cycle(texts + files)
            rounds = [{name: next(shift) for name in names} for _ in range(arguments.values)]
        else:
            for name in names:
                values = files + texts if name.endswith(("_FILE", "_CONFIG", "_DIR", "_PATHS")) else texts + files
                chosen = values[arguments.from_value : arguments.from_value + arguments.values]
                rounds += [{name: value} for value in chosen]
        run = fuzz.doctor if arguments.doctor else fuzz.start
        # This one imports everything.
        run({"DATABASE_URL": b"postgresql://127.0.0.1:1/d", "REDIS_URL": b"redis://127.0.0.1:1/0"})
        fuzz.slowest = 0.0
        run({})
        fuzz.usual, fuzz.slowest = fuzz.slowest, 0.0
        found = fuzz.wrong.copy()
        for values in rounds:
            fuzz.wrong = []
            try:
                run(values)
            except Exception as error:
                fuzz.wrong.append(f"raised {type(error).__name__}: {str(error)[:200]}")
            shown = {name: value[:60].decode(errors="backslashreplace") for name, value in values.items()}
            what = shown if len(shown) < 4 else "together"
            found += [f"{what}: {wrong}" for wrong in fuzz.wrong]
    json.dump({"rounds": len(rounds), "usual": fuzz.usual, "slowest": fuzz.slowest, "wrong": found}, sys.stdout)


if __name__ == "__main__":
    main()
