"""Pictures of the status page for docs/page, taken of real hosts: `python -m pytest tests/long/screenshots.py`.

The hour before is made up and read into the history tick by tick, rules included; the last minute is real.
"""

from __future__ import annotations

import asyncio
import base64
import math
import random
import struct
import time
import zlib
from datetime import UTC, datetime
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI

from ordinaut_ext_observability.demo.workload import initial_rows
from ordinaut_ext_observability.health.model import HealthStatus, Outcome
from ordinaut_ext_observability.metrics.declarations.system import TableMetrics
from ordinaut_ext_observability.metrics.registry import Registry
from tests.browser import sign_in
from tests.conftest import MOUNT_PATH, ServedApp

FOLDER = Path(__file__).parents[2] / "docs" / "page"
TOKEN = "an-operators-token-0123456789"
LARGEST_BYTES = 150_000
TICK_SECONDS = 15
ROUTES = {"/tasks/": (4.0, 0.02), "/tasks/{task_id}": (3.0, 0.01), "/events/": (6.0, 0.03), "/runs/": (2.0, 0.12)}
ROUTES |= {"/tools": (1.5, 0.005), "/agents/auth/token": (0.5, 0.2), "/reports/slow": (0.2, 1.3)}
"""Requests per second, and seconds that they usually take."""
WORKER, SCHEDULER = "ordinaut_ext_observability.demo.worker", "ordinaut_ext_observability.demo.scheduler"


