"""The ports that a process opens by itself: the management port beside an application's, and a worker's exporter."""

from __future__ import annotations

import itertools
import threading
from typing import TYPE_CHECKING

from ordinaut_ext_observability.background.fork import reset_in_forked_child
from ordinaut_ext_observability.errors import AddressInUseError, ServedByAnotherWorkerError
from ordinaut_ext_observability.logs import event_types as events
from ordinaut_ext_observability.runtime.part import Part

if TYPE_CHECKING:
    from ordinaut_ext_observability.runtime.process import Runtime
    from ordinaut_ext_observability.web.management import ManagementServer


class Ports(Part):
    """At most one port of each kind; what keeps one from being opened is logged, and told in `notes`."""

    def __init__(self, event: events.LogEvent) -> None:
        self._event = event
        self.management: ManagementServer | None = None
        """Started and stopped with the other parts."""
        self._exporter: ManagementServer | None = None
        self._problem = "ORDINAUT_OBS_MANAGEMENT_PORT is not set"
        self._tried = False
        self._exporter_claims = itertools.count()
        reset_in_forked_child(self)

    def reset_after_fork(self) -> None:
        """Leave the parent's ports to the parent."""
        self._tried = False
        self._exporter_claims = itertools.count()
        for server in (self.management, self._exporter):
            if server is not None:
                server.reset_after_fork()

    def start(self, *, serves: bool) -> None:  # noqa: ARG002 - as every part
        """Open the management port, if there is one. What failed is tried again after a stop only."""
        if self.management is not None and not self._tried:
            self._tried = True
            self._problem = self._open(self.management, "management port")

    def begin_stop(self) -> None:
        for server in (self.management, self._exporter):
            if server is not None:
                server.begin_stop()

    def stop(self, ends_at: float) -> None:
        self._tried = False
        for server in (self.management, self._exporter):
            if server is not None:
                server.stop(ends_at)

    def notes(self) -> dict[str, str]:
        """The URL of the management port, or why it is not open."""
        server = self.management
        open_at = _url_of(server) if server is not None and server.address is not None else ""
        return {"management_port": open_at or f"off: {self._problem}"}

    def export_once(self, runtime: Runtime) -> None:
        """Open the exporter's port where the settings ask for one and no application serves the metrics.

        Returns at once: what it takes to serve HTTP is imported in a thread, since the caller is at its work.
        """
        if runtime.lifecycle.mounted or runtime.settings.general.disabled or next(self._exporter_claims):
            return
        runtime.start()  # says which settings could not be used
        if runtime.settings.management.exporter_port is not None:
            thread = threading.Thread(
                target=self._open_exporter, args=(runtime,), name="observability-exporter-start", daemon=True
            )
            thread.start()

    def _open_exporter(self, runtime: Runtime) -> None:
        try:
            from ordinaut_ext_observability.runtime.serving import make_exporter

            runtime.lifecycle.started = True
            exporter = make_exporter(runtime)
            if not runtime.lifecycle.mounted:  # or an application was mounted meanwhile, and serves the metrics
                self._exporter = exporter
                self._open(exporter, "exporter")
        except Exception:  # noqa: BLE001 - the process goes on without its metrics being served
            runtime.metrics.count_internal_error("exporter")

    def close_exporter(self) -> None:
        """Serve no exporter any more: an application serves the metrics from now on."""
        next(self._exporter_claims)
        if self._exporter is not None:
            self._exporter.stop()

    def _open(self, server: ManagementServer, port: str) -> str:
        """Start the server; the reason why it could not be started, or nothing."""
        try:
            server.start()
        except AddressInUseError as error:
            elsewhere = isinstance(error, ServedByAnotherWorkerError)
            event = events.PORT_OF_ANOTHER_WORKER if elsewhere else events.PORT_NOT_OPENED
            self._event(event[port], reason=str(error))
            return str(error)
        self._event(events.PORT_OPEN[port], url=_url_of(server))
        return ""


def _url_of(server: ManagementServer) -> str:
    host, port = server.address or ("", 0)
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
