"""Loads extensions under the contract of the host's own loader."""

from __future__ import annotations

import asyncio
import inspect
import os
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import Depends, FastAPI, Header, HTTPException

from ordinaut_ext_observability.background.clock import monotonic_seconds
from ordinaut_ext_observability.demo.standin_host.background import BackgroundTaskSupervisor
from ordinaut_ext_observability.demo.standin_host.discovery import ExtensionSpec, discover
from ordinaut_ext_observability.demo.standin_host.event_streams import EventsFacade, EventStreams
from ordinaut_ext_observability.demo.standin_host.tools import ToolRegistrar, ToolRegistry, ToolView
from ordinaut_ext_observability.host_contract import Capability, Extension

HOOK_LIMIT_SECONDS = 10.0
"""How long an extension may take to start or to stop before the server goes on without it."""

_EVENTS = frozenset((Capability.EVENTS_PUB, Capability.EVENTS_SUB))

Hook = Callable[[], Awaitable[None]]


@dataclass
class RequestTotals:
    """What the host counts of an extension's requests; milliseconds."""

    requests_total: float = 0.0
    errors_total: float = 0.0
    latency_ms_sum: float = 0.0


class ExtensionLoader:
    """Finds extensions, sets them up in an app and knows their states."""

    def __init__(
        self,
        app: FastAPI,
        *,
        extra_specs: Iterable[ExtensionSpec] = (),
        environ: Mapping[str, str] | None = None,
    ) -> None:
        """Discover only; the process environment is read unless `environ` is given."""
        self.environ = os.environ if environ is None else environ
        self.specs = discover(self.environ, extra_specs)
        self.status: dict[str, dict[str, Any]] = {plugin_id: {"state": "discovered"} for plugin_id in self.specs}
        self.loaded: dict[str, Extension] = {}
        self.failures: dict[str, Exception] = {}
        """The last exception of each extension that is in state error."""
        self.totals = {plugin_id: RequestTotals() for plugin_id in self.specs}
        self.tools = ToolRegistry()
        self._app = app
        self._streams = EventStreams()
        self._supervisor: BackgroundTaskSupervisor | None = None
        self._startup_hooks: list[Hook] = []
        self._shutdown_hooks: list[Hook] = []

    def load_eager(self) -> None:
        """Load the eager extensions, then accept no more tools. A failure is kept in `status` and `failures`."""
        for spec in self.specs.values():
            if spec.eager:
                self.ensure_loaded(spec.id)
        self.tools.freeze()
        # Only now, as in the host: an eager extension is never given the supervisor.
        if any(Capability.BACKGROUND_TASKS in spec.grants for spec in self.specs.values()):
            self._supervisor = BackgroundTaskSupervisor()
            self._add_hook("startup", self._supervisor.start)
            self._add_hook("shutdown", self._supervisor.stop)

    def find(self, path: str) -> str | None:
        """The id of the extension that a URL path belongs to."""
        parts = path.split("/", 3)
        if len(parts) > 2 and parts[1] == "ext" and parts[2] in self.specs:
            return parts[2]
        return None

    def ensure_loaded(self, plugin_id: str) -> bool:
        """Load an extension unless it is loaded; False when that failed, to be tried anew at the next call.

        What a failed setup already did to the app stays.
        """
        if plugin_id in self.loaded:
            return True
        started_seconds = monotonic_seconds()
        try:
            self.loaded[plugin_id] = self._load(self.specs[plugin_id])
        except Exception as error:  # noqa: BLE001
            self.failures[plugin_id] = error
            self.status[plugin_id] = {"state": "error", "error": str(error)}
            return False
        self.failures.pop(plugin_id, None)
        loaded_ms = int((monotonic_seconds() - started_seconds) * 1000)
        self.status[plugin_id] = {"state": "loaded", "loaded_ms": loaded_ms}
        return True

    async def run_startup_hooks(self) -> None:
        """For an app that has no event handlers of its own: what they would do at its start."""
        for hook in self._startup_hooks:
            await hook()

    async def run_shutdown_hooks(self) -> None:
        """For an app that has no event handlers of its own: what they would do at its end."""
        for hook in self._shutdown_hooks:
            await hook()

    def _load(self, spec: ExtensionSpec) -> Extension:
        extension = spec.create()
        info = extension.info()
        if info.id != spec.id:
            message = f"The extension found as {spec.id!r} calls itself {info.id!r}"
            raise RuntimeError(message)
        requested = set(extension.requested_capabilities())
        grants = requested & spec.grants if spec.grants else requested
        mount_path = f"/ext/{spec.id}"
        view = ToolView(self.tools)
        router = extension.setup(
            app=self._app,
            mount_path=mount_path,
            tool_registry=ToolRegistrar(self.tools, spec.id) if Capability.TOOLS in grants else view,
            grants=grants,
            context=self._context(spec, grants, view),
        )
        if router is not None and Capability.ROUTES in grants:
            scope = Depends(_scope_check(self.environ, spec.id))
            self._app.include_router(router, prefix=mount_path, dependencies=[scope])
        self._add_hooks(spec.id, extension)
        return extension

    def _context(self, spec: ExtensionSpec, grants: set[Capability], view: ToolView) -> dict[str, Any]:
        context: dict[str, Any] = {"tools_view": view}
        if grants & _EVENTS:
            context["events"] = EventsFacade(self._streams, spec.id)
        if self._supervisor is not None and Capability.BACKGROUND_TASKS in grants:
            context["background"] = self._supervisor
        return context

    def _add_hooks(self, plugin_id: str, extension: Extension) -> None:
        on_startup = getattr(extension, "on_startup", None)
        on_shutdown = getattr(extension, "on_shutdown", None)

        async def start() -> None:
            try:
                await asyncio.wait_for(_call(on_startup, self._app), HOOK_LIMIT_SECONDS)
            except Exception as error:  # noqa: BLE001
                self.failures[plugin_id] = error
                # The host leaves it mounted and serving.
                self.status[plugin_id] = {"state": "error", "phase": "startup", "error": str(error)}

        async def stop() -> None:
            try:
                await asyncio.wait_for(_call(on_shutdown, self._app), HOOK_LIMIT_SECONDS)
            except Exception as error:  # noqa: BLE001
                self.failures[plugin_id] = error

        if on_startup is not None:
            self._add_hook("startup", start)
        if on_shutdown is not None:
            self._add_hook("shutdown", stop)

    def _add_hook(self, event: str, hook: Hook) -> None:
        add_event_handler = getattr(self._app, "add_event_handler", None)
        if add_event_handler is not None:
            add_event_handler(event, hook)
        elif event == "startup":
            self._startup_hooks.append(hook)
        else:
            self._shutdown_hooks.append(hook)


async def _call(hook: Any, app: FastAPI) -> None:
    """Call a hook that may be a plain function or a coroutine function."""
    result = hook(app)
    if inspect.isawaitable(result):
        await result


def _scope_check(environ: Mapping[str, str], plugin_id: str) -> Callable[[str], None]:
    """The dependency of every route of an extension's router."""
    needed = f"ext:{plugin_id}:routes"

    def require_scope(x_scopes: Annotated[str, Header(include_in_schema=False)] = "") -> None:
        if environ.get("ORDINAUT_REQUIRE_SCOPES", "").lower() not in {"1", "true", "yes"}:
            return
        if needed not in {scope.strip() for scope in x_scopes.split(",")}:
            raise HTTPException(403, detail=f"The X-Scopes header lacks {needed}")

    return require_scope
