"""Health as an orchestrator, a scraper and an operator see it, over HTTP, whatever the checks do."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import textwrap
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from ordinaut_ext_observability import HealthStatus, current_runtime
from ordinaut_ext_observability.health.model import Outcome
from ordinaut_ext_observability.health.monitor import MAX_CHECKS

MOUNT = "/ext/observability"
TOKEN = "an-operators-token-0123456789"
OPERATOR = {"Authorization": f"Bearer {TOKEN}"}
CANARY = "cAnArYsEcReT0123456789"
BUILT_IN = "cpu,memory,disk,file_descriptors,network,task_success,event_loop"
QUICK = {
    "HEALTH_INTERVAL_SECONDS": "0.05",
    "HEALTH_DEADLINE_SECONDS": "5",
    "HEALTH_DISABLED_CHECKS": BUILT_IN,
    "OPERATOR_TOKEN": TOKEN,
}
"""Rounds follow each other fast; results go stale only after seconds."""
ONCE = {**QUICK, "HEALTH_INTERVAL_SECONDS": "3600"}
"""One round at the start, no other."""

Probed = Callable[..., Any]


class Dependency:
    """A dependency that is up until told otherwise, and counts how often it was looked at."""

    def __init__(self) -> None:
        self.up = True
        self.runs = 0

    async def run(self) -> dict[str, Any]:
        self.runs += 1
        if not self.up:
            raise ConnectionError("connection refused")
        return {"connection": "ok"}


class Hanging:
    """Checks that hang until the end of the test, and how often they were started."""

    def __init__(self) -> None:
        self.released = threading.Event()
        self.starts = 0

    def sync(self) -> None:
        self.starts += 1
        self.released.wait()

    async def ignoring(self) -> None:
        """Ignores being cancelled."""
        self.starts += 1
        while not self.released.is_set():
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.sleep(0.01)


@pytest.fixture
def hanging(probed: Probed) -> Iterator[Hanging]:
    """Depends on `probed`, so that what hangs is released before the server is to end."""
    made = Hanging()
    yield made
    made.released.set()


@pytest.fixture
def probed(set_up: Any, serve_bare: Any, eventually: Any) -> Probed:
    """Serves an application with these checks registered; a check may be a pair with its options.

    Where there is only the round at the start, it is over: on a slow machine it takes longer than a probe waits.
    """

    def run(checks: Mapping[str, Any], app: FastAPI | None = None, **settings: str) -> Any:
        app = app or FastAPI()
        face, log = set_up(app, **{**QUICK, **settings})
        for name, check in checks.items():
            function, options = check if isinstance(check, tuple) else (check, {})
            face._runtime.health_monitor.register_check(name, function, **options)
        served = serve_bare(app)
        served.log = log
        if settings.get("HEALTH_INTERVAL_SECONDS") == ONCE["HEALTH_INTERVAL_SECONDS"]:
            eventually(lambda: all(check.latest for check in face._runtime.health_monitor._checks.values()), 2)
        return served

    return run


def statuses(served: Any) -> tuple[int, int, int, int]:
    """What live, ready, startup and health answer."""
    paths = ("live", "ready", "startup")
    return (
        *(served.get(f"{MOUNT}/health/{path}").status_code for path in paths),
        served.get(f"{MOUNT}/health").status_code,
    )


def check_states(served: Any) -> dict[str, str]:
    return {check["name"]: check["status"] for check in served.get(f"{MOUNT}/health").json()["checks"]}


def shown(served: Any, name: str, query: str = "") -> dict[str, Any]:
    """What operators are shown of a check."""
    answer = served.get(f"{MOUNT}/health/checks{query}", headers=OPERATOR)
    assert answer.status_code == 200
    (check,) = (check for check in answer.json()["checks"] if check["name"] == name)
    return dict(check)


def management(served: Any, path: str) -> httpx.Response:
    return httpx.get(f"{served.runtime.ports.notes()['management_port']}{path}", trust_env=False, timeout=5)


# -- Dependencies ------------------------------------------------------------------------------------------------------


def test_all_is_well(probed: Probed) -> None:
    served = probed({"database": Dependency()})
    assert statuses(served) == (200, 200, 200, 200)
    assert served.get(f"{MOUNT}/health").json()["status"] == "healthy"


def test_first_probe_after_the_start_finds_results(probed: Probed) -> None:
    """Without waiting for a round: the first readiness probe of a pod must not fail for want of a result."""
    served = probed({"slow": lambda: time.sleep(0.05)})
    assert served.get(f"{MOUNT}/health/ready").status_code == 200


def test_required_dependency_down_takes_the_process_out_of_service_but_does_not_restart_it(
    probed: Probed, eventually: Any
) -> None:
    database = Dependency()
    served = probed({"database": database, "cache": (Dependency(), {"required": False})})
    assert statuses(served) == (200, 200, 200, 200)
    database.up = False
    assert eventually(lambda: served.get(f"{MOUNT}/health/ready").status_code == 503)
    assert statuses(served) == (200, 503, 200, 503)
    report = served.get(f"{MOUNT}/health").json()
    assert (report["status"], report["live"], report["ready"]) == ("unhealthy", "ok", "unavailable")
    assert check_states(served) == {"settings": "healthy", "database": "unhealthy", "cache": "healthy"}
    database.up = True
    assert eventually(lambda: served.get(f"{MOUNT}/health/ready").status_code == 200)
    assert statuses(served) == (200, 200, 200, 200)


def test_optional_dependency_down_is_degraded_and_stays_in_service(probed: Probed, eventually: Any) -> None:
    cache = Dependency()
    served = probed({"database": Dependency(), "cache": (cache, {"required": False})})
    cache.up = False
    assert eventually(lambda: check_states(served)["cache"] == "unhealthy")
    assert statuses(served) == (200, 200, 200, 200)
    report = served.get(f"{MOUNT}/health").json()
    assert (report["status"], report["ready"]) == ("degraded", "ok")


def test_degraded_dependency_stays_in_service(probed: Probed) -> None:
    served = probed({"database": lambda: HealthStatus.DEGRADED})
    assert statuses(served) == (200, 200, 200, 200)
    assert served.get(f"{MOUNT}/health").json()["status"] == "degraded"


def test_flapping_dependency_flips_nothing(probed: Probed, eventually: Any) -> None:
    runs = []

    async def flaps() -> bool:
        runs.append(1)
        return len(runs) % 2 == 1

    served = probed({"flapping": flaps})
    answers = set()
    assert eventually(lambda: answers.add(statuses(served)) or shown(served, "flapping")["last_result"] == "unhealthy")
    assert eventually(lambda: answers.add(statuses(served)) or len(runs) > 8)
    assert answers == {(200, 200, 200, 200)}
    assert [transition["to"] for transition in shown(served, "flapping")["transitions"]] == ["healthy"]
    assert served.value("orchestrator_health_transitions_total", check="flapping") == 1
    assert [line for line in served.log.all_lines() if line["event_type"] == "health_transition"] == []


def test_one_failure_is_not_enough_and_the_number_that_is_can_be_chosen(probed: Probed, eventually: Any) -> None:
    results = iter([True, False, False, False])

    async def check() -> bool:
        return next(results)

    served = probed({"database": (check, {"failures_to_worsen": 3})}, **ONCE)
    seen = [check_states(served)["database"]]
    seen += [shown(served, "database", "?refresh=true")["status"] for _ in range(3)]
    assert seen == ["healthy", "healthy", "healthy", "unhealthy"]
    assert statuses(served) == (200, 503, 200, 503)


def test_while_a_slow_check_runs_its_last_result_is_told(probed: Probed, eventually: Any) -> None:
    gate, runs = threading.Event(), []

    def slow() -> None:
        runs.append(1)
        if len(runs) > 1:
            gate.wait(10)

    served = probed({"slow": slow})
    assert eventually(lambda: len(runs) == 2)
    for _ in range(5):
        assert statuses(served) == (200, 200, 200, 200)
    gate.set()
    assert eventually(lambda: len(runs) > 2)
    assert check_states(served)["slow"] == "healthy"


@pytest.mark.parametrize("kind", ["sync", "ignoring"])
def test_check_that_hangs_for_ever_is_unhealthy_and_the_others_are_not(
    probed: Probed, hanging: Hanging, eventually: Any, kind: str
) -> None:
    other = Dependency()
    served = probed({"hangs": (getattr(hanging, kind), {"timeout_seconds": 0.05}), "other": other})
    assert eventually(lambda: other.runs > 4)
    assert statuses(served) == (200, 503, 200, 503)
    assert check_states(served) == {"settings": "healthy", "hangs": "unhealthy", "other": "healthy"}
    assert shown(served, "hangs")["message"] == "the previous run has not ended"
    assert hanging.starts == 1
    assert served.internal_errors() == {}
    hanging.released.set()
    assert eventually(lambda: served.get(f"{MOUNT}/health/ready").status_code == 200)


# -- The event loop ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("who", ["route", "check"])
def test_blocked_loop_is_not_live_on_the_management_port_and_is_again_later(
    probed: Probed, eventually: Any, who: str
) -> None:
    app, release, block = FastAPI(), threading.Event(), threading.Event()

    @app.get("/block")
    async def route() -> None:
        release.wait(10)

    async def check() -> None:
        if block.is_set():
            release.wait(10)

    served = probed({"blocks": check}, app, MANAGEMENT_PORT="0", LOOP_BLOCKED_SECONDS="0.1")
    assert management(served, "/health/live").json() == {"status": "ok"}
    if who == "check":
        block.set()
    with ThreadPoolExecutor(1) as threads:
        if who == "route":
            threads.submit(served.get, "/block")
        try:
            assert eventually(lambda: management(served, "/health/live").status_code == 503, 4)
            assert management(served, "/health/live").json() == {"status": "unavailable"}
            assert [
                management(served, path).status_code for path in ("/health/ready", "/health", "/health/startup")
            ] == [
                503,
                503,
                200,
            ]
            assert 'orchestrator_health_status{check="blocks"}' in management(served, "/metrics").text
        finally:
            block.clear()
            release.set()
    assert eventually(lambda: management(served, "/health/live").status_code == 200, 4)
    assert eventually(lambda: statuses(served) == (200, 200, 200, 200), 4)


def test_check_that_blocks_the_loop_is_named_while_it_does_and_late_after(probed: Probed, eventually: Any) -> None:
    release = threading.Event()

    async def blocks() -> None:
        release.wait(10)

    served = probed({"mycheck": (blocks, {"required": False, "timeout_seconds": 0.1})}, MANAGEMENT_PORT="0", **ONCE)
    with ThreadPoolExecutor(1) as threads:
        probe = threads.submit(served.get, f"{MOUNT}/health")
        try:
            assert eventually(lambda: "unhealthy" in management(served, "/health").json()["checks"][-1].values(), 4)
            assert management(served, "/health").json()["checks"][-1]["name"] == "mycheck"
        finally:
            release.set()
        assert probe.result(10).status_code == 200
    check = shown(served, "mycheck")
    assert (check["status"], check["message"].partition(" for ")[0]) == ("unhealthy", "blocked the event loop")
    assert served.log.line(event_type="health_transition")["check"] == "mycheck"


# -- Start -------------------------------------------------------------------------------------------------------------


def test_start_up_that_takes_long_and_then_latches(set_up: Any, serve_bare: Any, eventually: Any) -> None:
    going_on = threading.Event()

    @contextlib.asynccontextmanager
    async def lifespan(_: FastAPI) -> Any:
        while not going_on.is_set():
            await asyncio.sleep(0.005)
        yield

    app = FastAPI(lifespan=lifespan)
    face, _ = set_up(app, **QUICK, MANAGEMENT_PORT="0")
    runtime = face._runtime
    database = Dependency()
    runtime.health_monitor.register_check("database", database)

    def probes() -> list[int]:
        return [
            httpx.get(f"{runtime.ports.notes()['management_port']}/health/{path}", trust_env=False).status_code
            for path in ("live", "ready", "startup")
        ]

    with ThreadPoolExecutor(1) as threads:
        serving = threads.submit(serve_bare, app)
        try:
            assert eventually(lambda: runtime.ports.notes()["management_port"].startswith("http"))
            assert eventually(lambda: database.runs > 2)  # checks run meanwhile
            assert [probes() for _ in range(3)] == [[200, 503, 503]] * 3
        finally:
            going_on.set()
        serving.result(10)
    assert probes() == [200, 200, 200]
    database.up = False
    assert eventually(lambda: probes() == [200, 503, 200])


# -- What probes cost --------------------------------------------------------------------------------------------------


def test_five_hundred_parallel_probes_run_no_check(probed: Probed) -> None:
    sync_runs = []
    dependency = Dependency()
    served = probed({"async": dependency, "sync": lambda: sync_runs.append(1)}, **ONCE)
    assert statuses(served) == (200, 200, 200, 200)
    before = (dependency.runs, len(sync_runs))
    paths = [f"{MOUNT}/health/live", f"{MOUNT}/health/ready", f"{MOUNT}/health/startup", f"{MOUNT}/health"]

    async def ask(number: int) -> bytes:
        """Two requests on one connection, the second sent before the first is answered."""
        first, second = (paths[(number + add) % len(paths)] for add in (0, 1))
        reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
        try:
            writer.write(
                f"GET {first} HTTP/1.1\r\nHost: a\r\n\r\n"
                f"GET {second} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n".encode()
            )
            return await reader.read()
        finally:
            writer.close()

    async def ask_all() -> list[bytes]:
        return await asyncio.gather(*(ask(number) for number in range(250)))

    answers = asyncio.run(ask_all())
    assert Counter(answer.count(b"HTTP/1.1 200 OK") for answer in answers) == {2: 250}
    assert (dependency.runs, len(sync_runs)) == before == (1, 1)


def test_liveness_answers_within_50_ms_with_every_check_hanging(probed: Probed, hanging: Hanging) -> None:
    """Most of several tries, since others use this machine too."""
    checks = {f"sync {number}": hanging.sync for number in range(40)}
    checks |= {f"ignoring {number}": hanging.ignoring for number in range(40)}
    served = probed({name: (check, {"timeout_seconds": 0.05}) for name, check in checks.items()})
    assert served.get(f"{MOUNT}/health/ready").status_code == 503
    seconds = []
    for _ in range(15):
        with socket.create_connection(("127.0.0.1", served.port), 10) as connection:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            started = time.perf_counter()
            connection.sendall(f"GET {MOUNT}/health/live HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n".encode())
            assert connection.recv(65536).startswith(b"HTTP/1.1 200 OK")
            seconds.append(time.perf_counter() - started)
    assert sorted(seconds)[len(seconds) // 2] < 0.05


def test_hosts_thread_pool_that_is_exhausted_starves_neither_probes_nor_checks(probed: Probed, eventually: Any) -> None:
    app, release, entered, runs = FastAPI(), threading.Event(), [], []

    @app.get("/blocked")
    def blocked() -> None:
        entered.append(1)
        release.wait(20)

    served = probed({"sync": lambda: runs.append(1)}, app)
    with ThreadPoolExecutor(45) as threads:
        try:
            requests = [threads.submit(served.get, "/blocked") for _ in range(45)]
            assert eventually(lambda: len(entered) == 40)  # anyio's threads are all taken
            before = len(runs)
            assert eventually(lambda: len(runs) > before + 3)
            assert statuses(served) == (200, 200, 200, 200)
            assert served.get(f"{MOUNT}/metrics").status_code == 200
            assert shown(served, "sync", "?refresh=true")["status"] == "healthy"
            assert len(entered) == 40
        finally:
            release.set()
        assert [request.result(10).status_code for request in requests] == [200] * 45


def test_hanging_checks_do_not_starve_the_hosts_sync_routes(probed: Probed, hanging: Hanging, eventually: Any) -> None:
    app = FastAPI()
    barrier = threading.Barrier(20, timeout=10)

    @app.get("/sync")
    def sync() -> str:
        barrier.wait()  # twenty at the same time
        return "done"

    checks = {f"hangs {number}": (hanging.sync, {"timeout_seconds": 0.05}) for number in range(40)}
    served = probed(checks, app)
    assert eventually(lambda: hanging.starts >= 30)
    with ThreadPoolExecutor(20) as threads:
        answers = list(threads.map(lambda _: served.get("/sync").status_code, range(20)))
    assert answers == [200] * 20


# -- Stale results -----------------------------------------------------------------------------------------------------


class ShiftedClock:
    """The machine's clocks, moved by hand as well."""

    def __init__(self) -> None:
        self.shift = 0.0

    def monotonic(self) -> float:
        return time.perf_counter() + self.shift

    def wall(self) -> float:
        return time.time() + self.shift


