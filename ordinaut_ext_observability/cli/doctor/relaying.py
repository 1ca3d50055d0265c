"""Whether the processes started with these settings can hand each other what they counted."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from ordinaut_ext_observability.cli.doctor.findings import Finding, Kind, fact
from ordinaut_ext_observability.clock import SystemClock
from ordinaut_ext_observability.relay.base import SHARED, RelayStore, StoreUnavailableError
from ordinaut_ext_observability.runtime.relay import relay_stores
from ordinaut_ext_observability.settings import Settings


def relaying(settings: Settings) -> Iterator[Finding]:
    """What is in each store that could be used. No count is changed."""
    makers = relay_stores(settings.relay, SystemClock())
    if not settings.relay.relay:
        yield fact("ORDINAUT_OBS_RELAY is off: each process shows itself alone")
        return
    if not makers:
        yield fact(
            "neither REDIS_URL nor ORDINAUT_OBS_RELAY_DIR is set: each process shows itself alone; with one of them "
            "the API's /metrics shows workers and scheduler, too"
        )
        return
    for place, make in enumerate(makers):
        store = None
        try:
            store = make()
            if store.name == "directory" and not Path(settings.relay.relay_dir or "").is_dir():
                # Reading would make it, perhaps as another user than the host's.
                yield fact(f"directory {settings.relay.relay_dir} is not there yet: the first process makes it")
                continue
            yield _found(store, preferred=place == 0)
        except StoreUnavailableError as error:
            yield Finding(
                Kind.PROBLEM if place == len(makers) - 1 else Kind.ADVICE,
                str(error),
                "Processes that are started now use the next store, or see themselves alone.",
            )
        finally:
            if store is not None:
                store.close()


def _found(store: RelayStore, *, preferred: bool) -> Finding:
    reading = store.read({}, store="", retired_version=0)
    seen = {name: seconds for name, seconds in reading.seen_seconds.items() if name != SHARED}
    silent = sum(reading.now_seconds - seconds > 3 * store.interval_seconds for seconds in seen.values())
    use = "processes are merged through it" if preferred else "used where the one before does not answer at start"
    # The number is that of ordinaut_observability_relay_processes.
    return fact(
        f"{store.name} answers ({use}): {len(seen)} processes, {silent} of them silent; the others publish every "
        f"{store.interval_seconds:g} s"
    )
