"""An application for each test is common: when one is gone, nothing we started for it is left in the process."""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import gc
import logging
import threading
import warnings
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from ordinaut_ext_observability import current_runtime, mount
from ordinaut_ext_observability.runtime import current
from ordinaut_ext_observability.runtime.process import Runtime

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # newer Starlette prefers httpx2
    from fastapi.testclient import TestClient

MOUNT = "/ext/observability"
PATHS = ("/greeting", "/metrics", f"{MOUNT}/metrics", f"{MOUNT}/health", f"{MOUNT}/health/ready", "/nowhere")


def make_app() -> FastAPI:
    app = FastAPI()

    @app.get("/greeting")
    async def greet() -> str:
        return "hello"

    return app


def ask(client: Any) -> None:
    statuses = {path: client.get(path).status_code for path in PATHS}
    assert statuses == {**dict.fromkeys(PATHS, 200), "/nowhere": 404}


def use_without_lifespan(app: FastAPI) -> None:
    mount(app)
    ask(TestClient(app))


def use_with_lifespan(app: FastAPI) -> None:
    mount(app)
    with TestClient(app) as client:
        ask(client)


def use_once_started(app: FastAPI) -> None:
    client = TestClient(app)
    client.get("/greeting")
    mount(app)
    ask(client)


def use_again_after_its_end(app: FastAPI) -> None:
    use_with_lifespan(app)
    client = TestClient(app)
    assert [client.get(path).status_code for path in ("/greeting", "/metrics")] == [200, 200]


def use_not_at_all(app: FastAPI) -> None:
    mount(app)


WAYS: dict[str, Callable[[FastAPI], None]] = {
    "without lifespan": use_without_lifespan,
    "with lifespan": use_with_lifespan,
    "mounted once it ran": use_once_started,
    "used again after its end": use_again_after_its_end,
    "never used": use_not_at_all,
}


_of_earlier_tests: set[threading.Thread] = set()


@pytest.fixture(autouse=True, scope="module")
def _objects_of_earlier_tests() -> Iterator[None]:
    """Leaves them out of collections, which take half a second with all that a suite has made: each test asks for many."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.fixture(autouse=True)
def _note_threads() -> None:
    gc.collect()
    _of_earlier_tests.clear()
    _of_earlier_tests.update(threading.enumerate())


@pytest.fixture
def process_runtime(clean_process: pytest.MonkeyPatch) -> Iterator[Runtime]:
    """The process's own runtime, taken, so that every application gets one of its own."""
    runtime = current_runtime()
    runtime.lifecycle.mounted = True
    yield runtime


def our_threads() -> set[str]:
    threads = set(threading.enumerate()) - _of_earlier_tests
    return {thread.name for thread in threads if thread.name.startswith("observability")}


def are_gone(references: list[weakref.ref[Any]]) -> bool:
    gc.collect()
    return all(reference() is None for reference in references) and not our_threads()


def use_and_drop(use: Callable[[FastAPI], None]) -> list[weakref.ref[Any]]:
    app = make_app()
    use(app)
    return [weakref.ref(app), weakref.ref(app.state.ordinaut_observability._runtime)]


@pytest.mark.parametrize("way", WAYS)
def test_dropped_applications_leave_no_thread_no_runtime_and_no_exit_handler(
    process_runtime: Runtime, eventually: Any, way: str
) -> None:
    dropped = use_and_drop(WAYS[way])
    exit_handlers = atexit._ncallbacks()
    for _ in range(4):
        dropped += use_and_drop(WAYS[way])
    assert eventually(lambda: are_gone(dropped)), (our_threads(), [reference() for reference in dropped])
    assert atexit._ncallbacks() == exit_handlers