def test_results_that_went_stale_are_unhealthy(probed: Probed) -> None:
    served = probed({"database": Dependency()}, **{**QUICK, "HEALTH_INTERVAL_SECONDS": "10"})
    monitor = served.runtime.health_monitor
    assert statuses(served) == (200, 200, 200, 200)
    monitor.stop()
    monitor.clock = clock = ShiftedClock()
    clock.shift = 30
    assert statuses(served) == (200, 200, 200, 200)
    clock.shift = 36  # three periods and the deadline
    assert statuses(served) == (200, 503, 200, 503)
    report = served.get(f"{MOUNT}/health").json()
    assert {check["name"]: check["stale"] for check in report["checks"]} == {"settings": True, "database": True}
    check = shown(served, "database")
    assert (check["status"], check["message"].split()[:3]) == ("unhealthy", ["no", "result", "for"])
    assert served.value("orchestrator_health_status", check="database") == 2
    refreshed = shown(served, "database", "?refresh=true")
    assert (refreshed["status"], refreshed["stale"]) == ("healthy", False)
    assert statuses(served) == (200, 200, 200, 200)


# -- What each tier is shown -------------------------------------------------------------------------------------------


def leaking(kind: str) -> Callable[[], Any]:
    dsn = f"postgresql://orchestrator:{CANARY}@db.internal/orchestrator"

    async def check() -> Any:
        if kind == "raises":
            raise ConnectionError(f"cannot connect to {dsn}: password={CANARY}, Authorization: Bearer {CANARY}")
        details = {
            "dsn": dsn,
            "nested": [{"api_key": CANARY}],
            "note": f"token: {CANARY}",
            "url": f"https://h/?key={CANARY}",
        }
        return Outcome(HealthStatus.DEGRADED, f"slow answer of {dsn}?sslpassword={CANARY}", details)

    return check


