"""Importing our packages, and setting the extension up in a host, against `import prometheus_client`.

Each in an interpreter of its own with compiled modules, as installations have, less what an interpreter takes that
does nothing of ours. Cost is the processor time of the child.
"""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from tempfile import TemporaryDirectory

from benchmarks.harness import Options, Result, low, milliseconds, take_turns, versions

_HOST = "import asyncpg, prometheus_client, redis.asyncio, sqlalchemy.ext.asyncio, uvicorn; from fastapi import FastAPI"
"""The imports of a host itself."""
_SET_UP = """
from ordinaut_ext_observability.extension import get_extension
app = FastAPI()
app.include_router(get_extension().setup(app=app, mount_path="/ext/observability"), prefix="/ext/observability")
"""


def run(options: Options) -> list[Result]:
    codes = {
        "nothing": "pass",
        "ours": "import observability.logging, observability.metrics",
        "peer": "import prometheus_client",
        "host": _HOST,
        "set up": f"{_HOST}\n{_SET_UP}",
    }
    with TemporaryDirectory() as compiled:
        candidates = {name: lambda code=code: _cpu_seconds(code, compiled) for name, code in codes.items()}
        figures = {name: low(values) for name, values in take_turns(candidates, options.pick(8, 25)).items()}
    ours, peer = figures["ours"] - figures["nothing"], figures["peer"] - figures["nothing"]
    set_up = figures["set up"] - figures["host"]
    alone = [f"an interpreter alone takes {milliseconds(figures['nothing'])}"]
    host = [f"a host's own imports take {milliseconds(figures['host'])}"]
    shown, peer_name = milliseconds(peer), versions("prometheus-client")
    return [
        Result("imports", milliseconds(ours), shown, ours / peer, peer_name, alone),
        Result("set_up", milliseconds(set_up), shown, set_up / peer, peer_name, host),
    ]


def _cpu_seconds(code: str, compiled: str) -> float:
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, "-c", code], check=True, env={**environment, "PYTHONPYCACHEPREFIX": compiled})
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
