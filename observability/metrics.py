"""What Ordinaut imports as `observability.metrics`."""

from ordinaut_ext_observability.compat.metrics import *  # noqa: F403
from ordinaut_ext_observability.compat.metrics import __all__ as __all__  # noqa: PLC0414
from ordinaut_ext_observability.compat.metrics import __getattr__ as __getattr__  # noqa: PLC0414
