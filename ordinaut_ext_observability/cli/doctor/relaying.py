"""Whether the processes started with these settings can hand each other what they counted."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

from ordinaut_ext_observability.cli.doctor.findings import Finding, Kind, fact
from ordinaut_ext_observability.cli.doctor.processes import mixed_installations, unmerged_processes
from ordinaut_ext_observability.cli.http_client import name_server_answers
from ordinaut_ext_observability.clock import SystemClock
from ordinaut_ext_observability.relay.base import SHARED, RelayStore, StoreUnavailableError
from ordinaut_ext_observability.runtime.relay import relay_stores, usable_redis_url
from ordinaut_ext_observability.scrub.text import mask_value
from ordinaut_ext_observability.settings import Settings

_RESOLVING_SECONDS = 1.0
"""Shorter than for the host's name, which comes before: together they are to be over soon."""


def relaying(settings: Settings, port: int) -> Iterator[Finding]:
    """The content of each store that could be used by the host on this port. No count is changed."""
    makers = relay_stores(settings.relay, SystemClock())
    if not settings.relay.relay:
        yield fact("ORDINAUT_OBS_RELAY is off: each process shows itself alone")
        yield from unmerged_processes(port)
        return
    if not makers:
        yield fact(
            "neither REDIS_URL nor ORDINAUT_OBS_RELAY_DIR is set: each process shows itself alone; with one of them "
            "the API's /metrics shows workers and scheduler, too"
        )
        yield from unmerged_processes(port)
        return
    host = urlsplit(usable_redis_url(settings.relay) or "").hostname
    if host and not name_server_answers(host, _RESOLVING_SECONDS):
        yield Finding(Kind.PROBLEM, f"REDIS_URL: no name server answers for {host}", "See /etc/resolv.conf here.")
        makers = makers[1:]
    for place, make in enumerate(makers):
        store = None
        try:
            store = make()
            if store.name == "directory" and not Path(settings.relay.relay_dir or "").is_dir():
                # Reading would make it, perhaps as another user than the host's.
                directory = mask_value(settings.relay.relay_dir or "")
                yield fact(f"directory {directory} is not there yet: the first process makes it")
                continue
            yield from _found(store, preferred=place == 0)
        except StoreUnavailableError as error:
            yield Finding(
                Kind.PROBLEM if place == len(makers) - 1 else Kind.ADVICE,
                str(error),
                "Processes that are started now use the next store, or see themselves alone.",
            )
        finally:
            if store is not None:
                store.close()


def _found(store: RelayStore, *, preferred: bool) -> Iterator[Finding]:
    reading = store.read({}, store="", retired_version=0)
    seen = {name: seconds for name, seconds in reading.seen_seconds.items() if name != SHARED}
    oldest = reading.now_seconds - 3 * store.interval_seconds
    fresh = {name for name, seconds in seen.items() if seconds >= oldest}
    use = "processes are merged through it" if preferred else "used where the one before does not answer at start"
    # The number is that of ordinaut_observability_relay_processes.
    yield fact(
        f"{store.name} answers ({use}): {len(seen)} processes, {len(seen) - len(fresh)} of them silent; the others "
        f"publish every {store.interval_seconds:g} s"
    )
    yield from mixed_installations(reading, fresh, store.name)
