"""Alert rules written in Python, as `observability.alerts`."""

from ordinaut_ext_observability.alerts.manager import *  # noqa: F403
from ordinaut_ext_observability.alerts.manager import __all__ as __all__  # noqa: PLC0414
