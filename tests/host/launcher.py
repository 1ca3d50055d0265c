"""A real host as a test asks for it, for uvicorn in a child process: `launcher:app`, run in the host's folder.

What differs from a plain start is told by `TEST_HOST_VARIANT`; see `conftest.py`.
"""

from __future__ import annotations

import importlib.metadata
import os
from typing import Any

from ordinaut_ext_observability.extension import ObservabilityExtension

VARIANT = os.environ.get("TEST_HOST_VARIANT", "plain")


class NoEntryPoints:
    """What an environment gives in which no plug-in is installed."""

    def select(self, **_: Any) -> tuple[()]:
        return ()


if VARIANT == "no entry points":
    importlib.metadata.entry_points = lambda **_: NoEntryPoints()
elif VARIANT == "first set-up fails":
    set_up = ObservabilityExtension.setup

    def fail(*_: Any, **__: Any) -> Any:
        ObservabilityExtension.setup = set_up
        raise RuntimeError("the first set-up fails")

    ObservabilityExtension.setup = fail

from ordinaut.api.main import app, create_app  # noqa: E402 - after what it is to meet

if VARIANT == "second application":
    app = create_app()
elif VARIANT == "set up twice":
    ObservabilityExtension().setup(app=app, mount_path="/ext/observability")
