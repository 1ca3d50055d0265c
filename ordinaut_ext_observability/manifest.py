"""Who the extension is: what its manifests and `info()` say."""

from __future__ import annotations

from typing import Any

from ordinaut_ext_observability.version import __version__

EXTENSION_ID = "observability"
MOUNT_PATH = f"/ext/{EXTENSION_ID}"
"""Where hosts mount the extension."""

NAME = "Observability"
DESCRIPTION = "Request metrics, correlation ids, health probes and access logs for Ordinaut"
ENTRY_POINT = "ordinaut_ext_observability.extension:get_extension"


def manifest(module: str) -> dict[str, Any]:
    """A manifest as the host's loader reads it; `module` is a file beside it, or an entry point."""
    return {
        "id": EXTENSION_ID,
        "name": NAME,
        "version": __version__,
        "description": DESCRIPTION,
        "module": module,
        "enabled": True,
        "eager": True,
        "grants": ["ROUTES"],
    }
