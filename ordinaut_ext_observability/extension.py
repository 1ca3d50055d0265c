"""The extension as the host's loader meets it.

Found through the entry point `ordinaut.plugins`, or by its folder in `ORDINAUT_EXT_PATHS`.
"""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, FastAPI

from ordinaut_ext_observability.host_contract import Capability, ExtensionInfo
from ordinaut_ext_observability.manifest import DESCRIPTION, EXTENSION_ID, NAME
from ordinaut_ext_observability.runtime.current import runtime_for_mount
from ordinaut_ext_observability.runtime.http import HttpFace
from ordinaut_ext_observability.settings import Settings
from ordinaut_ext_observability.version import __version__

_STATE_ATTRIBUTE = "ordinaut_observability"


class ObservabilityExtension:
    """Measures the host it is set up in, and serves what it measured."""

    def __init__(self, settings: Settings | None = None) -> None:
        """The environment's settings are read when it is set up, unless some are given."""
        self._settings = settings

    def info(self) -> ExtensionInfo:
        """Who we are; the manifests say the same."""
        return ExtensionInfo(id=EXTENSION_ID, name=NAME, version=__version__, description=DESCRIPTION)

    def requested_capabilities(self) -> set[Capability]:
        """Routes alone: we need neither the host's tools nor its events nor its task supervisor."""
        return {Capability.ROUTES}

    def setup(
        self,
        *,
        app: FastAPI,
        mount_path: str,
        tool_registry: Any = None,
        grants: set[Capability] | None = None,
        context: dict[str, Any] | None = None,
    ) -> APIRouter | None:
        """Attach to the application. A second call for the same application only returns its router again.

        The last step is the one that changes the application, so a failure before it leaves no trace.
        """
        del tool_registry, grants, context
        face = getattr(app.state, _STATE_ATTRIBUTE, None)
        if face is None:
            runtime = runtime_for_mount(self._settings)
            if runtime.settings.general.disabled:
                return None
            face = HttpFace(runtime, app, mount_path)
            router = face.router()
            face.attach()
            setattr(app.state, _STATE_ATTRIBUTE, face)
            return router
        return face.router()  # type: ignore[no-any-return]

    async def on_startup(self, app: FastAPI) -> None:
        """Nothing: we start with the application's lifespan, which hosts run where they do not call this."""

    async def on_shutdown(self, app: FastAPI) -> None:
        """End our threads where the application's lifespan passed without us."""
        face = getattr(app.state, _STATE_ATTRIBUTE, None)
        if face is not None:
            await face.shut_down()


def get_extension() -> ObservabilityExtension:
    """What the loader calls."""
    return ObservabilityExtension()