def test_secrets_of_checks_are_shown_to_nobody(
    probed: Probed, tmp_path: Path, monkeypatch: Any, free_port: Any
) -> None:
    config = tmp_path / "observability.yaml"
    config.write_text(
        textwrap.dedent(
            f"""
            health:
              http:
                - name: api
                  url: "http://me:${{CANARY}}@127.0.0.1:{free_port()}/?key=${{CANARY}}"
                  headers: {{Authorization: "Bearer ${{CANARY}}", X-Api-Key: "${{CANARY}}"}}
                - {{name: bad, url: "${{CANARY}}", method: "${{CANARY}}"}}
            """
        )
    )
    monkeypatch.setenv("CANARY", CANARY)
    served = probed(
        {"raises": leaking("raises"), "tells": leaking("tells")}, MANAGEMENT_PORT="0", CONFIG=str(config), **ONCE
    )
    tokenless = {
        path: served.get(f"{MOUNT}{path}") for path in ("/health/live", "/health/ready", "/health", "/metrics")
    }
    operators = {
        path: served.get(f"{MOUNT}{path}", headers=OPERATOR)
        for path in ("/", "/config", "/health/checks", "/health/checks?refresh=true")
    }
    managed = [management(served, path) for path in ("/health/ready", "/health", "/metrics")]
    bodies = [answer.text for answer in (*tokenless.values(), *operators.values(), *managed)]
    lines = served.log.lines(3, event_type="health_transition")
    assert {line["check"] for line in lines} >= {"raises", "tells", "api"}
    for text in (*bodies, served.log.path.read_text()):
        assert CANARY not in text
    for path in ("/health/ready", "/health", "/metrics"):
        assert "masked" not in tokenless[path].text
        assert "db.internal" not in tokenless[path].text
    checks = {check["name"]: check for check in operators["/health/checks"].json()["checks"]}
    assert checks["raises"]["message"].startswith(
        "ConnectionError: cannot connect to postgresql://[REDACTED_PASSWORD]@db.internal/"
    )
    assert checks["tells"]["details"] == {
        "dsn": "[REDACTED_SECRET]",
        "nested": [{"api_key": "[REDACTED_SECRET]"}],
        "note": "token: [REDACTED_SECRET]",
        "url": "https://h/?key=[REDACTED_SECRET]",
    }
    assert checks["api"]["status"] == "unhealthy"
    assert operators["/config"].json()["problems"]


