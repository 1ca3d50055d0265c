"""What Ordinaut imports as `observability.logging`."""

from ordinaut_ext_observability.compat.logging import *  # noqa: F403
from ordinaut_ext_observability.compat.logging import __all__ as __all__  # noqa: PLC0414
from ordinaut_ext_observability.compat.logging import __getattr__ as __getattr__  # noqa: PLC0414
