"""Another plug-in of the host, loaded lazily."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter

from ordinaut_ext_observability.host_contract import Capability, ExtensionInfo


class Peer:
    def info(self) -> ExtensionInfo:
        return ExtensionInfo(id="peer", name="Peer", version="1.0.0")

    def requested_capabilities(self) -> set[Capability]:
        return {Capability.ROUTES}

    def setup(self, *, app: Any, mount_path: str, tool_registry: Any, grants: Any, context: Any = None) -> APIRouter:
        router = APIRouter()
        router.add_api_route("/items/{item_id}", lambda item_id: item_id, name="show_item")
        return router


def get_extension() -> Peer:
    return Peer()