def test_public_tier_is_told_a_status_and_nothing_else(probed: Probed) -> None:
    served = probed({"database": leaking("raises")})
    answers = {path: served.get(f"{MOUNT}/health/{path}") for path in ("live", "ready", "startup")}
    assert {path: answer.json() for path, answer in answers.items()} == {
        "live": {"status": "ok"},
        "ready": {"status": "unavailable"},
        "startup": {"status": "ok"},
    }
    assert {answer.headers["cache-control"] for answer in answers.values()} == {"no-store"}


def test_scrape_tier_is_told_names_and_states(probed: Probed) -> None:
    served = probed({"database": leaking("raises"), "cache": (leaking("tells"), {"required": False})})
    report = served.get(f"{MOUNT}/health").json()
    assert set(report) == {"status", "live", "ready", "checks", "not_configured"}
    ages = [check.pop("age_seconds") for check in report["checks"]]
    assert all(age >= 0 for age in ages)
    assert report["checks"] == [
        {"name": "settings", "status": "healthy", "required": False, "stale": False},
        {"name": "database", "status": "unhealthy", "required": True, "stale": False},
        {"name": "cache", "status": "degraded", "required": False, "stale": False},
    ]


def test_operators_are_told_everything(probed: Probed) -> None:
    results = iter([{"jobs": 3}, {"jobs": 4}, ValueError("first"), ValueError("second")])

    def check() -> Any:
        result = next(results)
        if isinstance(result, Exception):
            raise result
        return result

    served = probed({"queue": check}, **ONCE)
    first = shown(served, "queue")
    assert (first["status"], first["last_result"], first["message"], first["details"]) == (
        "healthy",
        "healthy",
        "",
        {"jobs": 3},
    )
    assert first["uptime_ratio_24h"] == 1.0
    assert [(one["from"], one["to"]) for one in first["transitions"]] == [(None, "healthy")]
    assert shown(served, "queue", "?refresh=true")["details"] == {"jobs": 4}
    third = shown(served, "queue", "?refresh=true")
    assert (third["status"], third["last_result"], third["message"], third["details"]) == (
        "healthy",
        "unhealthy",
        "ValueError: first",
        None,
    )
    fourth = shown(served, "queue", "?refresh=true")
    assert fourth["status"] == "unhealthy"
    assert [(one["from"], one["to"], one["message"]) for one in fourth["transitions"]] == [
        (None, "healthy", ""),
        ("healthy", "unhealthy", "ValueError: second"),
    ]
    assert 0.0 < fourth["uptime_ratio_24h"] <= 1.0


