"""Processes whose numbers are added up though they should not be, or are not though they should."""

from __future__ import annotations

from collections.abc import Iterator

from ordinaut_ext_observability.cli.doctor.findings import Finding, Kind
from ordinaut_ext_observability.collectors.definitions import DATABASE_INFO
from ordinaut_ext_observability.relay.base import Reading
from ordinaut_ext_observability.relay.siblings import servers_by_address
from ordinaut_ext_observability.relay.vector import VectorError, decode, gauge_values


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
            "Give them a store: a Redis, or a directory that all of them can write to.",
            'export ORDINAUT_OBS_RELAY_DIR="$HOME/.ordinaut-observability"',
        )


def mixed_installations(reading: Reading, living: set[str], store_name: str) -> Iterator[Finding]:
    """Installations, by their databases, that share this store; only the `living` processes count."""
    databases = set()
    for vector in reading.vectors:
        if vector.incarnation in living:
            try:
                gauges = gauge_values(decode(vector.content, vector.sequence, vector.epoch).gauges)
            except VectorError:  # of another version
                continue
            databases |= {labels for name, labels in gauges if name == DATABASE_INFO}
    if len(databases) > 1:
        redis = store_name == "redis"
        yield Finding(
            Kind.PROBLEM,
            f"processes of {len(databases)} databases share this store: the numbers of several installations are added "
            "up",
            "Give each installation a store of its own.",
            "export REDIS_URL=redis://HOST:6379/1  # another number for each"
            if redis
            else 'export ORDINAUT_OBS_RELAY_DIR="$HOME/.ordinaut-observability"  # another one for each',
        )