@pytest.mark.parametrize("way", ["without lifespan", "with lifespan", "mounted once it ran"])
def test_dropped_applications_leave_no_connection_and_no_member_of_the_relay(
    process_runtime: Runtime,
    clean_process: pytest.MonkeyPatch,
    eventually: Any,
    database_url: str,
    redis_url: str,
    free_port: Callable[[], int],
    way: str,
) -> None:
    import psycopg
    import redis

    clean_process.setenv("DATABASE_URL", database_url)
    clean_process.setenv("REDIS_URL", redis_url)
    clean_process.delenv("ORDINAUT_OBS_STORE")
    clean_process.setenv("ORDINAUT_OBS_MANAGEMENT_PORT", str(free_port()))
    clean_process.setenv("ORDINAUT_OBS_RELAY_INTERVAL_SECONDS", "0.2")
    clean_process.setenv("ORDINAUT_OBS_COLLECTOR_INTERVAL_SECONDS", "1")
    with redis.Redis.from_url(redis_url) as store, psycopg.connect(database_url, autocommit=True) as database:

        def connections() -> tuple[int, int]:
            backends = database.execute(
                "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid != pg_backend_pid()"
            ).fetchone()
            assert backends is not None
            return backends[0], len(store.client_list()) - 1

        def is_connected(app: FastAPI) -> bool:
            merged = app.state.ordinaut_observability._runtime.merged
            return min(connections()) > 0 and merged.relay.exchange.process_count > 0

        def use(app: FastAPI) -> None:
            mount(app)
            if way == "with lifespan":
                with TestClient(app):
                    assert eventually(lambda: is_connected(app))
                return
            WAYS[way](app)
            assert eventually(lambda: is_connected(app))

        dropped = [reference for _ in range(2) for reference in use_and_drop(use)]
        assert eventually(lambda: are_gone(dropped)), (our_threads(), [reference() for reference in dropped])
        assert eventually(lambda: connections() == (0, 0)), connections()
        # Counted out by the next one that reads: each said that it ended, long before its silence would tell.
        observer = make_app()
        mount(observer)
        runtime = observer.state.ordinaut_observability._runtime
        with TestClient(observer):
            assert eventually(
                lambda: runtime.merged.relay.state.settled.is_set() and runtime.merged.relay.exchange.process_count == 1
            )


def test_dropped_applications_leave_nothing_on_a_loop_that_goes_on(process_runtime: Runtime) -> None:
    """A client without lifespan, and one loop for many applications: as with pytest's plug-ins for asyncio."""

    async def use() -> list[weakref.ref[Any]]:
        app = make_app()
        mount(app)
        transport = httpx.ASGITransport(app=app)
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            assert (await client.get("/greeting")).status_code == 200
        return [weakref.ref(app), weakref.ref(app.state.ordinaut_observability._runtime)]

    async def main() -> None:
        dropped = [reference for _ in range(5) for reference in await use()]
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(10):
                while not are_gone(dropped) or asyncio.all_tasks() != {asyncio.current_task()}:
                    await asyncio.sleep(0.02)
        assert are_gone(dropped), (our_threads(), [reference() for reference in dropped])
        assert asyncio.all_tasks() == {asyncio.current_task()}

    asyncio.run(main())


def test_logging_taken_for_an_application_is_given_back_when_it_is_gone(
    process_runtime: Runtime, clean_process: pytest.MonkeyPatch, eventually: Any
) -> None:
    clean_process.setenv("ORDINAUT_OBS_CONFIGURE_LOGGING", "true")
    before = list(logging.getLogger().handlers)
    dropped = [reference for _ in range(3) for reference in use_and_drop(use_without_lifespan)]
    assert eventually(lambda: are_gone(dropped)), [reference() for reference in dropped]
    assert logging.getLogger().handlers == before


def test_process_keeps_its_own_runtime_and_lets_go_of_the_application(
    clean_process: pytest.MonkeyPatch, eventually: Any
) -> None:
    runtime = current_runtime()
    dropped = [use_and_drop(use_without_lifespan)[0] for _ in range(3)]
    assert eventually(lambda: gc.collect() >= 0 and not any(reference() for reference in dropped))
    assert current._current is runtime


def test_application_that_lives_keeps_what_it_needs(process_runtime: Runtime, eventually: Any) -> None:
    app = make_app()
    use_without_lifespan(app)
    gc.collect()
    use_and_drop(use_without_lifespan)
    assert eventually(lambda: gc.collect() >= 0 and "observability-release" not in our_threads())
    with contextlib.closing(TestClient(app)) as client:
        counted = 'orchestrator_http_requests_total{endpoint="/greeting",method="GET",status_code="200"} '
        assert f"{counted}1.0" in client.get("/metrics").text
        client.get("/greeting")
        assert f"{counted}2.0" in client.get("/metrics").text
    app.state.ordinaut_observability._runtime.stop()
