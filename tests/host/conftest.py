"""The hosts of this folder's tests: both shapes of the stand-in, in this process, and a real checkout in a child.

The real one is `ORDINAUT_HOST_DIR`, a checkout of Ordinaut whose lean application is run as its users run it.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).parent
HOST_DIR = os.environ.get("ORDINAUT_HOST_DIR", "")
MOUNT = "/ext/observability"
EAGER = {"ORDINAUT_EXT_ENTRY_EAGER": '{"observability": true}'}
LAZY: dict[str, str] = {}


class RunningHost:
    """A host that answers, whatever it is."""

    def __init__(self, shape: str, url: str, read_log: Callable[[], list[dict[str, Any]]], stop: Any) -> None:
        import httpx

        self.shape = shape
        self.url = url
        self.client = httpx.Client(
            base_url=url, timeout=10, trust_env=False, verify=False, limits=httpx.Limits(max_keepalive_connections=0)
        )
        self._read_log = read_log
        self._stop = stop

    def get(self, path: str, **options: Any) -> Any:
        return self.client.get(path, **options)

    def load(self) -> None:
        """Have the extension loaded, as the first request to it does."""
        self.get(f"{MOUNT}/health/live", follow_redirects=True)

    def samples(self, name: str, path: str = f"{MOUNT}/metrics") -> list[tuple[dict[str, str], float]]:
        """The samples of a scrape with this name."""
        from prometheus_client.parser import text_string_to_metric_families

        page = self.get(path, follow_redirects=True)
        assert page.status_code == 200, page.text
        return [
            (sample.labels, sample.value)
            for family in text_string_to_metric_families(page.text)
            for sample in family.samples
            if sample.name == name
        ]

    def requests(self) -> dict[tuple[str, str, str], float]:
        """Requests counted, by method, endpoint and status."""
        return {
            (labels["method"], labels["endpoint"], labels["status_code"]): value
            for labels, value in self.samples("orchestrator_http_requests_total")
        }

    def extension(self, plugin_id: str = "observability") -> dict[str, Any]:
        """What the host tells of an extension."""
        (told,) = [told for told in self.get("/extensions").json() if told["id"] == plugin_id]
        return told

    def log_lines(self, **fields: Any) -> list[dict[str, Any]]:
        """The extension's lines on stderr with these fields."""
        return [line for line in self._read_log() if fields.items() <= line.items()]

    def stop(self) -> Any:
        self.client.close()
        return self._stop()


def why_not_real() -> str:
    """Why the real host cannot be run here, or nothing."""
    if not HOST_DIR:
        return "ORDINAUT_HOST_DIR names no checkout of the host"
    if not all(map(importlib.util.find_spec, ("jsonschema", "redis"))):
        return "the host's own requirements are not installed"
    from importlib.metadata import version

    if int(version("starlette").partition(".")[0]) >= 1:
        return "the host does not run on Starlette 1"
    return ""


SHAPES = ["lean stand-in", "full stand-in", *([] if why_not_real() else ["real host"])]


@pytest.fixture(params=SHAPES)
def shape(request: pytest.FixtureRequest) -> str:
    """Which host the test runs against."""
    return str(request.param)


@pytest.fixture
def real_host_or_skip() -> Path:
    """The real host's folder."""
    if why_not_real():
        pytest.skip(f"not run against a real host: {why_not_real()}")
    return Path(HOST_DIR)


@pytest.fixture
def run_host(
    shape: str,
    clean_process: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    serve_bare: Any,
    start_child: Any,
    free_port: Callable[[], int],
) -> Iterator[Callable[..., RunningHost]]:
    """Starts the host with this environment; the variants are those of `launcher.py`."""
    with contextlib.ExitStack() as stack:

        def run(environ: dict[str, str], variant: str = "plain") -> RunningHost:
            start = _run_real if shape == "real host" else _run_standin
            return start(environ, variant)

        def _run_real(environ: dict[str, str], variant: str) -> RunningHost:
            port = free_port()
            arguments = ("-m", "uvicorn", "launcher:app", "--app-dir", str(HERE), "--port", str(port))
            options = {"environ": {**environ, "TEST_HOST_VARIANT": variant}, "cwd": Path(HOST_DIR)}
            child = start_child(*arguments, **options)
            stack.callback(child.clean_up)
            child.wait_for_port(port)

            def stop() -> Any:
                status = child.end(15)
                assert "Traceback" not in child.err, child.err
                return status

            host = RunningHost(shape, f"http://127.0.0.1:{port}", child.log_lines, stop)
            stack.callback(host.client.close)
            return host

        def _run_standin(environ: dict[str, str], variant: str) -> RunningHost:
            import json

            from ordinaut_ext_observability.demo import standin_host
            from ordinaut_ext_observability.demo.standin_host import specs
            from ordinaut_ext_observability.extension import ObservabilityExtension

            for name, value in environ.items():
                clean_process.setenv(name, value)
            create = standin_host.create_lean_app if shape == "lean stand-in" else standin_host.create_full_app
            if variant == "no entry points":
                clean_process.setattr(specs, "entry_points", lambda **_: ())
            elif variant == "first set-up fails":
                set_up = ObservabilityExtension.setup

                def fail(*_: Any, **__: Any) -> Any:
                    clean_process.setattr(ObservabilityExtension, "setup", set_up)
                    raise RuntimeError("the first set-up fails")

                clean_process.setattr(ObservabilityExtension, "setup", fail)
            app = create()
            if variant == "second application":
                app = create()
            elif variant == "set up twice":
                ObservabilityExtension().setup(app=app, mount_path=MOUNT)
            served = serve_bare(app)
            stack.callback(lambda: _stop_runtime(app))
            written: list[str] = []

            def read_log() -> list[dict[str, Any]]:
                written.append(capfd.readouterr().err)
                *whole, _ = "".join(written).split("\n")
                return [json.loads(line) for line in whole if line.startswith('{"timestamp"')]

            host = RunningHost(shape, served.url, read_log, served.stop)
            stack.callback(host.client.close)
            return host

        yield run


def _stop_runtime(app: Any) -> None:
    """A host into which we were loaded lazily never tells us to stop."""
    face = getattr(app.state, "ordinaut_observability", None)
    if face is not None:
        face._runtime.stop()