@pytest.mark.parametrize("query", ["", "?refresh=true"])
def test_checks_are_shown_to_operators_only(probed: Probed, query: str) -> None:
    database = Dependency()
    served = probed({"database": database}, **ONCE)
    assert statuses(served)[1] == 200
    for headers in ({}, {"Authorization": "Bearer wrong-token-0123456789"}):
        answer = served.get(f"{MOUNT}/health/checks{query}", headers=headers)
        assert answer.status_code == 401
        assert "database" not in answer.text
    assert database.runs == 1


# -- Refreshing --------------------------------------------------------------------------------------------------------


def test_refresh_runs_every_check_once(probed: Probed) -> None:
    database, cache = Dependency(), Dependency()
    served = probed({"database": database, "cache": cache}, **ONCE)
    statuses(served)
    shown(served, "database")
    shown(served, "database", "?refresh=false")
    assert (database.runs, cache.runs) == (1, 1)
    shown(served, "database", "?refresh=true")
    assert (database.runs, cache.runs) == (2, 2)


def test_parallel_refreshes_share_one_run(probed: Probed, eventually: Any) -> None:
    gate, runs = threading.Event(), []

    def check() -> None:
        runs.append(1)
        if len(runs) > 1:
            gate.wait(10)

    served = probed({"database": check}, **ONCE)
    statuses(served)
    with ThreadPoolExecutor(20) as threads:
        answers = [threads.submit(shown, served, "database", "?refresh=true") for _ in range(20)]
        assert eventually(lambda: len(runs) == 2)
        # All twenty are being served before the run may end.
        assert eventually(lambda: len(served.face._recorder.in_progress) == 20)
        served.on_loop(asyncio.sleep(0.05))
        gate.set()
        assert [answer.result(10)["status"] for answer in answers] == ["healthy"] * 20
    assert len(runs) == 2


