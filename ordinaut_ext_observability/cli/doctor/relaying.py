"""Whether the processes started with these settings can hand each other what they counted."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

from ordinaut_ext_observability.background.clock import SystemClock
from ordinaut_ext_observability.cli.doctor.findings import Finding, Kind, fact
from ordinaut_ext_observability.cli.doctor.processes import mixed_installations, unmerged_processes
from ordinaut_ext_observability.cli.http_client import name_server_answers
from ordinaut_ext_observability.cluster.base import ClusterUnavailableError
from ordinaut_ext_observability.relay.entries import Said, read_entry
from ordinaut_ext_observability.relay.store import RelayStore
from ordinaut_ext_observability.runtime.store import choose_store, opener_of
from ordinaut_ext_observability.scrub.text import mask_value
from ordinaut_ext_observability.settings.load import Settings

_RESOLVING_SECONDS = 1.0
"""Shorter than for the host's name, which comes before: together they are to be over soon."""


def relaying(settings: Settings, port: int) -> Iterator[Finding]:
    """Tell what is in the store that the host on this port would use. No count is changed."""
    if not settings.relay.enabled:
        yield fact("ORDINAUT_OBS_RELAY is off: each process shows itself alone")
        yield from unmerged_processes(port)
        return
    choice = choose_store(settings)
    open_stores = opener_of(choice, SystemClock())
    if open_stores is None:
        yield fact(f"each process shows itself alone: {choice.note}")
        yield from unmerged_processes(port)
        return
    yield fact(f"installation {choice.installation}: {choice.note}")
    if choice.kind == "file" and not Path(choice.target).exists():
        # Reading would make it, perhaps as another user than the host's.
        yield fact(f"the file {mask_value(choice.target)} is not there yet: the first process makes it")
        return
    host = urlsplit(choice.target).hostname if choice.kind == "redis" else None
    if host and not name_server_answers(host, _RESOLVING_SECONDS):
        yield Finding(Kind.PROBLEM, f"REDIS_URL: no name server answers for {host}", "See /etc/resolv.conf here.")
        return
    stores = None
    try:
        stores = open_stores()
        yield from _found(stores)
    except ClusterUnavailableError as error:
        yield Finding(
            Kind.PROBLEM,
            mask_value(str(error)),
            "Until it answers, each process sees itself alone.",
        )
    finally:
        if stores is not None:
            stores.close()


def _found(relay: RelayStore) -> Iterator[Finding]:
    reading = relay.read("", 0)
    said: list[Said] = []
    for entry in reading.entries:
        try:
            said.append(read_entry(entry))
        except ValueError:
            yield fact("one process cannot be read: it has another version")
    living = [each for each in said if each.living]
    # The number is that of ordinaut_observability_relay_processes.
    yield fact(
        f"{relay.name} answers: {len(reading.entries)} processes, {len(said) - len(living)} of them silent, and "
        f"{len(reading.series)} series"
    )
    yield from mixed_installations(living)
