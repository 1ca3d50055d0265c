"""Whether processes whose numbers belong together are added up, and no others."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

from ordinaut_ext_observability.background.clock import SystemClock
from ordinaut_ext_observability.cli.doctor.findings import Finding, fact, problem
from ordinaut_ext_observability.cli.http_client import name_server_answers
from ordinaut_ext_observability.cluster.base import ClusterUnavailableError
from ordinaut_ext_observability.metrics.declarations.system import CollectorMetrics
from ordinaut_ext_observability.relay.entries import read_entry
from ordinaut_ext_observability.relay.siblings import servers_by_address
from ordinaut_ext_observability.relay.store import RelayStore
from ordinaut_ext_observability.runtime.store import choose_store, opener_of
from ordinaut_ext_observability.scrub.text import mask_value
from ordinaut_ext_observability.settings.load import Settings

_RESOLVING_SECONDS = 1.0
"""Shorter than for the host's name, which comes before: together they are to be over soon."""


def merging(settings: Settings, port: int) -> Iterator[Finding]:
    """What is in the store that the host on this port would use. No count is changed."""
    choice = choose_store(settings)
    open_stores = opener_of(choice, SystemClock()) if settings.relay.enabled else None
    if open_stores is None:
        why = choice.note if settings.relay.enabled else "ORDINAUT_OBS_RELAY is off"
        yield fact(f"each process shows itself alone: {why}")
        yield from _unmerged_processes(port)
        return
    yield fact(f"installation {choice.installation}: {choice.note}")
    if choice.kind == "file" and not Path(choice.target).exists():
        # Reading would make it, perhaps as another user than the host's.
        yield fact(f"the file {mask_value(choice.target)} is not there yet: the first process makes it")
        return
    host = urlsplit(choice.target).hostname if choice.kind == "redis" else None
    if host and not name_server_answers(host, _RESOLVING_SECONDS):
        yield problem(f"REDIS_URL: no name server answers for {host}", "See /etc/resolv.conf here.")
        return
    try:
        with contextlib.closing(open_stores()) as store:
            yield from _processes(store)
    except ClusterUnavailableError as error:
        yield problem(mask_value(str(error)), "Until it answers, each process sees itself alone.")


def _unmerged_processes(port: int) -> Iterator[Finding]:
    """Processes here that serve at one address with this port; others may be of another application."""
    serving: dict[str, int] = {}
    with contextlib.suppress(OSError):  # not Linux
        serving = servers_by_address()
    most = max((count for address, count in serving.items() if address.endswith(f":{port}")), default=0)
    if most > 1:
        yield problem(
            f"{most} processes serve at port {port} here: without a store between them, each scrape shows the numbers "
            "of one of them",
            "Give them a store: a Redis, or a file that all of them can write to.",
            'export ORDINAUT_OBS_STORE="file:$HOME/.ordinaut-observability/store.sqlite"',
        )


def _processes(relay: RelayStore) -> Iterator[Finding]:
    reading = relay.read("", 0)
    silent = 0
    databases = set()
    for entry in reading.entries:
        try:
            said = read_entry(entry)
        except ValueError:
            yield fact("one process cannot be read: it has another version")
            continue
        silent += not said.living
        gauges = said.gauges if said.living else ()
        databases |= {gauge.label_values for gauge in gauges if gauge.name == CollectorMetrics.database_info.name}
    # The number is that of ordinaut_observability_relay_processes.
    yield fact(
        f"{relay.name} answers: {len(reading.entries)} processes, {silent} of them silent, and "
        f"{len(reading.series)} series"
    )
    if len(databases) > 1:
        yield problem(
            f"processes that read {len(databases)} databases are one installation here: their numbers are added up",
            "Give each installation a name of its own.",
            "export ORDINAUT_OBS_INSTALLATION=NAME  # another one for each",
        )