@pytest.mark.parametrize("value", ["maybe", "", "2", "true&refresh=maybe"])
def test_refresh_with_a_wrong_value_is_refused_clearly(probed: Probed, value: str) -> None:
    database = Dependency()
    served = probed({"database": database}, **ONCE)
    statuses(served)
    answer = served.get(f"{MOUNT}/health/checks?refresh={value}", headers=OPERATOR)
    body = answer.json()
    assert (answer.status_code, body["error"]) == (422, "invalid_request")
    assert "refresh" in body["message"]
    assert "boolean" in body["message"]
    assert body["request_id"] == answer.headers["x-correlation-id"]
    assert database.runs == 1


# -- Metrics and log lines ---------------------------------------------------------------------------------------------


def test_each_check_is_metrics(probed: Probed) -> None:
    results = iter([True, HealthStatus.DEGRADED, HealthStatus.DEGRADED, False, False, False])

    async def check() -> Any:
        return next(results)

    began = time.time()
    served = probed({"database": check, "down": lambda: False}, **ONCE)

    def of(name: str, check: str, **labels: str) -> float:
        return float(served.value(f"orchestrator_health_{name}", check=check, **labels))

    seen = []
    for query in ("", *["?refresh=true"] * 4):
        shown(served, "database", query)
        seen.append((of("status", "database"), of("status", "down")))
    assert seen == [(0, 2), (0, 2), (1, 2), (1, 2), (2, 2)]
    assert of("check_duration_seconds_count", "database") == 5
    assert 0.0 < of("check_duration_seconds_sum", "database") < 5
    assert began - 1 <= of("last_success_timestamp_seconds", "database") <= time.time() + 1
    assert [labels for labels, _ in served.samples("orchestrator_health_last_success_timestamp_seconds")].count(
        {"check": "down"}
    ) == 0
    assert {
        status: of("transitions_total", "database", status=status) for status in ("healthy", "degraded", "unhealthy")
    } == {
        "healthy": 1,
        "degraded": 1,
        "unhealthy": 1,
    }
    page = served.get(f"{MOUNT}/metrics").text
    for sample in (
        'orchestrator_health_status{check="database"} 2.0',
        'orchestrator_health_check_duration_seconds_count{check="database"} 5.0',
        'orchestrator_health_transitions_total{check="down",status="unhealthy"} 1.0',
        'orchestrator_health_last_success_timestamp_seconds{check="database"} ',
    ):
        assert sample in page


