"""What Ordinaut imports as `observability.health`."""

from ordinaut_ext_observability.compat.health import *  # noqa: F403
from ordinaut_ext_observability.compat.health import __all__ as __all__  # noqa: PLC0414
from ordinaut_ext_observability.compat.health import __getattr__ as __getattr__  # noqa: PLC0414
