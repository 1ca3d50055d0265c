"""Loads extensions under the contract of the host's own loader."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from typing import Annotated, Any

from fastapi import Depends, FastAPI, Header, HTTPException

from ordinaut_ext_observability.demo.standin_host.specs import Extension, ExtensionSpec, found_extensions
from ordinaut_ext_observability.host_contract import Capability


class ExtensionLoader:
    """Sets extensions up in an app and knows their states."""

    def __init__(self, app: FastAPI, extra_specs: Iterable[ExtensionSpec], environ: Mapping[str, str] | None) -> None:
        """Find them only; the process environment is read unless `environ` is given."""
        self.environ = os.environ if environ is None else environ
        self.specs = {spec.id: spec for spec in (*found_extensions(self.environ), *extra_specs)}
        self.status: dict[str, dict[str, Any]] = {plugin_id: {"state": "discovered"} for plugin_id in self.specs}
        self.loaded: dict[str, Extension] = {}
        self._app = app

    def load_eager(self) -> None:
        """Load the eager extensions; a failure is kept in `status`."""
        for spec in self.specs.values():
            if spec.eager:
                self.ensure_loaded(spec.id)

    def missing_for(self, path: str) -> str | None:
        """The id of the extension that a request to this path has to load first."""
        parts = path.split("/", 3)
        is_found = len(parts) > 2 and parts[1] == "ext" and parts[2] in self.specs
        return parts[2] if is_found and parts[2] not in self.loaded else None

    def ensure_loaded(self, plugin_id: str) -> bool:
        """Load an extension; False when that failed, to be tried anew. What a failed setup did to the app stays."""
        try:
            self.loaded[plugin_id] = self._load(self.specs[plugin_id])
        except Exception as error:  # noqa: BLE001 - the host serves on without it
            self.status[plugin_id] = {"state": "error", "error": str(error)}
            return False
        self.status[plugin_id] = {"state": "loaded"}
        return True

    def listed(self) -> list[dict[str, Any]]:
        """What the host tells of its extensions."""
        return [
            {
                "id": spec.id,
                "module": spec.module,
                "enabled": True,
                "eager": spec.eager,
                "source": spec.source,
                "grants": sorted(grant.name for grant in spec.grants),
                "status": self.status[spec.id],
            }
            for spec in self.specs.values()
        ]

    def _load(self, spec: ExtensionSpec) -> Extension:
        extension = spec.create()
        if extension.info().id != spec.id:
            raise RuntimeError(f"The extension found as {spec.id!r} calls itself {extension.info().id!r}")
        requested = extension.requested_capabilities()
        grants = requested & spec.grants if spec.grants else requested
        mount_path = f"/ext/{spec.id}"
        # Without the host's tools and events: this extension uses neither.
        router = extension.setup(app=self._app, mount_path=mount_path, tool_registry=None, grants=grants, context={})
        if router is not None and Capability.ROUTES in grants:
            scope = Depends(_scope_check(self.environ, spec.id))
            self._app.include_router(router, prefix=mount_path, dependencies=[scope])
        return extension


def _scope_check(environ: Mapping[str, str], plugin_id: str) -> Callable[[str], None]:
    """The dependency of every route of an extension's router."""
    needed = f"ext:{plugin_id}:routes"

    def require_scope(x_scopes: Annotated[str, Header(include_in_schema=False)] = "") -> None:
        is_asked_for = environ.get("ORDINAUT_REQUIRE_SCOPES", "").lower() in {"1", "true", "yes"}
        if is_asked_for and needed not in {scope.strip() for scope in x_scopes.split(",")}:
            raise HTTPException(403, detail=f"The X-Scopes header lacks {needed}")

    return require_scope