def test_each_transition_is_one_log_line(probed: Probed) -> None:
    results = iter([True, *[ValueError(f"password={CANARY}")] * 4, *[HealthStatus.DEGRADED] * 2, True, True])

    async def check() -> Any:
        result = next(results)
        if isinstance(result, Exception):
            raise result
        return result

    served = probed({"database": check}, **ONCE)
    statuses(served)
    for _ in range(8):
        shown(served, "database", "?refresh=true")
    lines = served.log.lines(3, event_type="health_transition")
    fields = ("level", "message", "check", "previous_status", "status", "reason")
    assert [tuple(line.get(field) for field in fields) for line in lines] == [
        ("ERROR", "health changed", "database", "healthy", "unhealthy", "ValueError: password=[REDACTED_SECRET]"),
        ("WARNING", "health changed", "database", "unhealthy", "degraded", None),
        ("INFO", "health changed", "database", "degraded", "healthy", None),
    ]
    assert {"correlation_id", "trace_id"}.isdisjoint(lines[0])


def test_check_that_is_down_from_the_start_is_a_log_line(probed: Probed) -> None:
    served = probed({"database": lambda: False}, **ONCE)
    statuses(served)
    line = served.log.line(event_type="health_transition")
    assert (line["level"], line["check"], line["status"]) == ("ERROR", "database", "unhealthy")
    assert "previous_status" not in line


