"""Processes whose numbers are added up though they should not be, or are not though they should."""

from __future__ import annotations

from collections.abc import Iterator

from ordinaut_ext_observability.cli.doctor.findings import Finding, Kind
from ordinaut_ext_observability.metrics.declarations.system import CollectorMetrics
from ordinaut_ext_observability.relay.entries import Said
from ordinaut_ext_observability.relay.siblings import servers_by_address


def unmerged_processes(port: int) -> Iterator[Finding]:
    """Processes on this machine that serve at one address with this port, each with numbers of its own.

    Others are not looked at: they may be of another application.
    """
    try:
        serving = servers_by_address()
    except OSError:  # not Linux
        return
    most = max((count for address, count in serving.items() if address.endswith(f":{port:04X}")), default=0)
    if most > 1:
        yield Finding(
            Kind.PROBLEM,
            f"{most} processes serve at port {port} here: without a store between them, each scrape shows the numbers "
            "of one of them",
            "Give them a store: a Redis, or a file that all of them can write to.",
            'export ORDINAUT_OBS_STORE="file:$HOME/.ordinaut-observability/store.sqlite"',
        )


def mixed_installations(living: list[Said]) -> Iterator[Finding]:
    """Processes that read several databases under one installation's name."""
    databases = {
        gauge.label_values
        for said in living
        for gauge in said.gauges
        if gauge.name == CollectorMetrics.database_info.name
    }
    if len(databases) > 1:
        yield Finding(
            Kind.PROBLEM,
            f"processes that read {len(databases)} databases are one installation here: their numbers are added up",
            "Give each installation a name of its own.",
            "export ORDINAUT_OBS_INSTALLATION=NAME  # another one for each",
        )
