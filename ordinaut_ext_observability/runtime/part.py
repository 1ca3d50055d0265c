"""The parts that a runtime starts and stops."""

from __future__ import annotations


class Part:
    """Something that runs beside the host. A part with state of the process resets itself in a forked child.

    The smallest one is `DatabaseClients`, in `runtime/database_clients.py`.
    """

    def start(self, *, serves: bool) -> None:
        """Begin what is not running yet; `serves`: the process serves an application."""

    def begin_stop(self) -> None:
        """Have it end soon. Safe without `start`."""

    def stop(self, ends_at: float) -> None:
        """End it until then, on `monotonic_seconds`. Safe without `start`, and more than once."""

    def notes(self) -> dict[str, str]:
        """Words for people about how it stands."""
        return {}