def test_check_that_is_gone_has_no_status_any_more(probed: Probed) -> None:
    served = probed({"gone": lambda: False}, **ONCE)
    statuses(served)
    assert served.value("orchestrator_health_status", check="gone") == 2
    served.runtime.health_monitor.unregister_check("gone")
    assert [value for labels, value in served.samples("orchestrator_health_status") if labels["check"] == "gone"] == []


def test_check_past_the_label_budget_that_is_down_shows(probed: Probed) -> None:
    checks: dict[str, Any] = {"up 1": lambda: True, "up 2": lambda: True, "down": lambda: False, "up 3": lambda: True}
    served = probed(checks, **ONCE, LABEL_BUDGET="2")
    statuses(served)
    assert served.get(f"{MOUNT}/health").json()["status"] == "unhealthy"
    assert max(value for _, value in served.samples("orchestrator_health_status")) == 2


# -- Checks registered by the host ------------------------------------------------------------------------------------


def test_hosts_own_checks_registered_in_its_lifespan_count_from_the_start(serve: Any) -> None:
    @contextlib.asynccontextmanager
    async def lifespan(_: FastAPI) -> Any:
        current_runtime().health_monitor.register_check("of the host", lambda: False)
        yield

    served = serve(FastAPI(lifespan=lifespan), **QUICK)
    assert statuses(served) == (200, 503, 200, 503)


def test_required_check_registered_later_does_not_take_the_process_out_of_service(
    probed: Probed, eventually: Any
) -> None:
    served = probed({"database": Dependency()}, **ONCE)
    assert statuses(served) == (200, 200, 200, 200)
    served.runtime.health_monitor.register_check("of a plugin", Dependency())
    assert eventually(lambda: statuses(served) == (200, 200, 200, 200), 0.3)


def test_two_hundred_checks(probed: Probed, eventually: Any) -> None:
    dependencies = [Dependency() for _ in range(MAX_CHECKS - 2)]  # and those of the settings and of siblings
    served = probed({f"check {number}": dependency for number, dependency in enumerate(dependencies)})
    assert eventually(lambda: min(dependency.runs for dependency in dependencies) >= 2)
    assert statuses(served) == (200, 200, 200, 200)
    assert Counter(check_states(served).values()) == {"healthy": MAX_CHECKS - 1}


@pytest.mark.parametrize("name", ['a "quoted" name', "two\nlines", "漢字", "a/b?c={d}", "<script>"])
def test_name_of_a_check_may_be_any_text(probed: Probed, name: str) -> None:
    served = probed({name: lambda: True}, **ONCE)
    assert check_states(served)[name] == "healthy"
    assert shown(served, name)["status"] == "healthy"
    assert served.get(f"{MOUNT}/metrics").status_code == 200
    assert served.value("orchestrator_health_status", check=name) == 0


# -- The end -----------------------------------------------------------------------------------------------------------

SERVER = """
import sys, threading
import uvicorn
from fastapi import FastAPI
from ordinaut_ext_observability import current_runtime
from ordinaut_ext_observability.extension import get_extension

app = FastAPI()
app.include_router(get_extension().setup(app=app, mount_path="/ext/observability"), prefix="/ext/observability")
for number in range(3):
    current_runtime().health_monitor.register_check(f"hangs {number}", threading.Event().wait, timeout_seconds=0.05)
uvicorn.run(app, port=int(sys.argv[1]), log_level="error")
"""


def test_process_ends_though_checks_hang_for_ever(start_child: Any, free_port: Any, eventually: Any) -> None:
    port = free_port()
    child = start_child("-c", SERVER, str(port), environ={"ORDINAUT_OBS_HEALTH_INTERVAL_SECONDS": "0.05"})
    child.wait_for_port(port)
    url = f"http://127.0.0.1:{port}{MOUNT}/health"
    assert eventually(lambda: httpx.get(f"{url}/ready", trust_env=False).status_code == 503)
    assert httpx.get(f"{url}/live", trust_env=False).status_code == 200
    assert child.end() in {0, -2, 130}
    assert "Traceback" not in child.err
