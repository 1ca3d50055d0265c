"""Processor time of a server that nobody asks anything, extrapolated to an hour.

Three processes beside each other: the bare host (uvicorn looks ten times a second if it is to stop), with the
extension alone, and with the extension connected to a real PostgreSQL with the host's schema and a real Redis. The
start is over before the measuring begins. What PostgreSQL and Redis use themselves is not counted.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from benchmarks.harness import Options, Result
from benchmarks.server import known_cpu_seconds, serving
from ordinaut_ext_observability.demo import servers
from ordinaut_ext_observability.demo.servers import PostgresServer, RedisServer

_SCHEMA = Path(servers.__file__).parent / "schema.sql"
_START_SECONDS = 10.0
_HOUR_SECONDS = 3600


def run(options: Options) -> list[Result]:
    seconds = options.pick(20, 40)
    with ExitStack() as stack:
        environment = stack.enter_context(_stores())
        processes = {
            name: stack.enter_context(serving(name, environment=environment))[1]
            for name in ("bare", "ours", "connected")
        }
        time.sleep(_START_SECONDS)
        before = {name: known_cpu_seconds(process) for name, process in processes.items()}
        time.sleep(seconds)
        after = {name: known_cpu_seconds(process) for name, process in processes.items()}
    hour = {name: (after[name] - before[name]) * _HOUR_SECONDS / seconds for name in processes}
    return [
        Result(
            row,
            f"{hour[name]:.1f} s/h",
            f"{hour['bare']:.1f} s/h",
            hour[name] / hour["bare"],
            "the bare host",
            [f"in {seconds} s"],
        )
        for row, name in (("idle", "connected"), ("idle_alone", "ours"))
    ]


@contextmanager
def _stores() -> Iterator[dict[str, str]]:
    """A PostgreSQL and a Redis, as the environment names them."""
    with ExitStack() as stack:
        postgres, redis = PostgresServer(), RedisServer()
        for server in (postgres, redis):
            stack.callback(server.stop)
            server.start()
        postgres.run_sql(_SCHEMA.read_text())
        yield {"DATABASE_URL": postgres.url(), "REDIS_URL": redis.url}