def remember_an_hour(runtime: Any, routes: dict[str, tuple[float, float]], *, queue: bool) -> None:
    """Read an hour of made-up traffic into the history: a morning with a bad quarter of an hour."""
    chance, metrics, registry = random.Random(1), runtime.metrics, Registry()
    apart = TableMetrics(registry)
    history, now_ms = runtime.history.history, runtime.history.history.begin_tick()
    for number in range(3600 // TICK_SECONDS, 0, -1):
        minute = 60 - number * TICK_SECONDS / 60
        is_bad = 31 <= minute < 38
        busy = 1 + 0.4 * math.sin(minute / 9) + (0.8 if is_bad else 0)
        for route, (rate, seconds) in routes.items():
            for _ in range(round(rate * TICK_SECONDS * busy * chance.uniform(0.8, 1.2))):
                failed = chance.random() < (0.15 if is_bad else 0.004)
                metrics.http_requests.labels("GET", route, "500" if failed else "200").inc()
                taken = seconds * chance.lognormvariate(0, 0.6) * (4 if is_bad else 1)
                metrics.http_request_seconds.labels("GET", route).observe(taken)
        depth = round(
            4
            + 3 * math.sin(minute / 5)
            + (90 * (minute - 30) / 8 if is_bad else max(0, 90 - 20 * (minute - 38)) if minute >= 38 else 0)
        )
        apart.queue_depth.labels().set(depth)
        apart.oldest_age.labels().set(depth * chance.uniform(0.8, 1.2))
        apart.active_workers.labels().set(2 if is_bad else 3)
        apart.processed.labels().inc(chance.randint(20, 40) / (2 if is_bad else 1))
        for _ in range(20):
            apart.drift.labels("rrule", "leased").observe(chance.lognormvariate(0, 1) * (8 if is_bad else 0.3))
        runtime.metrics.registry.refresh()
        time_ms = now_ms - number * TICK_SECONDS * 1000
        families = [*runtime.metrics.registry.families(), *(registry.families() if queue else ())]
        for _ in history.read(time_ms, families):
            pass
        asyncio.run(runtime.alerts.rounds.evaluate(time_ms))


def take(page: Any, name: str, height: int) -> None:
    """Write the picture of a page from its top, as small as a document bears."""
    page.wait_for_timeout(6_000)  # asked once more, as an open page is
    clip = {"x": 0, "y": 0, "width": page.viewport_size["width"]}
    tall, picture = page.evaluate("document.documentElement.scrollHeight"), b""
    for height in range(min(height, tall), 400, -100):
        picture = indexed(page.context.new_page(), page.screenshot(full_page=True, clip={**clip, "height": height}))
        if len(picture) <= LARGEST_BYTES:
            break
    FOLDER.mkdir(exist_ok=True)
    (FOLDER / f"{name}.png").write_bytes(picture)


def indexed(page: Any, png: bytes) -> bytes:
    """The picture with the 256 commonest colours: a third of the size."""
    script = """async source => {
        const image = new Image();
        image.src = source;
        await image.decode();
        const canvas = new OffscreenCanvas(image.width, image.height), context = canvas.getContext("2d");
        context.drawImage(image, 0, 0);
        const points = new Uint32Array(context.getImageData(0, 0, image.width, image.height).data.buffer);
        const counts = new Map();
        for (const point of points) counts.set(point, (counts.get(point) ?? 0) + 1);
        const colours = [...counts].sort((one, other) => other[1] - one[1]).slice(0, 256).map(each => each[0]);
        const parts = colour => [colour & 255, colour >> 8 & 255, colour >> 16 & 255];
        const palette = colours.map(parts), known = new Map(colours.map((colour, index) => [colour, index]));
        const nearest = colour => {
            const [red, green, blue] = parts(colour);
            const far = each => (each[0] - red) ** 2 + (each[1] - green) ** 2 + (each[2] - blue) ** 2;
            return palette.reduce((best, each, index) => far(each) < far(palette[best]) ? index : best, 0);
        };
        const pixels = new Uint8Array(points.length);
        points.forEach((point, at) => {
            if (!known.has(point)) known.set(point, nearest(point));
            pixels[at] = known.get(point);
        });
        let text = "";
        for (let at = 0; at < pixels.length; at += 32768) text += String.fromCharCode(...pixels.subarray(at, at + 32768));
        return {width: image.width, palette: palette.flat(), pixels: btoa(text)};
    }"""
    found = page.evaluate(script, f"data:image/png;base64,{base64.b64encode(png).decode()}")
    page.close()
    width, pixels = found["width"], base64.b64decode(found["pixels"])
    rows = b"".join(b"\0" + pixels[at : at + width] for at in range(0, len(pixels), width))
    header = struct.pack(">IIBBBBB", width, len(pixels) // width, 8, 3, 0, 0, 0)
    chunks = {b"IHDR": header, b"PLTE": bytes(found["palette"]), b"IDAT": zlib.compress(rows, 9), b"IEND": b""}
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in chunks.items()
    )


@pytest.fixture
def start(set_up: Callable[..., Any]) -> Iterator[Callable[..., ServedApp]]:
    """Starts a host, after `before` was called with its runtime."""
    started: list[ServedApp] = []

    def run(app: FastAPI, before: Callable[[Any], None], **settings: str) -> ServedApp:
        face, log = set_up(app, OPERATOR_TOKEN=TOKEN, HEALTH_DISABLED_CHECKS="cpu,memory,event_loop", **settings)
        with ThreadPoolExecutor() as pool:  # the browser has the event loop of this thread
            pool.submit(before, face._runtime).result()
        started.append(ServedApp(app, face, log, {}))
        return started[-1]

    yield run
    for served in started:
        served.stop()


def test_usual_host(
    start: Any, open_tab: Any, postgres_server: Any, database_url: str, redis_url: str, start_child: Any
) -> None:
    postgres_server.run_sql(initial_rows(datetime.now(UTC)), database_url.rpartition("/")[2])
    environ = {"DATABASE_URL": database_url, "REDIS_URL": redis_url}
    for module, *arguments in ([SCHEDULER], [WORKER, "1", "1"], [WORKER, "2", "1"], [WORKER, "3", "1"]):
        start_child("-m", module, *arguments, environ=environ)
    app = FastAPI()

    @app.get("/reports/broken")
    def fail() -> None:
        raise RuntimeError("no such report")

    def waiting(seconds: float) -> Callable[[], Any]:
        return lambda: time.sleep(seconds)

    for route, (_, seconds) in ROUTES.items():
        app.add_api_route(route, waiting(seconds))
    served = start(app, lambda runtime: remember_an_hour(runtime, ROUTES, queue=True), **environ)
    served.get("/reports/broken")
    ends_at = time.monotonic() + 60
    while time.monotonic() < ends_at:
        for route in ROUTES:
            served.get(route)
    for name, options in {
        "light": {"viewport": {"width": 1280, "height": 900}},
        "dark": {"viewport": {"width": 1280, "height": 900}, "color_scheme": "dark"},
        "phone": {"viewport": {"width": 390, "height": 844}},
    }.items():
        page = open_tab(**options)
        sign_in(page, f"{served.url}{MOUNT_PATH}/", TOKEN)
        take(page, name, 2000)


def test_everything_failing(start: Any, open_tab: Any, free_port: Callable[[], int]) -> None:
    app = FastAPI()

    @app.get("/reports/broken")
    def fail() -> None:
        raise RuntimeError("no such report")

    nobody = {
        "DATABASE_URL": f"postgresql://ordinaut:secret@127.0.0.1:{free_port()}/ordinaut",
        "REDIS_URL": f"redis://127.0.0.1:{free_port()}/0",
        "ALERTS_SETTLE_SECONDS": "0",
    }
    served = start(
        app, lambda runtime: remember_an_hour(runtime, {"/reports/broken": (3.0, 2.0)}, queue=False), **nobody
    )
    for name, message in {"payments": "the provider answers 503", "mail": "connection refused"}.items():
        outcome = Outcome(HealthStatus.UNHEALTHY, message)
        served.runtime.health_monitor.register_check(name, lambda outcome=outcome: outcome)
    ends_at = time.monotonic() + 100
    while time.monotonic() < ends_at:
        served.get("/reports/broken")
        time.sleep(0.2)
    page = open_tab(viewport={"width": 1280, "height": 900})
    sign_in(page, f"{served.url}{MOUNT_PATH}/", TOKEN)
    take(page, "failing", 1900)


def test_empty_host(start: Any, open_tab: Any) -> None:
    served = start(FastAPI(), lambda _: None)
    page = open_tab(viewport={"width": 1280, "height": 900})
    sign_in(page, f"{served.url}{MOUNT_PATH}/", TOKEN)
    take(page, "empty", 2000)


def test_five_hundred_routes(start: Any, open_tab: Any) -> None:
    chance = random.Random(2)
    routes = {f"/shops/{{shop}}/part-{number}": (chance.expovariate(10), 0.02) for number in range(500)}
    settings = {"LABEL_BUDGET": "1000"}
    served = start(FastAPI(), lambda runtime: remember_an_hour(runtime, routes, queue=False), **settings)
    page = open_tab(viewport={"width": 1280, "height": 900})
    sign_in(page, f"{served.url}{MOUNT_PATH}/", TOKEN)
    take(page, "routes", 2200)
