"""A small host that treats extensions as Ordinaut v2.2.2 does, and needs neither PostgreSQL nor Redis.

`create_lean_app` has the shape of the host's `ordinaut.api.main:app`, `create_full_app` that of its `api.main:app`.
Both keep the extension loader at `app.state.extension_loader`. Nothing is printed.
"""

from ordinaut_ext_observability.demo.standin_host.full import create_full_app
from ordinaut_ext_observability.demo.standin_host.lean import create_lean_app

__all__ = ["create_full_app", "create_lean_app"]
