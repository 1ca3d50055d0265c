"""The extension as the host's loader meets it, by an entry point or by its folder in `ORDINAUT_EXT_PATHS`."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, FastAPI

from ordinaut_ext_observability.host_contract import Capability, ExtensionInfo
from ordinaut_ext_observability.manifest import DESCRIPTION, EXTENSION_ID, MOUNT_PATH, NAME
from ordinaut_ext_observability.runtime.current import runtime_for_mount
from ordinaut_ext_observability.runtime.host_integration import HostIntegration
from ordinaut_ext_observability.settings.load import Settings
from ordinaut_ext_observability.version import __version__

_STATE_ATTRIBUTE = "ordinaut_observability"


class ObservabilityExtension:
    """Measures the host it is set up in, and serves what it measured. Its settings are the environment's by default."""

    def __init__(self, settings: Settings | None = None) -> None:
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
        """Attach to the application, last, so that a failure leaves no trace; once, and return the router each time."""
        del tool_registry, grants, context
        integration: HostIntegration | None = getattr(app.state, _STATE_ATTRIBUTE, None)
        if integration is not None:
            return integration.router()
        runtime = runtime_for_mount(self._settings)
        if runtime.settings.general.disabled:
            return None
        integration = HostIntegration(runtime, app, mount_path)
        router = integration.router()
        integration.attach(app)
        setattr(app.state, _STATE_ATTRIBUTE, integration)
        return router

    async def on_startup(self, app: FastAPI) -> None:
        """Nothing: we start with the application's lifespan, which hosts run where they do not call this."""

    async def on_shutdown(self, app: FastAPI) -> None:
        """End our threads where the application's lifespan passed without us."""
        integration = getattr(app.state, _STATE_ATTRIBUTE, None)
        if integration is not None:
            await integration.shut_down()


def mount(app: FastAPI, mount_path: str = MOUNT_PATH) -> None:
    """Measure a FastAPI application, and serve what was measured under `mount_path`.

    Call it where the application is made, or later: a catch-all route does not hide the endpoints. A second call does
    nothing. With `ORDINAUT_OBS_DISABLED` it does nothing at all.

    ```python
    from fastapi import FastAPI
    from ordinaut_ext_observability import mount

    app = FastAPI()
    mount(app)
    ```

    Raises TypeError where `app` is no FastAPI application or `mount_path` no text, ValueError where it is no path.
    """
    if not isinstance(app, FastAPI):
        raise TypeError(f"mount takes a FastAPI application, got {type(app).__name__}")
    if not isinstance(mount_path, str):
        raise TypeError(f"mount_path is a path such as {MOUNT_PATH!r}, got {type(mount_path).__name__}")
    prefix = mount_path.rstrip("/")
    if not prefix.startswith("/"):
        raise ValueError(f"mount_path is a path such as {MOUNT_PATH!r}, got {mount_path!r}")
    if getattr(app.state, _STATE_ATTRIBUTE, None) is not None:
        return
    router = ObservabilityExtension().setup(app=app, mount_path=prefix)
    if router is not None:
        routes = app.router.routes
        of_host = len(routes)
        app.include_router(router, prefix=prefix)
        routes[:] = routes[of_host:] + routes[:of_host]  # before a catch-all of the host's, which would hide them


def get_extension() -> ObservabilityExtension:
    """Make the extension; the loader calls this."""
    return ObservabilityExtension()
