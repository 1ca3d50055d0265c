"""The relay that the settings describe."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ordinaut_ext_observability.clock import Clock
from ordinaut_ext_observability.collectors.definitions import DATABASE_INFO, LAST_SUCCESS, LEADER
from ordinaut_ext_observability.health.model import HealthStatus, Outcome, unknown
from ordinaut_ext_observability.metrics.definitions import Metrics
from ordinaut_ext_observability.metrics.family import AnyFamily
from ordinaut_ext_observability.metrics.registry import Registry
from ordinaut_ext_observability.relay.base import RelayStore
from ordinaut_ext_observability.relay.members import EXPIRY_INTERVALS
from ordinaut_ext_observability.relay.relay import Relay
from ordinaut_ext_observability.relay.siblings import Siblings
from ordinaut_ext_observability.setting_parts import RelaySettings

_SILENT_INTERVALS = 3
"""So many intervals without an answer are worth saying."""

_LOOK_SECONDS = 15.0
"""How often who reads for all looks at the server, where it reads more often and that fails or takes long."""


def make_relay(
    settings: RelaySettings,
    metrics: Metrics,
    clock: Clock,
    *,
    serves: Callable[[], bool],
    event: Callable[..., None],
    further: Registry,
    shared: Callable[[], Sequence[AnyFamily]],
) -> Relay | None:
    """The relay, or None where it is switched off or has no store to use. It is not started."""
    stores = relay_stores(settings, clock)
    if not stores:
        return None
    return Relay(
        stores,
        metrics,
        clock,
        serves=serves,
        interval_seconds=settings.relay_interval_seconds,
        event=event,
        further=further,
        shared=shared,
    )


def relay_outcome(relay: Relay, interval_seconds: float) -> Outcome:
    """How the relay does, for its health check."""
    age = relay.age_seconds()
    details = {"store": relay.store_name, "processes": relay.process_count}
    if not relay.settled.is_set():
        return unknown("the relay store has not been asked yet", details)
    if age is None:
        return Outcome(HealthStatus.DEGRADED, "no relay store has answered yet: only this process is seen", details)
    if age > _SILENT_INTERVALS * interval_seconds:
        return Outcome(HealthStatus.DEGRADED, f"the relay store has not answered for {age:.0f} s", details)
    databases = {labels for gauges in relay.gauges() for name, labels in gauges if name == DATABASE_INFO}
    if len(databases) > 1:
        return Outcome(
            HealthStatus.DEGRADED,
            f"processes of {len(databases)} databases share this store, and their numbers are added up: give each "
            "installation a store of its own, as another database number in REDIS_URL",
            details,
        )
    return Outcome(HealthStatus.HEALTHY, "", details)


def alone_outcome(siblings: Siblings) -> Outcome:
    """The health check of a process that shows itself alone: right for one that serves alone."""
    others = siblings.count()
    if not others:
        return Outcome(HealthStatus.HEALTHY)
    return Outcome(
        HealthStatus.DEGRADED,
        f"{others + 1} processes serve at this address, and each shows only its own numbers: give them a store by "
        "REDIS_URL or ORDINAUT_OBS_RELAY_DIR, and leave ORDINAUT_OBS_RELAY on",
        {"processes": others + 1},
    )


def seconds_since_read(relay: Relay, collector: str, now: float, interval_seconds: float) -> float | None:
    """How long ago another process, which reads for all, read what this collector reads; None where none says so.

    Its sign of life is its last look at the server, not older than two intervals; `now` is in seconds since 1970.
    """
    sign_seconds = 2 * max(interval_seconds, _LOOK_SECONDS)
    ages = [
        max(0.0, now - gauges[LAST_SUCCESS, (collector,)])
        for gauges in relay.gauges()
        if gauges.get((LEADER, ()))
        and now - gauges.get((LAST_SUCCESS, ("database",)), 0.0) <= sign_seconds
        and (LAST_SUCCESS, (collector,)) in gauges
    ]
    return min(ages, default=None)


def relay_stores(settings: RelaySettings, clock: Clock) -> list[Callable[[], RelayStore]]:
    """Makers of the stores that the settings name, the preferred one first; making one does not connect."""
    if not settings.relay:
        return []
    interval = settings.relay_interval_seconds
    stores: list[Callable[[], RelayStore]] = []
    url = usable_redis_url(settings)
    if url is not None:
        stores.append(lambda: _redis_store(url, interval))
    directory = settings.relay_dir
    if directory is not None:
        stores.append(lambda: _directory_store(directory, interval, clock))
    return stores


def usable_redis_url(settings: RelaySettings) -> str | None:
    """The URL of a Redis; the host's `memory://` and `disabled://` mean that there is none."""
    url = settings.redis_url.get_secret_value() if settings.redis_url is not None else ""
    return url if url.startswith(("redis://", "rediss://", "unix://")) else None


# Imported where they are used: in the relay's thread, not while the host starts.
def _redis_store(url: str, interval_seconds: float) -> RelayStore:
    from ordinaut_ext_observability.relay.redis import RedisStore

    return RedisStore(url, interval_seconds=interval_seconds, expiry_seconds=EXPIRY_INTERVALS * interval_seconds)


def _directory_store(path: str, interval_seconds: float, clock: Clock) -> RelayStore:
    from ordinaut_ext_observability.relay.directory import DirectoryStore

    return DirectoryStore(
        path, interval_seconds=interval_seconds, expiry_seconds=EXPIRY_INTERVALS * interval_seconds, clock=clock
    )
