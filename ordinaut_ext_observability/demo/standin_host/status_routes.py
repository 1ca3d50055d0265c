"""What both hosts tell about their extensions."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from fastapi import APIRouter, HTTPException

from ordinaut_ext_observability.demo.standin_host.loader import ExtensionLoader


def build_status_router(loader: ExtensionLoader) -> APIRouter:
    """The routes /extensions, /extensions/{plugin_id}/events/health and /tools."""
    router = APIRouter(tags=["extensions"])

    @router.get("/extensions")
    async def list_extensions() -> list[dict[str, Any]]:
        return [
            {
                "id": spec.id,
                "root": spec.root,
                "module": spec.module,
                "enabled": True,
                "eager": spec.eager,
                "source": spec.source,
                "grants": sorted(grant.name for grant in spec.grants),
                "status": loader.status[spec.id],
                "metrics": asdict(loader.totals[spec.id]),
            }
            for spec in loader.specs.values()
        ]

    @router.get("/extensions/{plugin_id}/events/health")
    async def show_events_health(plugin_id: str) -> None:
        raise HTTPException(500, detail=f"No Redis to ask about the streams of {plugin_id}")

    @router.get("/tools")
    async def list_tools() -> dict[str, dict[str, Any]]:
        return loader.tools.list()

    return router
