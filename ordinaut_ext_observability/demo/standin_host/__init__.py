"""A small host that treats extensions as Ordinaut 2.2.2 does, and needs neither PostgreSQL nor Redis.

`create_lean_app` has the shape of the host's `ordinaut.api.main:app`, `create_full_app` that of its `api.main:app`.
Both keep the extension loader at `app.state.extension_loader`. Nothing is printed.
"""

from ordinaut_ext_observability.demo.standin_host.applications import create_full_app, create_lean_app
from ordinaut_ext_observability.demo.standin_host.specs import ExtensionSpec

__all__ = ["ExtensionSpec", "create_full_app", "create_lean_app"]
