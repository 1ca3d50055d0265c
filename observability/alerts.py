"""Alert rules written in Python and the maintenance mode, as `observability.alerts`."""

from ordinaut_ext_observability.alerts import manager
from ordinaut_ext_observability.alerts.manager import *  # noqa: F403
from ordinaut_ext_observability.compat.maintenance import MaintenanceMode as MaintenanceMode  # noqa: PLC0414

__all__ = [*manager.__all__, "MaintenanceMode"]  # noqa: PLE0604
